"""Two sites and a cache of the storage tests' kind, and runs of the suite against them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "storage"))

from interop_sites import CACHE, STORAGE, Run, ask, credentials
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Cache, Site

from xdc_testbed.endpoints import Credentials, Endpoint


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with folder("interop-pki") as home:
        yield Authority.make(home)


@pytest.fixture(scope="session")
def issuer(authority: Authority) -> Iterator[TokenIssuer]:
    with folder("interop-issuer") as home, running(TokenIssuer(home, authority)) as server:
        yield server


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory, authority: Authority, issuer: TokenIssuer) -> Credentials:
    """Credentials for every endpoint."""
    return credentials(tmp_path_factory.mktemp("credentials"), authority, issuer)


@pytest.fixture(scope="session")
def endpoints(authority: Authority, issuer: TokenIssuer, held: Credentials) -> Iterator[list[Endpoint]]:
    """Two storage sites, and a cache of the first one at the second."""
    with (
        folder("interop-desy") as desy_home,
        folder("interop-remote") as remote_home,
        folder("interop-cache") as cache_home,
        running(Site(desy_home, authority, issuer, "DESY")) as desy,
        running(Site(remote_home, authority, issuer, "REMOTE")) as remote,
        running(Cache(cache_home, authority, issuer, desy)) as cache,
    ):
        yield [
            Endpoint(
                id=name,
                site=name.partition("-")[0],
                product=server.role,
                version="5.5.3",
                kind="real",
                urls={"https": server.https, "root": server.root},
                credentials=held,
                capabilities=CACHE if server is cache else STORAGE,
                origin="desy-storage" if server is cache else None,
            )
            for name, server in (("desy-storage", desy), ("remote-storage", remote), ("remote-cache", cache))
        ]


@pytest.fixture(scope="session")
def https_run(tmp_path_factory: pytest.TempPathFactory, endpoints: list[Endpoint]) -> Run:
    """Every case, over https."""
    only_https = [one.model_copy(update={"urls": {"https": one.urls["https"]}}) for one in endpoints]
    return ask(only_https, tmp_path_factory.mktemp("https"), "--title", "contract tests")


@pytest.fixture(scope="session")
def root_run(tmp_path_factory: pytest.TempPathFactory, endpoints: list[Endpoint]) -> Run:
    """Cases that are asked over root:// too."""
    chosen = [
        "copy-root.*",
        "cache.hit",
        "cache.kept-is-private",
        "denial.read",
        "integrity.every-door",
        "transfer.overwrite",
    ]
    return ask(endpoints, tmp_path_factory.mktemp("root"), *(word for one in chosen for word in ("--case", one)))
