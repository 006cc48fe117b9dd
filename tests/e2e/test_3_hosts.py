"""Own machines: two plain nodes stand in for somebody's; they are configured, belong to one testbed, and stay."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Xdc
from xdc_testbed.drivers.base import NodeRequest, Request
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.progress import silent
from xdc_testbed.testbed import image
from xdc_testbed.testbed.secrets import ensure_ssh_key

OWNER = "e2e0a05705"
ROLES = ("desy-storage", "desy-stream")


@dataclass(frozen=True)
class Machines:
    """Plain machines, and the description that names them."""

    description: Path

    def on(self, name: str, script: str) -> str:
        """What a shell on one machine says, asked past the kit."""
        words = ["podman", "exec", f"xdc-{OWNER}-{name}", "sh", "-c", script]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


@pytest.fixture(scope="module")
def machines(xdc: Xdc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Two nodes of the node image that nobody has configured."""
    xdc("image", "build", timeout=1500)
    folder = tmp_path_factory.mktemp("machines")
    ensure_ssh_key(folder / "keys" / "id_ed25519", "e2e")
    for name in ROLES:
        ensure_ssh_key(folder / "keys" / "hosts" / name, name)
    driver = Containers(engine="podman", subnet="auto", state_dir=folder)
    wanted = tuple(NodeRequest(name, "here", (), 2048, 2.0) for name in ROLES)
    request = Request(OWNER, "machines", "plain.test", wanted, folder, image.node_tag(), installed=False)
    try:
        nodes = driver.create(request, silent)
        lines = ['driver = "hosts"', 'profile = "minimal"', 'name = "own"']
        lines += ["[hosts]", f'key_file = "{folder}/keys/id_ed25519"']
        for node in nodes:
            lines += [f"[hosts.machines.{node.name}]", 'address = "127.0.0.1"', f"port = {node.ssh_port}"]
            lines += [f'inside = "{node.address}"', f'host_key = "{node.host_key}"']
        (folder / "testbed.toml").write_text("\n".join(lines))
        yield Machines(folder / "testbed.toml")
    finally:
        driver.destroy(OWNER, silent)


def test_own_machines_are_configured_kept_apart_and_given_back(xdc: Xdc, machines: Machines) -> None:
    """One story, since configuring takes the time: up, again, another testbed, down, and what is left."""
    names_before = machines.on("desy-storage", "cat /etc/hosts")
    given = ("-f", str(machines.description))
    xdc("up", *given, timeout=900)
    again = xdc("up", *given, "--output", "json").json
    assert again["changed"] == dict.fromkeys(ROLES, 0)
    assert xdc("status", "--name", "own").code == 0

    other = xdc("up", *given, "--name", "other", ok=False)
    assert other.code == 3
    assert "belongs to testbed 'own'" in other.errors[0]
    xdc("down", "--yes", "--name", "other", *given)
    assert xdc("status", "--name", "own").code == 0

    (xdc.state_dir / "own" / "state.json").unlink()  # a lost state: the marks on the machines know
    down = xdc("down", "--yes", "--name", "own", *given, timeout=300)
    assert "is gone" in down.out
    for name in ROLES:
        left = machines.on(
            name, "ls -d /etc/xdc-testbed* /var/lib/xdc-testbed /opt/xdc-testbed; systemctl --failed --plain -q"
        )
        assert left == "", name
    assert machines.on("desy-storage", "cat /etc/hosts") == names_before
