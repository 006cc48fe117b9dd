"""Two sites and a cache of the storage tests' kind, and runs of the suite against them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from interop_sites import CACHE, STORAGE, Run, ask, credentials
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Cache, Server, Site

from xdc_testbed.clients.tls_pulse import is_open
from xdc_testbed.endpoints import Credentials, Endpoint


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory, authority: Authority, issuer: TokenIssuer) -> Credentials:
    """Credentials for every endpoint."""
    return credentials(tmp_path_factory.mktemp("credentials"), authority, issuer)


@pytest.fixture(scope="session")
def servers(authority: Authority, issuer: TokenIssuer) -> Iterator[dict[str, Server]]:
    """Two storage sites, and a cache of the first one at the second."""
    with (
        folder("interop-desy") as desy_home,
        folder("interop-remote") as remote_home,
        folder("interop-cache") as cache_home,
        running(Site(desy_home, authority, issuer, "DESY")) as desy,
        running(Site(remote_home, authority, issuer, "REMOTE")) as remote,
        running(Cache(cache_home, authority, issuer, desy.origin)) as cache,
    ):
        yield {"desy-storage": desy, "remote-storage": remote, "remote-cache": cache}


@pytest.fixture(scope="session")
def endpoints(servers: dict[str, Server], held: Credentials) -> list[Endpoint]:
    """The servers as the suite is told of them."""
    return [
        Endpoint(
            id=name,
            site=name.partition("-")[0],
            product=server.role,
            version="5.5.3",
            kind="real",
            urls={"https": server.https, "root": server.root},
            credentials=held,
            capabilities=CACHE if name == "remote-cache" else STORAGE,
            origin="desy-storage" if name == "remote-cache" else None,
        )
        for name, server in servers.items()
    ]


def asked(servers: dict[str, Server], known: list[Endpoint], folder: Path, *options: str) -> Run:
    """Run the suite; once more when a server has stopped accepting connections meanwhile, as XRootD 5.5.3 may."""
    first = ask(known, folder / "first", *options)
    stuck = [server for server in servers.values() if not is_open(server.https)]
    if not stuck:
        return first
    for server in stuck:
        server.stop()
        server.start()
    return ask(known, folder / "again", *options)


@pytest.fixture(scope="session")
def https_run(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, Server], endpoints: list[Endpoint]) -> Run:
    """Every case, over https."""
    only_https = [one.model_copy(update={"urls": {"https": one.urls["https"]}}) for one in endpoints]
    return asked(servers, only_https, tmp_path_factory.mktemp("https"), "--title", "contract tests")


@pytest.fixture(scope="session")
def root_run(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, Server], endpoints: list[Endpoint]) -> Run:
    """Cases that are asked over root:// too."""
    chosen = [
        "copy-root.*",
        "cache.hit",
        "cache.kept-is-private",
        "denial.read",
        "integrity.every-door",
        "transfer.overwrite",
    ]
    return asked(
        servers, endpoints, tmp_path_factory.mktemp("root"), *(word for one in chosen for word in ("--case", one))
    )
