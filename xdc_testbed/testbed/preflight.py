"""What this machine must have, asked before anything is made."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from xdc_testbed import content
from xdc_testbed.drivers.base import Finding
from xdc_testbed.drivers.engine import Engine
from xdc_testbed.drivers.requirements import findings as driver_findings
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.testbed import image, machines, secrets
from xdc_testbed.testbed.description import Description

_PROGRAMS = {
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
    "mvn": "maven",
    "java": "openjdk-17-jre-headless",
}
_MODULES = {
    "ansible": "provision",
    "ansible_mitogen": "provision",
    "extra_data": "report",
    "matplotlib": "report",
}


def findings(description: Description, *, state_dir: Path) -> list[Finding]:
    """Python, programs, packages of the kit, engine, and room for this description."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = [
        Finding(
            "Python",
            sys.version_info >= (3, 11),
            version,
            needed="3.11 or newer",
            remedy="install a newer Python",
        )
    ]
    for program, package in _PROGRAMS.items():
        path = shutil.which(program)
        found.append(
            Finding(
                program,
                bool(path),
                path or "not found",
                needed=f"Debian package {package}",
                remedy=f"make setup  (or: sudo apt-get install {package})",
            )
        )
    for module, extra in _MODULES.items():
        there = importlib.util.find_spec(module) is not None
        found.append(
            Finding(
                module,
                there,
                "importable" if there else "not installed",
                needed=f"extra '{extra}'",
                remedy=f"pip install 'xdc-testbed[{extra}]'",
            )
        )
    found.append(Finding("content", True, str(content.root())))
    if description.driver != "podman":
        with tempfile.TemporaryDirectory(prefix="xdc-doctor-") as name:
            folder = Path(name)
            secrets.ensure_ssh_key(folder / "keys" / "id_ed25519", "doctor")
            request = machines.request(description, "none", folder, installed=False)
            return found + machines.driver(description, folder).check(request)
    try:
        engine = Engine.find(description.podman.engine, state_dir / ".image")
    except RequirementMissing as error:
        found.append(
            Finding("container engine", False, error.message, needed="podman or docker", remedy=error.remedy or "")
        )
        return found
    found += driver_findings(engine, memory_mib=description.memory, nodes=len(description.nodes))
    tags = [image.node_tag(kind) for kind in sorted({image.kind_of(n.groups) for n in description.nodes.values()})]
    built = all(image.exists(engine, tag) for tag in tags)
    if not built and not image.exists(engine, image.base_tag()):
        tool = shutil.which("mmdebstrap")
        found.append(
            Finding(
                "mmdebstrap",
                bool(tool),
                tool or "not found",
                needed="to build the base image where debian:12 cannot be pulled",
                remedy="make setup  (or: sudo apt-get install mmdebstrap)",
            )
        )
    found.append(
        Finding(
            "node image",
            built,
            " ".join(tags) if built else "not built yet",
            needed="built by the first up, in two to four minutes",
            level="advice",
        )
    )
    return found
