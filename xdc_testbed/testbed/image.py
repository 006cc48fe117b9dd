"""The node images: a Debian base that boots systemd, with the roles' install stage baked in by the same roles.

Most services share one image; a group may name another (inventory/groups.yml), so that what is large is baked only for
those who use it. All layers are named by a hash of what they are made from, so that `up` finds out by itself whether
one is missing. The base comes from the registry image `debian:12` when that can be pulled, else from mmdebstrap.
"""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from xdc_testbed import content
from xdc_testbed.drivers.base import NodeRequest, Request
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.drivers.engine import Engine
from xdc_testbed.errors import XdcError
from xdc_testbed.processes import run
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.testbed import ansible, inventory, kit, ssh
from xdc_testbed.testbed.description import Description, groups
from xdc_testbed.testbed.secrets import ensure_ssh_key

_REPOSITORY = "localhost/xdc-testbed"
_RELEASE = "bookworm"

_CONTAINERFILE = """\
FROM {base}
ENV container=podman
RUN export DEBIAN_FRONTEND=noninteractive; \\
    if [ -n "{packages}" ]; then apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*; fi; \\
    mkdir -p /usr/share/man/man1 /usr/share/man/man5 /usr/share/man/man7 /usr/share/man/man8 /var/lib/apt/periodic /root/.ssh \\
    && chmod 0700 /root/.ssh && touch -d 2000-01-01 /var/lib/apt/periodic/update-success-stamp \\
    && rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id && : > /etc/machine-id \\
    && printf 'APT::Install-Recommends "false";\\nAcquire::Languages "none";\\n' > /etc/apt/apt.conf.d/90xdc-testbed \\
    && printf 'HostKey /etc/ssh/ssh_host_ed25519_key\\nUseDNS no\\nPasswordAuthentication no\\nMaxStartups 50:30:100\\nMaxSessions 50\\n' > /etc/ssh/sshd_config.d/xdc-testbed.conf \\
    && systemctl mask systemd-firstboot.service getty.target console-getty.service systemd-udevd.service systemd-networkd-wait-online.service \\
       systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
"""  # noqa: E501 - a step of shell stays on its line


def node_packages() -> list[str]:
    """Debian packages of the base layer."""
    lines = (content.root() / "inventory" / "node-packages.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def base_tag() -> str:
    """Name of the base layer on this machine."""
    return f"{_REPOSITORY}/base:{_digest([_CONTAINERFILE, _RELEASE, *node_packages()])}"


def kinds() -> list[str]:
    """The images that nodes are made from, the common one first."""
    return list(dict.fromkeys(group.image for group in groups().values()))


def kind_of(node_groups: Iterable[str]) -> str:
    """Which image a node with these groups is made from."""
    known = groups()
    return next((known[name].image for name in node_groups if not known[name].always), kinds()[0])


def roles_in(kind: str) -> list[str]:
    """Roles whose install stage is in this image, in the order of inventory/groups.yml."""
    return [name for name, group in groups().items() if group.always or group.image == kind]


def node_tag(kind: str = "node") -> str:
    """Name of an image: changes with the base, its roles' install stage, versions, and the kit's requirements."""
    root = content.root()
    parts = [base_tag(), *kit.requirements()]
    patterns = ("tasks/install*.yml", "vars/*.yml", "defaults/*.yml", "files/**/*")
    found = [path for role in roles_in(kind) for pattern in patterns for path in root.glob(f"roles/{role}/{pattern}")]
    for path in sorted([*found, root / "inventory" / "versions.yml", root / "playbooks" / "image.yml"]):
        if path.is_file() and "__pycache__" not in path.parts:
            parts += [str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()]
    return f"{_REPOSITORY}/{kind}:{_digest(parts)}"


def exists(engine: Engine, tag: str) -> bool:
    """Whether this engine has the image."""
    return engine.run("image", "inspect", tag, timeout=60, check=False).returncode == 0


def ensure(
    description: Description,
    engine: Engine,
    *,
    state_base: Path,
    report: Reporter,
    kind: str = "node",
    rebuild: bool = False,
) -> str:
    """Build what is missing of the base and one image of nodes. Returns the image's name.

    Raises XdcError when the roles were changed meanwhile: the image would have the name of what it does not hold.
    """
    tag = node_tag(kind)
    if not rebuild and exists(engine, tag):
        return tag
    ensure_base(description, engine, state_base=state_base, report=report, rebuild=rebuild)
    workspace = _workspace(state_base)
    with phase(report, "image-node", f"{kind} image: install stage of its roles"):
        _bake(description, engine, workspace, kind, tag, report)
    if node_tag(kind) != tag:
        engine.run("rmi", tag, timeout=120)
        raise XdcError("roles were changed while their image was baked", remedy="run the same command again")
    return tag


def ensure_base(
    description: Description, engine: Engine, *, state_base: Path, report: Reporter, rebuild: bool = False
) -> str:
    """Build the base of all images when it is missing. Returns its name."""
    if rebuild or not exists(engine, base_tag()):
        with phase(report, "image-base", "base image"):
            _build_base(description, engine, _workspace(state_base), report)
    return base_tag()


def prune(engine: Engine) -> list[str]:
    """Remove images of earlier hashes that no container uses. Returns the names removed."""
    keep = {base_tag(), *map(node_tag, kinds())}
    listed = engine.run(
        "images", "--filter", f"reference={_REPOSITORY}/*", "--format", "{{.Repository}}:{{.Tag}}", timeout=60
    ).text.split()
    return [
        name
        for name in listed
        if name not in keep and engine.run("rmi", name, timeout=120, check=False).returncode == 0
    ]


def _workspace(state_base: Path) -> Path:
    workspace = state_base / ".image"
    workspace.mkdir(parents=True, exist_ok=True)
    workspace.chmod(0o700)
    return workspace


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build_base(description: Description, engine: Engine, workspace: Path, report: Reporter) -> None:
    base = description.podman.base_image
    packages: list[str] = []
    if base == "auto":
        if engine.run("pull", "-q", "debian:12", timeout=120, check=False).returncode == 0:
            base, packages = "debian:12", node_packages()
            report(Event("step", "base from the registry image debian:12"))
        else:
            report(Event("step", "no registry image debian:12 reachable: building the base with mmdebstrap"))
            base = _bootstrap(engine, workspace)
    else:
        packages = node_packages()
    with tempfile.TemporaryDirectory(prefix="xdc-image-") as folder:
        recipe = Path(folder, "Containerfile")
        recipe.write_text(_CONTAINERFILE.format(base=base, packages=" ".join(packages)))
        engine.run("build", "-q", "-t", base_tag(), "-f", str(recipe), folder, timeout=1200)


def _bootstrap(engine: Engine, workspace: Path) -> str:
    """A root file system by mmdebstrap, imported as an image. The tar is kept by hash until it is imported whole."""
    tag = f"{_REPOSITORY}/bootstrap:{_digest(node_packages())}"
    if exists(engine, tag):
        return tag
    tar = workspace / f"bootstrap-{_digest(node_packages())}.tar"
    if not tar.is_file():
        partial = tar.with_suffix(f".{os.getpid()}.part")
        run(
            [
                "mmdebstrap",
                "--variant=minbase",
                "--format=tar",
                f"--include={','.join(node_packages())}",
                '--aptopt=Acquire::Languages "none"',
                '--aptopt=APT::Install-Recommends "false"',
                '--aptopt=Acquire::Retries "3"',
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                _RELEASE,
                partial,
            ],
            timeout=1200,
        )
        partial.replace(tar)
    engine.run("import", str(tar), tag, timeout=300)
    tar.unlink()
    return tag


def _bake(description: Description, engine: Engine, workspace: Path, kind: str, tag: str, report: Reporter) -> None:
    """Boot one node from the base, run the roles' install stage in it as in any node, and commit it."""
    bake_id = f"b{uuid.uuid4().hex[:9]}"
    known = groups()
    wanted = tuple(name for name in roles_in(kind) if not known[name].always)
    request = Request(
        testbed_id=bake_id,
        testbed_name="image",
        domain=description.domain,
        nodes=(NodeRequest("image", "build", wanted, memory=3072, cpus=float(os.cpu_count() or 2)),),
        state_dir=workspace,
        image=base_tag(),
        installed=False,
    )
    ensure_ssh_key(workspace / "keys" / "id_ed25519", "xdc-testbed image")
    ensure_ssh_key(workspace / "keys" / "hosts" / "image", "xdc-testbed image")
    driver = Containers(engine=engine.kind, subnet=description.podman.subnet, state_dir=workspace)
    logs = workspace / "logs" / time.strftime("%Y%m%dT%H%M%S")
    logs.mkdir(parents=True, exist_ok=True)
    try:
        nodes = driver.create(request, report)
        known_hosts = workspace / "known_hosts"
        rendered = inventory.render(
            description,
            nodes,
            testbed_id=bake_id,
            known_hosts=known_hosts,
            pki=workspace / "pki",
            extra=install_variables(description) | {"testbed_image_groups": roles_in(kind)},
        )
        path = inventory.write(workspace, rendered, nodes)
        if failed := ssh.wait_ready(nodes, known_hosts, boot=60):
            raise XdcError(f"the image's node did not come up: {failed['image']}", remedy=f"see {logs}")
        ansible.run_playbook(
            "image",
            inventory=path,
            state_dir=workspace,
            log_dir=logs,
            extra_vars=[],
            expected={"all": ["image"]},
            report=report,
            phase="image-node",
            strategy=description.strategy,
            timeout=1500,
        )
        container = f"xdc-{bake_id}-image"
        ssh.execute(
            nodes[0],
            known_hosts,
            "sh",
            "-c",
            "apt-get clean; rm -rf /var/lib/apt/lists/* /tmp/* /var/tmp/* /root/.cache /root/.ansible "
            "/var/log/journal/* /etc/machine-id; : > /etc/machine-id; "
            "touch -d 2000-01-01 /var/lib/apt/periodic/update-success-stamp; sync",
            timeout=60,
        )
        engine.run("stop", "-t", "10", container, timeout=60)
        engine.commit(container, tag)
    finally:
        driver.destroy(bake_id, report)


def install_variables(description: Description) -> dict[str, object]:
    """Variables that the install stage of the roles needs, at bake time and in `up`."""
    files = sorted(path for pattern in description.podman.extra_ca_files for path in glob.glob(pattern))  # noqa: PTH207 - patterns are absolute
    return {
        "testbed_extra_ca_files": files,
        "testbed_kit_requirements": kit.requirements(),
        "testbed_node_packages": node_packages(),
    }


def describe(engine: Engine) -> dict[str, object]:
    """Names of the base and of every image of nodes, and whether they are built."""
    facts: dict[str, object] = {}
    for name, tag in [("base", base_tag()), *((kind, node_tag(kind)) for kind in kinds())]:
        facts |= {name: tag, f"{name}_built": exists(engine, tag)}
    return facts
