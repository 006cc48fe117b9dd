"""Two sites and a cache for all tests of this folder; every test has its own place."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Cache, Site

from xdc_testbed.clients.webdav import WebDav


@pytest.fixture(scope="session")
def site(authority: Authority, issuer: TokenIssuer) -> Iterator[Site]:
    with folder("site-a") as home, running(Site(home, authority, issuer, "SITE-A")) as server:
        yield server


@pytest.fixture(scope="session")
def other_site(authority: Authority, issuer: TokenIssuer) -> Iterator[Site]:
    with folder("site-b") as home, running(Site(home, authority, issuer, "SITE-B")) as server:
        yield server


@pytest.fixture(scope="session")
def cache(authority: Authority, issuer: TokenIssuer, site: Site) -> Iterator[Cache]:
    with folder("cache") as home, running(Cache(home, authority, issuer, site.origin)) as server:
        yield server


@pytest.fixture(scope="session")
def token(issuer: TokenIssuer) -> str:
    """May do everything everywhere."""
    return issuer.source().token()


@pytest.fixture
def dav(site: Site, token: str) -> Iterator[WebDav]:
    """The site, with a token that may do everything."""
    with site.webdav(token=token) as client:
        yield client


@pytest.fixture
def place() -> str:
    """A folder below /data that no other test uses."""
    return f"/data/{secrets.token_hex(6)}"
