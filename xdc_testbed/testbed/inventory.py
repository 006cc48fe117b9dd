"""Nodes and description as an Ansible inventory: one function, the only place where inventory is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xdc_testbed.drivers.base import Node
from xdc_testbed.drivers.login import proxy_options, ssh_options
from xdc_testbed.endpoints import storages
from xdc_testbed.testbed import endpoints
from xdc_testbed.testbed.description import Description, groups, service_variables
from xdc_testbed.testbed.state import write_private

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
        }
        for node in nodes
    }
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
            {"name": e.id, "site": e.site, "product": e.product, "urls": dict(e.urls)}
            for e in storages(endpoints.of_testbed(nodes))
        ],
        "testbed_pip_environment": {key: os.environ[key] for key in _PIP_SETTINGS if key in os.environ},
        **extra,
        **description.vars,
    }
    return {"all": {"hosts": hosts, "children": children, "vars": common}}


def _way_in(node: Node, known_hosts: Path) -> dict[str, Any]:
    """Through a jump host, and to root by sudo, where that is needed."""
    options = {"ansible_ssh_common_args": f"{ssh_options(known_hosts)} {proxy_options(node, known_hosts)}"}
    return (options if node.jump else {}) | ({"ansible_become": True} if node.ssh_user != "root" else {})


def write(folder: Path, inventory: Mapping[str, Any], nodes: Sequence[Node]) -> Path:
    """Write hosts.json and the known_hosts file beside it. Returns the inventory's path."""
    lines = "".join(f"[{n.ssh_address}]:{n.ssh_port} {n.host_key}\n" for n in nodes)
    write_private(folder / "known_hosts", lines.encode())
    path = folder / "hosts.json"
    write_private(path, json.dumps(inventory, indent=1).encode())
    return path
