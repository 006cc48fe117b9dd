"""From a description to machines: the driver that it names, what is asked of it, and who is in which group."""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xdc_testbed.drivers.base import Driver, Node, NodeRequest, Request
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.drivers.hosts import Hosts, Machine
from xdc_testbed.drivers.openstack import NodeOptions, OpenStack, Options
from xdc_testbed.errors import WrongUsage
from xdc_testbed.testbed import image
from xdc_testbed.testbed.description import MOST_SCALED, Description, HostsOptions, groups
from xdc_testbed.testbed.variables import service_variables

_PUBLISHED = {"kafka": (29092,)}
"""Ports of services that the controller's machine reaches on loopback, where nodes are local."""


def driver(description: Description, state_dir: Path | None) -> Driver:
    """The driver that a description names. state_dir: the testbed's folder, or None when there is none."""
    if description.driver == "hosts":
        folder = state_dir or Path(tempfile.mkdtemp(prefix="xdc-testbed-"))
        return Hosts(_machines(description.hosts), known_hosts=folder / "inventory" / "known_hosts")
    if description.driver == "openstack":
        return OpenStack(_openstack(description), state_dir=state_dir)
    options = description.podman
    return Containers(engine=options.engine, subnet=options.subnet, state_dir=state_dir)


def project(description: Description, cloud: str | None) -> OpenStack:
    """One project, whatever testbeds it holds. cloud: entry of clouds.yaml, or None for the description's."""
    options = _openstack(description)
    return OpenStack(replace(options, cloud=cloud) if cloud else options, state_dir=None)


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


def ports() -> list[dict[str, Any]]:
    """The port table with numbers instead of the variables that hold them."""
    numbers = service_variables()
    rows = []
    for row in numbers["testbed_ports"]:
        port = int(numbers.get(row["port"], row["port"]))
        rows.append(
            {"group": row["group"], "protocol": row["protocol"], "first": port, "last": port, "from": row["from"]}
        )
    return rows


def _openstack(description: Description) -> Options:
    given = description.openstack
    known = {*description.nodes, *description.expanded(dict.fromkeys(description.scaled, MOST_SCALED)).nodes}
    if strangers := sorted({*given.nodes, *given.public} - known):
        raise WrongUsage(
            f"openstack: no node '{strangers[0]}' in the description", remedy=f"nodes: {', '.join(sorted(known))}"
        )
    for cidr in given.admin_cidrs:
        _network(cidr, "admin_cidrs")
    _network(given.cidr, "cidr")
    nodes = {
        name: NodeOptions(flavor=one.flavor, boot_gb=one.boot_gb, volumes=one.volumes)
        for name, one in given.nodes.items()
    }
    return Options(**given.model_dump(exclude={"nodes"}), nodes=nodes, ports=ports())


def _network(cidr: str, key: str) -> None:
    try:
        ipaddress.ip_network(cidr)
    except ValueError as error:
        raise WrongUsage(f"openstack.{key}: {error}", remedy="write it as 192.0.2.0/24") from None


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
