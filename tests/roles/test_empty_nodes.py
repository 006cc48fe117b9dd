"""A dry run before anything is installed: it goes through to its end, and leaves the node as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playbook_bed import Bed

from xdc_testbed.drivers.base import NodeRequest, Request
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.progress import Event, silent
from xdc_testbed.testbed import image, inventory, ssh
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.lifecycle import Testbed
from xdc_testbed.testbed.secrets import ensure_ssh_key

_OWNER = "e4b7ae0d1e"


class Enough(Exception):
    """All is there but the services."""


def _no_services(event: Event) -> None:
    if event.phase == "site":
        raise Enough


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Bed]:
    """A machine of somebody's that shall become a cloud, as Debian makes it."""
    driver = Containers(engine="podman", subnet="auto", state_dir=tmp_path)
    description = load(profile="cloud", name="empty", environ={}).description
    base = image.ensure_base(description, driver.engine, state_base=tmp_path, report=silent)
    ensure_ssh_key(tmp_path / "keys" / "id_ed25519", "roles")
    ensure_ssh_key(tmp_path / "keys" / "hosts" / "cloud", "cloud")
    wanted = (NodeRequest("cloud", "here", (), 2048, 2.0),)
    testbed = Testbed(tmp_path / "state", "empty")
    try:
        asked = Request(_OWNER, "machines", "plain.test", wanted, tmp_path, base, installed=False)
        (node,) = driver.create(asked, silent)
        inventory.write(tmp_path, {}, [node])
        assert ssh.wait_ready([node], tmp_path / "known_hosts", boot=60) == {}
        described = tmp_path / "testbed.toml"
        described.write_text(f"""
driver = "hosts"
profile = "cloud"
name = "empty"
[hosts]
key_file = "{tmp_path}/keys/id_ed25519"
[hosts.machines.cloud]
address = "127.0.0.1"
port = {node.ssh_port}
inside = "{node.address}"
host_key = "{node.host_key}"
[vars]
openstack_compute = "qemu"
""")
        with pytest.raises(Enough):
            testbed.up(load(described, environ={}), _no_services)
        yield Bed(testbed)
    finally:
        driver.destroy(_OWNER, silent)


def test_a_dry_run_on_an_empty_cloud_node_goes_through_and_changes_nothing(empty: Bed) -> None:
    before = empty.on("cloud", "dpkg -l; ls /etc /opt /var/lib")
    empty.run("site", check=True)
    assert empty.on("cloud", "dpkg -l; ls /etc /opt /var/lib") == before
