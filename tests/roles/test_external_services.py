"""A testbed whose dCache and OpenWhisk are somebody else's: another testbed's, with its own issuer and authority.

Raw data written to the external dCache is corrected by actions on the external OpenWhisk; `down` leaves both as they
were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from xdc_testbed.progress import silent
from xdc_testbed.testbed import remote, ssh
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.lifecycle import Testbed

_THERE = """
profile = "minimal"
name = "there"
domain = "there.test"
[nodes.desy-storage]
groups = ["dcache"]
[nodes.desy-stream]
groups = ["token_issuer", "openwhisk"]
[vars]
openwhisk_deploy_actions = false
"""

_LOOK = """
from xdc_testbed.clients.openwhisk import OpenWhisk
auth = open("/etc/xdc-testbed/openwhisk.auth").read().strip()
with OpenWhisk("https://desy-stream.there.test:3233", auth, "/etc/xdc-testbed/ca.pem") as platform:
    print(*[package["name"] for package in platform.entities("packages")])
"""


@dataclass(frozen=True)
class Sites:
    """here: the testbed that borrows; there: the one that lends."""

    here: Testbed
    there: Testbed

    def packages(self) -> list[str]:
        """Packages on the OpenWhisk there."""
        node = self.there.node("desy-stream")
        python = "/opt/xdc-testbed/venv/bin/python"
        said = ssh.execute(node, self.there.known_hosts, python, "-", timeout=60, input=_LOOK.encode())
        return said.text.split()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    folder = tmp_path_factory.mktemp("external")
    there, here = (Testbed(tmp_path_factory.mktemp("state"), name) for name in ("there", "here"))
    try:
        (folder / "there.toml").write_text(_THERE)
        there.up(load(folder / "there.toml", environ={}), silent)
        (folder / "here.toml").write_text(_here(there, folder))
        here.up(load(folder / "here.toml", environ={}), silent)
        yield Sites(here, there)
    finally:
        for testbed in (here, there):
            if testbed.folder.exists:
                testbed.down(silent)


def _here(there: Testbed, folder: Path) -> str:
    known = yaml.safe_load(Path(there.folder.secrets_file).read_text())
    for name, text in (("auth", known["openwhisk_auth"]), ("client", known["token_clients"]["demo"])):
        (folder / name).touch(0o600)
        (folder / name).write_text(text)
    names = ", ".join(f'"{node.fqdn}" = "{node.address}"' for node in there.nodes())
    ca_file = Path(there.folder.pki) / "ca.pem"
    return f"""
profile = "minimal"
name = "here"
[vars]
base_other_hosts = {{ {names} }}
[nodes.desy-storage]
groups = ["dcache", "client"]
[nodes.desy-storage.vars]
dcache_source = "external"
[nodes.desy-storage.vars.dcache_external]
webdav = "https://desy-storage.there.test:2880"
frontend = "https://desy-storage.there.test:3880"
ca_file = "{ca_file}"
issuer = "https://desy-stream.there.test:8444"
client_id = "demo"
client_secret_file = "{folder}/client"
[nodes.desy-stream.vars]
openwhisk_source = "external"
[nodes.desy-stream.vars.openwhisk_external]
url = "https://desy-stream.there.test:3233"
auth_file = "{folder}/auth"
ca_file = "{ca_file}"
"""


def test_both_are_endpoints_that_say_that_they_are_external(sites: Sites) -> None:
    kinds = {endpoint.product: endpoint.kind for endpoint in sites.here.endpoints()}
    assert kinds["dcache"] == kinds["openwhisk"] == "external"
    assert kinds["kafka"] == "real"


def test_nothing_of_them_runs_here(sites: Sites) -> None:
    units = {unit for node in sites.here.units().values() for unit in node}
    assert not units & {"xdc-dcache", "openwhisk", "event-source"}
    assert {word for node in sites.here.units().values() for word in node.values()} == {"active"}


def test_the_actions_are_there(sites: Sites) -> None:
    assert sites.packages() == ["xdc"]


def test_raw_data_at_the_external_dcache_is_corrected_by_the_external_openwhisk(sites: Sites, tmp_path: Path) -> None:
    assert remote.demo(sites.here, tmp_path, preset="tiny", report=silent)
    story = json.loads((tmp_path / "story.json").read_text())
    outcomes = [file["outcome"] for file in story["files"]]
    assert outcomes.count("corrected") == len(outcomes) - 1  # one raw file is cut off on purpose


def test_down_takes_the_actions_away_and_leaves_both_running(sites: Sites) -> None:
    sites.here.down(silent)
    assert sites.packages() == []
    assert {word for node in sites.there.units().values() for word in node.values()} == {"active"}
