"""The way to a node: directly, through a jump host, as root or by sudo."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from xdc_testbed.drivers.base import Node
from xdc_testbed.drivers.login import ssh_arguments

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
