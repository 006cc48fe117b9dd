"""How the kit logs in to a node by SSH: its own keys, its own host keys, and the way through a jump host."""

from __future__ import annotations

import shlex
from pathlib import Path

from xdc_testbed.drivers.base import Node


def ssh_options(known_hosts: Path) -> str:
    """Options with which every SSH connection of the kit is made: our keys only, our host keys only."""
    return shlex.join(
        [
            "-o",
            f"UserKnownHostsFile={known_hosts}",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=20",
            "-o",
            "LogLevel=ERROR",
        ]
    )


def known_as(address: str, port: int) -> str:
    """What ssh looks for in known_hosts: `[address]:port`, and for port 22 nothing but the address."""
    return address if port == 22 else f"[{address}]:{port}"


def known_host(node: Node) -> str:
    """The line of known_hosts for a node."""
    return f"{known_as(node.ssh_address, node.ssh_port)} {node.host_key}\n"


def proxy_options(node: Node, known_hosts: Path) -> str:
    """Options for a node that is reached through another one; empty for a node that is reached directly."""
    if node.jump is None:
        return ""
    user, _, rest = node.jump.partition("@")
    address, _, port = rest.rpartition(":")
    through = f"ssh {ssh_options(known_hosts)} -i {shlex.quote(node.key_file)} -p {port} -W [%h]:%p {user}@{address}"
    return shlex.join(["-o", f"ProxyCommand={through}"])


def ssh_arguments(node: Node, known_hosts: Path, *command: str, terminal: bool = False) -> list[str]:
    """The whole ssh command line for a node; words of the command are quoted for the far shell.

    Commands run as root: with sudo where another user logs in. Without a command it is that user's shell.
    """
    base = ["ssh", *shlex.split(ssh_options(known_hosts)), *shlex.split(proxy_options(node, known_hosts))]
    base += [*(["-t"] if terminal else []), "-i", node.key_file, "-p", str(node.ssh_port)]
    if command and node.ssh_user != "root":
        command = ("sudo", "-n", "--", *command)
    return [*base, f"{node.ssh_user}@{node.ssh_address}", *([shlex.join(command)] if command else [])]
