"""What endpoints can be asked: declared by the endpoint, or known of the product."""

from __future__ import annotations

from xdc_testbed.endpoints import Endpoint

READ = "read"  # GET, HEAD, ranges
WRITE = "write"  # PUT, DELETE, overwrite
LIST = "list"  # PROPFIND, MKCOL
MOVE = "move"
CHECKSUM = "checksum"  # adler32 by Want-Digest and by root:// query
TOKEN = "token"  # noqa: S105 - WLCG JWT bearer tokens
X509 = "x509"  # certificates of mapped users
MACAROON = "macaroon"
PUBLIC = "public"  # a namespace that anybody may read
TPC_PULL = "tpc-pull"  # the active side of an HTTP third-party copy that reads from elsewhere
TPC_PUSH = "tpc-push"  # the active side of an HTTP third-party copy that writes elsewhere
XROOT_TPC = "xroot-tpc"  # either side of a third-party copy over root://
CACHE = "cache"  # reads another endpoint, its origin, and keeps what was read

ALL = frozenset(
    {READ, WRITE, LIST, MOVE, CHECKSUM, TOKEN, X509, MACAROON, PUBLIC, TPC_PULL, TPC_PUSH, XROOT_TPC, CACHE}
)

_KNOWN = {
    "xrootd": ALL - {CACHE},
    "xcache": frozenset({READ, CHECKSUM, TOKEN, CACHE}),
    "dcache": ALL - {CACHE},
    "eos": ALL - {CACHE},
}


def of(endpoint: Endpoint) -> frozenset[str]:
    """Capabilities of an endpoint: its own list, or what its product is known to offer; none for other
    services.
    """
    return frozenset(endpoint.capabilities) & ALL or _KNOWN.get(endpoint.product.lower(), frozenset())
