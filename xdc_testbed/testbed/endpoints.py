"""What a testbed offers to clients, computed from its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from xdc_testbed import __version__
from xdc_testbed.drivers.base import Node
from xdc_testbed.endpoints import Credentials, Endpoint, Kind
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
_VERSIONS = {"xrootd": "5.5.3", "xcache": "5.5.3"}


def of_testbed(nodes: Sequence[Node]) -> list[Endpoint]:
    """One endpoint per service and node, in the order of the nodes. Credentials are paths on the client node."""
    issuer = next((n for n in nodes if "token_issuer" in n.groups), None)
    credentials = _credentials(issuer)
    origins = [n for n in nodes if "xrootd" in n.groups]
    known, numbers = groups(), versions()
    found: list[Endpoint] = []
    for node in nodes:
        for group in node.groups:
            described = known[group]
            if described.product is None:
                continue
            kind: Kind = described.kind or "real"
            if group in ("xrootd", "xcache"):
                origin = next((n.name for n in origins if n.site != node.site), None) if group == "xcache" else None
                found.append(
                    Endpoint(
                        id=node.name,
                        site=node.site,
                        product=group,
                        version=_VERSIONS[group],
                        kind=kind,
                        urls={"https": f"https://{node.fqdn}:8443", "root": f"root://{node.fqdn}:1094"},
                        credentials=credentials,
                        capabilities=_STORAGE_CAPABILITIES if group == "xrootd" else _CACHE_CAPABILITIES,
                        origin=origin,
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
