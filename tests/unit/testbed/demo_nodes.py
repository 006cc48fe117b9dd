"""Nodes as a driver returns them, for tests of what is made from them."""

from __future__ import annotations

from typing import Any

from xdc_testbed.drivers.base import Node

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDummy"


def node(name: str, *groups: str, **changes: Any) -> Node:
    """A running node at the site that its name begins with; changes: other fields."""
    number = sum(name.encode()) % 200 + 20
    values: dict[str, Any] = {
        "name": name,
        "site": name.split("-", maxsplit=1)[0],
        "groups": groups,
        "fqdn": f"{name}.xdc.test",
        "address": f"10.89.77.{number}",
        "ssh_address": "127.0.0.1",
        "ssh_port": 20000 + number,
        "ssh_user": "root",
        "key_file": "/state/keys/id_ed25519",
        "host_key": HOST_KEY,
        "driver": "podman",
        "resource_id": f"id-of-{name}",
    }
    return Node(**(values | changes))


def demo() -> list[Node]:
    """Two sites with storage, a cache, streaming and functions."""
    return [
        node("desy-storage", "xrootd"),
        node("desy-stream", "token_issuer", "kafka", "event_router", published={"29092": 31092}),
        node("desy-functions", "openwhisk"),
        node("desy-client", "client"),
        node("remote-storage", "xrootd"),
        node("remote-cache", "xcache"),
    ]
