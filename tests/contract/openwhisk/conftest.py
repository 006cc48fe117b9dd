"""Which OpenWhisk the contract cases run against: a fresh emulator, or a real one that is named on the command line.

pytest tests/contract/openwhisk/test_openwhisk_contract.py --openwhisk https://host:3233 --openwhisk-auth FILE
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openwhisk_emulator import GUEST, Emulator, running

from xdc_testbed.clients.openwhisk import OpenWhisk
from xdc_testbed.clients.openwhisk_async import AsyncOpenWhisk


class Platform(NamedTuple):
    """Where an OpenWhisk answers, and the key to it."""

    url: str
    auth: str
    ca_file: str | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--openwhisk", help="URL of a real OpenWhisk for the contract cases")
    parser.addoption("--openwhisk-auth", help="file with its <uuid>:<key>")
    parser.addoption("--openwhisk-ca", help="PEM file of the authority of its certificate")


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """An OpenWhisk whose namespace the cases may use."""
    url = request.config.getoption("--openwhisk", default=None)
    if url:
        auth = Path(request.config.getoption("--openwhisk-auth")).read_text().strip()
        yield Platform(url, auth, request.config.getoption("--openwhisk-ca"))
        return
    limits = {"invocations_per_minute": 6000, "fires_per_minute": 6000}
    with running(tmp_path_factory.mktemp("platform"), tables={"limits": limits}) as emulator:
        yield Platform(emulator.url, GUEST)


@pytest.fixture
def whisk(platform: Platform) -> Iterator[OpenWhisk]:
    """The synchronous client."""
    with OpenWhisk(platform.url, platform.auth, platform.ca_file) as client:
        yield client


@pytest.fixture
def ask(platform: Platform) -> Callable[[Callable[[AsyncOpenWhisk], Awaitable[Any]]], Any]:
    """Run something with the asynchronous client."""

    def run(work: Callable[[AsyncOpenWhisk], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            async with AsyncOpenWhisk(platform.url, platform.auth, platform.ca_file) as client:
                return await work(client)

        return asyncio.run(inside())

    return run


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator of the test's own."""
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def guest(emulator: Emulator) -> Iterator[OpenWhisk]:
    """The client of that emulator's user."""
    with OpenWhisk(emulator.url, GUEST) as client:
        yield client
