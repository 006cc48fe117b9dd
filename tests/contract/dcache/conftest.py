"""Which dCache the contract cases run against: the emulator, or a real one that is named on the command line.

pytest tests/contract/dcache --dcache https://host:2881 --dcache-frontend https://host:3880 --dcache-ca FILE
       [--dcache-plain http://host:2880] [--dcache-directory /data/contract] [--dcache-kafka host:9092]

Credentials of a real one come from the environment, never from the command line: DCACHE_USER and DCACHE_PASSWORD
(who owns --dcache-directory), DCACHE_OTHER_USER and DCACHE_OTHER_PASSWORD (another user), DCACHE_CERTIFICATE and
DCACHE_KEY (PEM files), DCACHE_TOKEN (a bearer token of the first user: storage.read and storage.modify of the
directory).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dcache_rig import DcacheUnderTest, emulated
from storage_rig import Authority, TokenIssuer, folder, running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dcache", help="URL of the WebDAV door of a real dCache for the contract cases")
    parser.addoption("--dcache-frontend", help="URL of its REST interface")
    parser.addoption("--dcache-plain", help="URL of its unencrypted WebDAV door, if it has one")
    parser.addoption("--dcache-ca", help="PEM file of the authority of its certificates")
    parser.addoption("--dcache-directory", default="/data", help="directory that the cases may write to")
    parser.addoption("--dcache-kafka", help="bootstrap server of the broker that it publishes to, unencrypted")


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """The authority of the emulators' certificates."""
    with folder("pki") as home:
        yield Authority.make(home)


@pytest.fixture(scope="session")
def issuer(authority: Authority) -> Iterator[TokenIssuer]:
    """The issuer that the emulators trust."""
    with folder("issuer") as home, running(TokenIssuer(home, authority)) as server:
        yield server


@pytest.fixture(scope="session")
def dcache(request: pytest.FixtureRequest) -> Iterator[DcacheUnderTest]:
    """The dCache that every case of the session may use."""
    url = request.config.getoption("--dcache")
    if url:
        yield _real(request.config, url)
        return
    with emulated(request.getfixturevalue("authority"), request.getfixturevalue("issuer")) as started:
        yield started


@pytest.fixture
def own_dcache(authority: Authority) -> Iterator[DcacheUnderTest]:
    """An emulator of the test's own, to be killed and restarted."""
    with emulated(authority) as started:
        yield started


def _real(config: pytest.Config, url: str) -> DcacheUnderTest:
    named = os.environ
    users = {named["DCACHE_USER"]: named["DCACHE_PASSWORD"]}
    if "DCACHE_OTHER_USER" in named:
        users[named["DCACHE_OTHER_USER"]] = named["DCACHE_OTHER_PASSWORD"]
    certificates = {}
    if "DCACHE_CERTIFICATE" in named:
        certificates["tester"] = (Path(named["DCACHE_CERTIFICATE"]), Path(named["DCACHE_KEY"]))
    return DcacheUnderTest(
        webdav=url.rstrip("/"),
        frontend=str(config.getoption("--dcache-frontend") or "").rstrip("/"),
        plain=config.getoption("--dcache-plain"),
        ca=Path(config.getoption("--dcache-ca")),
        users=users,
        certificates=certificates,
        token=lambda _scope, _user: named["DCACHE_TOKEN"],
        kafka=config.getoption("--dcache-kafka"),
        kind="real",
        directory=config.getoption("--dcache-directory"),
    )
