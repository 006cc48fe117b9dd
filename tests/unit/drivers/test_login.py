"""The way to a node: directly, through a jump host, as root or by sudo."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from xdc_testbed.drivers.base import Node
from xdc_testbed.drivers.login import known_as, known_host, ssh_arguments
from xdc_testbed.processes import run

NODE = Node(
    name="a",
    site="desy",
    groups=(),
    fqdn="a.xdc.test",
    address="10.77.0.10",
    ssh_address="10.77.0.10",
    ssh_port=22,
    ssh_user="root",
    key_file="/state of me/key",
    host_key="ssh-ed25519 AAAA",
    driver="openstack",
    resource_id="1",
)


@pytest.mark.parametrize(("port", "looked_for"), [(22, "10.77.0.10"), (2222, "[10.77.0.10]:2222")])
def test_a_host_key_is_written_where_ssh_looks_for_it(tmp_path: Path, port: int, looked_for: str) -> None:
    known_hosts = tmp_path / "known_hosts"
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINpv+j1QfxYOJSLG/wOvpxefpGLh882/yT4RNY4k8xKr"
    known_hosts.write_text(known_host(replace(NODE, ssh_port=port, host_key=key)))
    assert known_as(NODE.ssh_address, port) == looked_for
    found = run(["ssh-keygen", "-f", known_hosts, "-F", looked_for], timeout=20).text
    assert found.splitlines()[1] == f"{looked_for} {key}"


def test_root_runs_a_command_as_it_is() -> None:
    assert ssh_arguments(NODE, Path("/kh"), "id", "-u")[-2:] == ["root@10.77.0.10", "id -u"]


def test_another_user_runs_it_by_sudo_and_gets_a_shell_of_their_own() -> None:
    node = replace(NODE, ssh_user="debian")
    assert ssh_arguments(node, Path("/kh"), "id")[-1] == "sudo -n -- id"
    assert ssh_arguments(node, Path("/kh"))[-1] == "debian@10.77.0.10"


def test_a_node_behind_a_jump_host_is_reached_through_it_with_the_same_keys() -> None:
    words = ssh_arguments(replace(NODE, jump="root@192.0.2.7:2222"), Path("/kh"), "true")
    (proxy,) = [word.removeprefix("ProxyCommand=") for word in words if word.startswith("ProxyCommand=")]
    inner = shlex.split(proxy)
    assert inner[-1] == "root@192.0.2.7"
    assert inner[inner.index("-p") + 1] == "2222"
    assert inner[inner.index("-i") + 1] == "/state of me/key"
    assert inner[inner.index("-W") + 1] == "[%h]:%p"
    assert "UserKnownHostsFile=/kh" in inner
