"""What storage endpoints can be asked: the words of `Endpoint.capabilities` that cases ask for."""

from __future__ import annotations

from xdc_testbed.endpoints import Endpoint

GET = "get"
PUT = "put"  # writing, replacing, making and listing directories
DELETE = "delete"
MOVE = "move"
RANGE = "range"
CHECKSUM = "checksum"  # adler32 and md5, by Want-Digest and by root:// query
TOKEN = "token"  # noqa: S105 - WLCG JWT bearer tokens
X509 = "x509"  # certificates of mapped users
MACAROON = "macaroon"
PUBLIC = "public"  # a part of the namespace that anybody may read
TPC = "tpc"  # HTTP third-party copy, pull and push, on the active side
ROOT_TPC = "root-tpc"  # either side of a third-party copy over root://
CACHE = "cache"  # derived: reads its origin, and keeps what was read

STORAGE = frozenset({GET, PUT, DELETE, MOVE, RANGE, CHECKSUM, TOKEN, X509, MACAROON, PUBLIC, TPC, ROOT_TPC})


def of(endpoint: Endpoint) -> frozenset[str]:
    """Capabilities of an endpoint, and `cache` for one with an origin; none for what is not a storage."""
    offered = STORAGE & frozenset(endpoint.capabilities)
    return offered | {CACHE} if offered and endpoint.origin is not None else offered
