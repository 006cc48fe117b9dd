"""What a testbed offers to clients, computed from its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from xdc_testbed import __version__
from xdc_testbed.drivers.base import Node
from xdc_testbed.endpoints import STORAGES, Credentials, Endpoint
from xdc_testbed.testbed import sources
from xdc_testbed.testbed.description import Description, groups
from xdc_testbed.testbed.sources import Chosen
from xdc_testbed.testbed.variables import options, service_variables

_SITE = ("put", "get", "range", "checksum", "delete", "move", "token", "x509", "macaroon", "public", "tpc")
"""What every storage site offers."""


@dataclass(frozen=True)
class _Storage:
    """What a product of storage offers. ports: by protocol, the inventory's variable that holds it; version: of the
    product, or that the emulator copies.
    """

    version: str
    ports: Mapping[str, str]
    capabilities: tuple[str, ...]


_STORAGE = {
    "xrootd": _Storage("5.5.3", {"https": "xrootd_https_port", "root": "xrootd_root_port"}, (*_SITE, "root-tpc")),
    "xcache": _Storage(
        "5.5.3",
        {"https": "xcache_https_port", "root": "xcache_root_port"},
        ("get", "range", "checksum", "token", "x509", "root"),
    ),
    "dcache": _Storage(
        "11.2.5", {"https": "dcache_webdav_port", "frontend": "dcache_frontend_port"}, (*_SITE, "events", "qos")
    ),
}
_SCHEMES = {"frontend": "https"}


def of_testbed(nodes: Sequence[Node], description: Description) -> list[Endpoint]:
    """One endpoint per service and node, in the order of the nodes. Credentials are paths on the client node.

    A dCache of several nodes is one endpoint, by the name of the first node with a door.
    """
    issuer = next((n for n in nodes if "token_issuer" in n.groups), None)
    known, variables = groups(), service_variables()
    credentials = _credentials(issuer, variables)
    origins = [n for n in nodes if STORAGES & set(n.groups)]
    found: list[Endpoint] = []
    for node in nodes:
        chosen = sources.of_node(description, node.name)
        for group in node.groups:
            described = known[group]
            if described.product is None:
                continue
            choice = chosen.get(group)
            kind = sources.kind(described, choice)
            if (storage := _STORAGE.get(group)) is not None:
                behind = next((n for n in origins if n.site != node.site), None) if group == "xcache" else None
                urls = _storage_urls(storage, node, choice, nodes, description, variables)
                if not urls:
                    continue
                found.append(
                    Endpoint(
                        id=node.name,
                        site=node.site,
                        product=group,
                        version=_version(choice, storage.version),
                        kind=kind,
                        urls=urls,
                        credentials=_of_external(credentials, choice, node),
                        capabilities=_cached(storage, behind) if behind else storage.capabilities,
                        origin=behind.name if behind else None,
                    )
                )
            else:
                found.append(
                    Endpoint(
                        id=f"{node.name}:{group}",
                        site=node.site,
                        product=described.product,
                        version=_version(choice, str(variables.get(f"{group}_version", __version__))),
                        kind=kind,
                        urls=_service_urls(group, node, variables, choice),
                    )
                )
    return found


def _version(choice: Chosen | None, copied: str) -> str:
    """Of a product: as the description says it; of an emulator: that it copies."""
    if choice is None or choice.source == "emulator":
        return copied
    if choice.source == "external":
        return str(choice.external.get("version", "unknown"))
    name = f"{choice.group}_version"
    return str(choice.values.get(name, options()[name]["default"]))


def _storage_urls(
    storage: _Storage,
    node: Node,
    choice: Chosen | None,
    nodes: Sequence[Node],
    description: Description,
    variables: Mapping[str, Any],
) -> dict[str, str]:
    """Where a storage answers, by protocol; nothing for a node whose dCache answers at another one."""
    hosts = dict.fromkeys(storage.ports, node.fqdn)
    if choice is not None and choice.source == "external":
        return {"https": str(choice.external["webdav"]), "frontend": str(choice.external["frontend"])}
    if choice is not None and choice.source in sources.RELEASES:
        members = sources.dcache_sites(description)[node.site]
        names = {n.name: n.fqdn for n in nodes}
        first = {word: next(one.node for one in members if word in one.services) for word in ("door", "frontend")}
        if first["door"] != node.name:
            return {}
        hosts = {"https": node.fqdn, "frontend": names[first["frontend"]]}
    return {
        protocol: f"{_SCHEMES.get(protocol, protocol)}://{hosts[protocol]}:{variables[port]}"
        for protocol, port in storage.ports.items()
    }


def _of_external(own: Credentials, choice: Chosen | None, node: Node) -> Credentials:
    """The credential for a storage: the client that the description names for an external one, else the kit's own."""
    if choice is None or "issuer" not in choice.external:
        return own
    folder = own.client_secret_file.parent if own.client_secret_file else PurePosixPath()
    return own.model_copy(
        update={
            "issuer": choice.external["issuer"],
            "client_id": choice.external["client_id"],
            "client_secret_file": folder / f"{node.name}.secret",
        }
    )


def _cached(cache: _Storage, origin: Node) -> tuple[str, ...]:
    """What a cache offers in front of this origin: XRootD cannot ask for checksums over https."""
    by_root = any("root" in _STORAGE[group].ports for group in origin.groups if group in _STORAGE)
    return tuple(word for word in cache.capabilities if by_root or word != "checksum")


def _credentials(issuer: Node | None, variables: Mapping[str, Any]) -> Credentials:
    folder = PurePosixPath("/etc/xdc-testbed/credentials")
    return Credentials.model_validate(
        {
            "issuer": _service_urls("token_issuer", issuer, variables)["https"] if issuer else None,
            "client_id": "interop",
            "client_secret_file": str(folder / "interop.secret"),
            "certificate": str(folder / "usercert.pem"),
            "private_key": str(folder / "userkey.pem"),
            "ca_file": "/etc/xdc-testbed/ca.pem",
            "ca_directory": "/etc/grid-security/certificates",
        }
    )


def _service_urls(group: str, node: Node, variables: Mapping[str, Any], choice: Chosen | None = None) -> dict[str, str]:
    if choice is not None and choice.source == "external":
        return {"https": f"{str(choice.external['url']).rstrip('/')}/api/v1"}
    match group:
        case "kafka":
            published = node.published.get(str(variables["kafka_external_port"]))
            outside = {"kafka-external": f"127.0.0.1:{published}"} if published else {}
            return {"kafka": f"{node.fqdn}:{variables['kafka_internal_port']}", **outside}
        case "token_issuer":
            return {"https": f"https://{node.fqdn}:{variables['token_issuer_port']}"}
        case "openwhisk":
            return {"https": f"https://{node.fqdn}:{variables['openwhisk_port']}/api/v1"}
        case "openstack":
            return {"https": f"https://{node.address}:{variables['openstack_identity_port']}/v3"}
        case _:
            return {}
