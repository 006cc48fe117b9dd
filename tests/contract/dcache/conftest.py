"""Which dCache the contract cases run against: the emulator, or a real one that is named on the command line.

pytest tests/contract/dcache --dcache https://host:2881 --dcache-ca FILE [--dcache-frontend https://host:3880]
       [--dcache-plain http://host:2880] [--dcache-directory /data/contract] [--dcache-peer ADDRESS]
       [--dcache-kafka host:9092 [--dcache-kafka-ca FILE] --dcache-topic billing]

Credentials of a real one come from the environment, never from the command line: DCACHE_USER and DCACHE_PASSWORD
(who owns --dcache-directory and has the role qos-user), DCACHE_OTHER_USER and DCACHE_OTHER_PASSWORD (another user),
DCACHE_ADMIN_USER and DCACHE_ADMIN_PASSWORD (who may take the role admin), DCACHE_CERTIFICATE and DCACHE_KEY (PEM files
of the first user), DCACHE_TOKEN (a bearer token of the first user: storage.read and storage.modify of the directory),
DCACHE_KAFKA_USER and DCACHE_KAFKA_PASSWORD (SCRAM, with --dcache-kafka-ca). A case that needs one that is not given is
skipped with that reason; cases about the emulator are left out.

Wrong passwords are among the cases: webdav.limits.error.max-allowed and frontend.limits.error.max-allowed of the real
one must be raised to 1000, or it turns this machine away for a while.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from dcache_door import Door, opened
from dcache_needs import NEEDS, is_about_the_emulator, reason
from dcache_rig import DcacheUnderTest, emulated
from dcache_scenario import Replays, replay
from storage_rig import Authority, TokenIssuer

sys.path.insert(0, str(Path(__file__).parents[1] / "events"))

from event_rig import Broker

_HERE = Path(__file__).parent
DOORS, BILLING = "billing-a", "billing-b"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dcache", help="URL of the WebDAV door of a real dCache for the contract cases")
    parser.addoption("--dcache-frontend", help="URL of its REST interface")
    parser.addoption("--dcache-plain", help="URL of its unencrypted WebDAV door, if it has one")
    parser.addoption("--dcache-ca", help="PEM file of the authority of its certificates")
    parser.addoption("--dcache-directory", default="/data", help="directory that the cases may write to")
    parser.addoption("--dcache-peer", help="address at which it reaches servers that the cases start on this machine")
    parser.addoption("--dcache-kafka", help="bootstrap server of the broker that its billing cell tells")
    parser.addoption("--dcache-kafka-ca", help="PEM file of the broker's authority; without one, no encryption")
    parser.addoption("--dcache-topic", default="billing", help="topic of its billing records there")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and refuse a run that could do nothing."""
    config.addinivalue_line("markers", "needs(what): of a dCache elsewhere, see dcache_needs")
    missing = NEEDS["anything"].missing(config) if config.getoption("--dcache") else []
    if missing:
        raise pytest.UsageError(f"--dcache: give {' and '.join(missing)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --dcache: leave out what is about the emulator, and skip by name what lacks something."""
    if not config.getoption("--dcache"):
        return
    own = [item for item in items if item.path.parent == _HERE and is_about_the_emulator(item)]
    config.hook.pytest_deselected(items=own)
    items[:] = [item for item in items if item not in own]
    for item in items:
        if item.path.parent == _HERE and (why := reason(item)) is not None:
            item.add_marker(pytest.mark.skip(reason=why))


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
def door(dcache: DcacheUnderTest) -> Iterator[Door]:
    """Its WebDAV door as the first user, with a folder of the test's own."""
    with opened(dcache) as door_:
        yield door_


@pytest.fixture
def own_dcache(authority: Authority) -> Iterator[DcacheUnderTest]:
    """An emulator of the test's own, to be killed and restarted."""
    with emulated(authority) as started:
        yield started


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker with one topic for each publishing path."""
    started = Broker(tmp_path_factory.mktemp("broker"))
    try:
        admin = AdminClient(started.connection("admin").settings())
        for future in admin.create_topics([NewTopic(topic, 1, 1) for topic in (DOORS, BILLING)]).values():
            future.result(30)
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def published(authority: Authority, issuer: TokenIssuer, broker: Broker) -> Iterator[DcacheUnderTest]:
    """An emulator that publishes on both paths, and to which only the captured requests are made."""
    kafka = {
        "bootstrap": broker.kafka.bootstrap,
        "authority": str(broker.kafka.ca_file),
        "username": "admin",
        "password_file": str(broker.password_file("admin")),
        "doors": {"enable": True, "topic": DOORS},
        "billing": {"enable": True, "topic": BILLING},
    }
    webdav = {"marker_period": 0.3, "mover_timeout": 2.0}
    with emulated(authority, issuer, tables={"webdav": webdav, "kafka": kafka, "qos": {"evict_s": 0.3}}) as started:
        yield started


@pytest.fixture(scope="session")
def replays(published: DcacheUnderTest, authority: Authority) -> Replays:
    """Where the emulator answers otherwise than the product did."""
    return replay(published, authority)


def _real(config: pytest.Config, url: str) -> DcacheUnderTest:
    named = os.environ
    users = {named["DCACHE_USER"]: named["DCACHE_PASSWORD"]}
    for who in ("OTHER", "ADMIN"):
        if f"DCACHE_{who}_USER" in named:
            users[named[f"DCACHE_{who}_USER"]] = named[f"DCACHE_{who}_PASSWORD"]
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
        admin=named.get("DCACHE_ADMIN_USER", "admin"),
        peer=config.getoption("--dcache-peer") or "127.0.0.1",
    )
