"""Which of the endpoints play which part in the demonstration, and clients for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.clients.dcache import Credential, Dcache
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.endpoints import CACHES, Endpoint, storages
from xdc_testbed.errors import WrongUsage

CLIENT = "demo"
SCOPE = "storage.read:/data storage.modify:/data"


@dataclass(frozen=True)
class Places:
    """origin: takes the raw files; remote: gets the corrected ones; cache: in front of the origin."""

    origin: Endpoint
    remote: Endpoint | None = None
    cache: Endpoint | None = None

    @property
    def archived(self) -> bool:
        """Whether raw data goes to tape when its product is safe: the origin has classes, and there is a second
        site.
        """
        return self.remote is not None and "frontend" in self.origin.urls

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Those that there are."""
        return tuple(place for place in (self.origin, self.remote, self.cache) if place is not None)


def choose(endpoints: Sequence[Endpoint]) -> Places:
    """The first storage, the first one of another site, and a cache of the first. Raises WrongUsage without
    one.

    When there is a cache, the storage behind it is the origin.
    """
    served = [endpoint for endpoint in endpoints if "https" in endpoint.urls]
    caches = [endpoint for endpoint in served if endpoint.product in CACHES]
    kept = storages(served)
    if not kept:
        raise WrongUsage(
            "no storage with an https door among the endpoints", remedy="is this the file that `up` wrote?"
        )
    behind = {cache.origin for cache in caches if cache.origin}
    origin = next((storage for storage in kept if storage.id in behind), kept[0])
    return Places(
        origin=origin,
        remote=next((storage for storage in kept if storage.site != origin.site), None),
        cache=next((cache for cache in caches if cache.origin in (None, origin.id)), None),
    )


def client(endpoint: Endpoint, credentials: Path) -> WebDav:
    """A client that writes and reads as the demonstration. credentials: folder that holds demo.secret."""
    return WebDav(
        endpoint.urls["https"], ca_file=endpoint.credentials.ca_file, token=_tokens(endpoint, credentials).token
    )


def frontend(endpoint: Endpoint, credentials: Path) -> Dcache:
    """The frontend of a dCache, as the demonstration sees it."""
    tokens = _tokens(endpoint, credentials)
    return Dcache(
        endpoint.urls["frontend"],
        ca_file=endpoint.credentials.ca_file,
        credential=Credential(token=tokens.token),
    )


def _tokens(endpoint: Endpoint, credentials: Path) -> TokenSource:
    held = endpoint.credentials
    if held.issuer is None:
        raise WrongUsage(f"endpoint {endpoint.id} names no token issuer", remedy="the demonstration works with tokens")
    client_id, secret = CLIENT, credentials / f"{CLIENT}.secret"
    if endpoint.kind == "external" and held.client_id and held.client_secret_file:
        client_id, secret = held.client_id, held.client_secret_file
    if not secret.is_file():
        raise WrongUsage(f"no such file: {secret}", remedy="give the folder of the credentials with --credentials")
    return TokenSource(held.issuer, client_id, secret.read_text().strip(), held.ca_file, SCOPE)
