"""Nodes and description as an Ansible inventory: one function, the only place where inventory is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xdc_testbed.drivers.base import Node
from xdc_testbed.drivers.login import known_host, proxy_options, ssh_options
from xdc_testbed.endpoints import Endpoint, storages
from xdc_testbed.testbed import endpoints, sources
from xdc_testbed.testbed.description import Description, groups
from xdc_testbed.testbed.state import write_private
from xdc_testbed.testbed.variables import service_variables

_PIP_SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


def render(
    description: Description,
    nodes: Sequence[Node],
    *,
    testbed_id: str,
    known_hosts: Path,
    pki: Path,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """The inventory as a mapping: hosts with connection and site, every known group (also empty), variables of all."""
    hosts = {
        node.name: {
            "ansible_host": node.ssh_address,
            "ansible_port": node.ssh_port,
            "ansible_user": node.ssh_user,
            "ansible_ssh_private_key_file": node.key_file,
            "ansible_python_interpreter": "/usr/bin/python3",
            **_way_in(node, known_hosts),
            "site": node.site,
            "testbed_address": node.address,
            "testbed_fqdn": node.fqdn,
            "testbed_install": not node.installed,
            "testbed_published_ports": dict(node.published),
            **(description.nodes[node.name].vars if node.name in description.nodes else {}),
        }
        for node in nodes
    }
    offered = endpoints.of_testbed(nodes, description)
    children: dict[str, Any] = {}
    for name, group in groups().items():
        members = [n.name for n in nodes if group.always or name in n.groups]
        children[name] = {"hosts": {member: {} for member in members}}
    for site in dict.fromkeys(n.site for n in nodes):
        children[f"site_{site.replace('-', '_')}"] = {"hosts": {n.name: {} for n in nodes if n.site == site}}
    common = {
        **service_variables(),
        "ansible_ssh_common_args": ssh_options(known_hosts),
        "testbed_id": testbed_id,
        "testbed_name": description.name,
        "testbed_domain": description.domain,
        "testbed_pki_dir": str(pki),
        "testbed_nodes": [
            {"name": n.name, "fqdn": n.fqdn, "site": n.site, "address": n.address, "groups": list(n.groups)}
            for n in nodes
        ],
        "testbed_storages": [
            {
                "name": e.id,
                "site": e.site,
                "product": e.product,
                "kind": e.kind,
                "urls": dict(e.urls),
                "issuer": e.credentials.issuer,
                "client_id": e.credentials.client_id if _has_credential(description, e.id) else None,
            }
            for e in storages(offered)
        ],
        "testbed_dcache_sites": _dcache_sites(description, nodes),
        **_openwhisk(offered),
        "testbed_pip_environment": {key: os.environ[key] for key in _PIP_SETTINGS if key in os.environ},
        **extra,
        **description.vars,
    }
    return {"all": {"hosts": hosts, "children": children, "vars": common}}


def _way_in(node: Node, known_hosts: Path) -> dict[str, Any]:
    """Through a jump host, and to root by sudo, where that is needed."""
    options = {"ansible_ssh_common_args": f"{ssh_options(known_hosts)} {proxy_options(node, known_hosts)}"}
    return (options if node.jump else {}) | ({"ansible_become": True} if node.ssh_user != "root" else {})


def _has_credential(description: Description, node: str) -> bool:
    """Whether the description gives the storage of a node a credential of its own."""
    return any("issuer" in one.external for one in sources.of_node(description, node).values())


def _dcache_sites(description: Description, nodes: Sequence[Node]) -> dict[str, Any]:
    """Each dCache that is installed from a release: its core, and what each of its nodes has."""
    names = {node.name: node.fqdn for node in nodes}
    return {
        site: {
            "core": next(names.get(one.node, "") for one in members if "core" in one.services),
            "services": {one.node: list(one.services) for one in members},
        }
        for site, members in sources.dcache_sites(description).items()
    }


def _openwhisk(offered: Sequence[Endpoint]) -> dict[str, str]:
    """Where an external OpenWhisk is, over the address that one of the testbed would have."""
    urls = [e.urls["https"] for e in offered if e.product == "openwhisk" and e.kind == "external"]
    return {"openwhisk_url": urls[0].removesuffix("/api/v1")} if urls else {}


def write(folder: Path, inventory: Mapping[str, Any], nodes: Sequence[Node]) -> Path:
    """Write hosts.json and the known_hosts file beside it. Returns the inventory's path."""
    write_private(folder / "known_hosts", "".join(map(known_host, nodes)).encode())
    path = folder / "hosts.json"
    write_private(path, json.dumps(inventory, indent=1).encode())
    return path
