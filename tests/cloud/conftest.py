"""A cloud of our own, made once for a module; the command line as a user of it; its administrator."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml

from tests.e2e.conftest import Said, Xdc
from xdc_testbed.drivers.cloud import Cloud
from xdc_testbed.testbed.lifecycle import Testbed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "contract" / "terraform"))
import terraform_engine

_CLOUD = """\
name = "cloud"
profile = "cloud"
[nodes.cloud]
memory = {memory}
[vars]
openstack_compute = "{compute}"
openstack_machine_packages = {packages}
"""

_LAB = """\
name = "{name}"
profile = "minimal"
driver = "openstack"
[openstack]
cloud = "cloud"
admin_cidrs = ["{seen_from}/32"]
{more}
"""

_SMALL = """\
[nodes.desy-stream]
groups = ["token_issuer"]
memory = 1024
"""


@dataclass(frozen=True)
class Lab:
    """A state folder, the clouds.yaml in it, and what is asked of the cloud past the kit."""

    xdc: Xdc
    folder: Path
    admin: Any
    project: str

    def described(self, name: str, more: str = "", *, whole: bool = False) -> Path:
        """A testbed of two nodes on this cloud, as a file. more: lines of [openstack]; whole: with all services."""
        path = self.folder / f"{name}.toml"
        network, _, _ = Testbed(self.xdc.state_dir, "cloud").node("cloud").address.rpartition(".")
        seen_from = f"{network}.1"  # the gateway of the network that the cloud's node is in is this machine
        path.write_text(_LAB.format(name=name, more=more, seen_from=seen_from) + ("" if whole else _SMALL))
        return path

    def refused(self, *words: str) -> Said:
        """Run what must not work."""
        said = self.xdc(*words, ok=False, timeout=300)
        assert said.code != 0, said.out
        return said

    def things(self) -> list[str]:
        """Everything in the project that a testbed could own, and no default group of it."""
        found = Cloud("cloud").things()
        default = {one.id for one in found if one.name == "default"}
        return [f"{one.kind} {one.name}" for one in found if one.id not in default and not default & set(one.inside)]


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, engine: Path) -> Iterator[Lab]:
    """The cloud, up, and removed afterwards. Of the module: COMPUTE, MEMORY (MiB), PACKAGES that machines have."""
    xdc = Xdc(tmp_path_factory.mktemp("state"))
    folder = tmp_path_factory.mktemp("descriptions")
    described = folder / "cloud.toml"
    asked = request.module
    packages = json.dumps(getattr(asked, "PACKAGES", []))
    described.write_text(_CLOUD.format(compute=asked.COMPUTE, memory=asked.MEMORY, packages=packages))
    patch = pytest.MonkeyPatch()
    try:
        xdc("provider", "build", timeout=1500)
        xdc("up", "-f", str(described), timeout=1800)
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(xdc.state_dir / "cloud" / "clouds.yaml"))
        admin = openstack.connect(cloud="cloud-admin")
        project = admin.identity.find_project("tester", ignore_missing=False).id
        yield Lab(xdc, folder, admin, project)
    finally:
        patch.undo()
        said = xdc("down", "--yes", "--name", "cloud", ok=False, timeout=300)
        assert said.code == 0, said.err


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Terraform of this machine, else that of PyPI."""
    return terraform_engine.find(tmp_path_factory.mktemp("engine")).path


@pytest.fixture
def clouds(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The user's entry of clouds.yaml, to be spoilt: what is set in it is written before the next command."""
    known = yaml.safe_load((lab.xdc.state_dir / "cloud" / "clouds.yaml").read_text())

    class Written(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            super().__setitem__(key, value)
            path = tmp_path / "clouds.yaml"
            path.write_text(yaml.safe_dump({"clouds": {"cloud": dict(self)}}))
            monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))

    return Written(known["clouds"]["cloud"])
