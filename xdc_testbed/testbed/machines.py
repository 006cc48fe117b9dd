"""From a description to machines: the driver that it names, what is asked of it, and who is in which group."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from xdc_testbed.drivers.base import Driver, Node, NodeRequest, Request
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.drivers.hosts import Hosts, Machine
from xdc_testbed.testbed import image
from xdc_testbed.testbed.description import Description, HostsOptions, groups

_PUBLISHED = {"kafka": (29092,)}
"""Ports of services that the controller's machine reaches on loopback, where nodes are local."""


def driver(description: Description, state_dir: Path | None) -> Driver:
    """The driver that a description names. state_dir: the testbed's folder, or None when there is none."""
    if description.driver == "hosts":
        folder = state_dir or Path(tempfile.mkdtemp(prefix="xdc-testbed-"))
        return Hosts(_machines(description.hosts), known_hosts=folder / "inventory" / "known_hosts")
    options = description.podman
    return Containers(engine=options.engine, subnet=options.subnet, state_dir=state_dir)


def request(description: Description, testbed_id: str, state_dir: Path, *, installed: bool) -> Request:
    """What the driver is asked for."""
    known = groups()
    nodes = tuple(
        NodeRequest(
            name,
            node.site,
            node.groups,
            node.memory,
            node.cpus,
            tuple(port for group in node.groups for port in _PUBLISHED.get(group, ())),
            image.node_tag(image.kind_of(node.groups)),
            tuple(path for group in node.groups for path in known[group].volumes),
        )
        for name, node in description.nodes.items()
    )
    common = image.node_tag()
    return Request(testbed_id, description.name, description.domain, nodes, state_dir, common, installed=installed)


def members(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Group -> nodes that Ansible must meet in it."""
    known = {name: [n.name for n in nodes if g.always or name in n.groups] for name, g in groups().items()}
    return known | {"all": [node.name for node in nodes]}


def _machines(options: HostsOptions) -> dict[str, Machine]:
    return {
        name: Machine(
            address=one.address,
            inside=one.inside or one.address,
            port=one.port,
            user=one.user or options.user,
            key_file=Path(one.key_file or options.key_file).expanduser(),
            host_key=one.host_key,
        )
        for name, one in options.machines.items()
    }
