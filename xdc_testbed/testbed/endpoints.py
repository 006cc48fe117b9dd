"""What a testbed offers to clients, computed from its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from xdc_testbed import __version__
from xdc_testbed.drivers.base import Node
from xdc_testbed.endpoints import STORAGES, Credentials, Endpoint, Kind
from xdc_testbed.testbed.description import groups, versions

_STORAGE_CAPABILITIES = (
    "put",
    "get",
    "range",
    "checksum",
    "delete",
    "move",
    "token",
    "x509",
    "macaroon",
    "public",
    "tpc",
    "root-tpc",
)
_CACHE_CAPABILITIES = ("get", "range", "checksum", "token", "x509", "root")
_DCACHE_CAPABILITIES = (
    "put",
    "get",
    "range",
    "checksum",
    "delete",
    "move",
    "token",
    "x509",
    "macaroon",
    "public",
    "tpc",
    "events",
    "qos",
)


@dataclass(frozen=True)
class _Storage:
    """What a product of storage offers. ports: by protocol; version: of the product, or that the emulator copies."""

    version: str
    ports: Mapping[str, int]
    capabilities: tuple[str, ...]


_XROOTD_PORTS = {"https": 8443, "root": 1094}
_STORAGE = {
    "xrootd": _Storage("5.5.3", _XROOTD_PORTS, _STORAGE_CAPABILITIES),
    "xcache": _Storage("5.5.3", _XROOTD_PORTS, _CACHE_CAPABILITIES),
    "dcache": _Storage("11.2.5", {"https": 2880, "frontend": 3880}, _DCACHE_CAPABILITIES),
}
_SCHEMES = {"frontend": "https"}


def of_testbed(nodes: Sequence[Node]) -> list[Endpoint]:
    """One endpoint per service and node, in the order of the nodes. Credentials are paths on the client node."""
    issuer = next((n for n in nodes if "token_issuer" in n.groups), None)
    credentials = _credentials(issuer)
    origins = [n for n in nodes if STORAGES & set(n.groups)]
    known, numbers = groups(), versions()
    found: list[Endpoint] = []
    for node in nodes:
        for group in node.groups:
            described = known[group]
            if described.product is None:
                continue
            kind: Kind = described.kind or "real"
            if (storage := _STORAGE.get(group)) is not None:
                behind = next((n for n in origins if n.site != node.site), None) if group == "xcache" else None
                found.append(
                    Endpoint(
                        id=node.name,
                        site=node.site,
                        product=group,
                        version=storage.version,
                        kind=kind,
                        urls={
                            protocol: f"{_SCHEMES.get(protocol, protocol)}://{node.fqdn}:{port}"
                            for protocol, port in storage.ports.items()
                        },
                        credentials=credentials,
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
                        version=str(numbers.get(f"{group}_version", __version__)),
                        kind=kind,
                        urls=_service_urls(group, node),
                    )
                )
    return found


def _cached(cache: _Storage, origin: Node) -> tuple[str, ...]:
    """What a cache offers in front of this origin: XRootD cannot ask for checksums over https."""
    by_root = any("root" in _STORAGE[group].ports for group in origin.groups if group in _STORAGE)
    return tuple(word for word in cache.capabilities if by_root or word != "checksum")


def _credentials(issuer: Node | None) -> Credentials:
    folder = PurePosixPath("/etc/xdc-testbed/credentials")
    return Credentials.model_validate(
        {
            "issuer": f"https://{issuer.fqdn}:8444" if issuer else None,
            "client_id": "interop",
            "client_secret_file": str(folder / "interop.secret"),
            "certificate": str(folder / "usercert.pem"),
            "private_key": str(folder / "userkey.pem"),
            "ca_file": "/etc/xdc-testbed/ca.pem",
            "ca_directory": "/etc/grid-security/certificates",
        }
    )


def _service_urls(group: str, node: Node) -> dict[str, str]:
    match group:
        case "kafka":
            outside = {"kafka-external": f"127.0.0.1:{node.published['29092']}"} if "29092" in node.published else {}
            return {"kafka": f"{node.fqdn}:9093", **outside}
        case "token_issuer":
            return {"https": f"https://{node.fqdn}:8444"}
        case "openwhisk":
            return {"https": f"https://{node.fqdn}:3233/api/v1"}
        case _:
            return {}
