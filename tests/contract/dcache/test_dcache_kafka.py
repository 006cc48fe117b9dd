"""The records that a broker gets of dCache: captured ones, and what the kit's sources rely on."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, TopicPartition
from conftest import BILLING, DOORS
from dcache_door import opened
from dcache_peer import Peer
from dcache_records import Form, by_other_protocols, captured, form
from dcache_replay import known_differences
from dcache_rig import DcacheUnderTest, until
from dcache_scenario import BASIC, Replays, upload
from dcache_wire import Wire
from event_rig import Broker

from xdc_testbed.events.kafka import Connection

_CAPTURED = captured()
_PATIENCE = 60.0


@dataclass
class Records:
    """What topics hold, as far as it has been read: (path A or B, record). settings: of the consumer; topics: topic ->
    the path that publishes to it; late: leave out what is there already."""

    settings: dict[str, Any]
    topics: dict[str, str]
    late: bool = False
    found: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._consumer = Consumer(self.settings)
        places = []
        for topic in self.topics:
            for number in self._consumer.list_topics(topic, timeout=_PATIENCE).topics[topic].partitions:
                place = TopicPartition(topic, number)
                ends = self._consumer.get_watermark_offsets(place, timeout=_PATIENCE)
                places.append(TopicPartition(topic, number, ends[self.late]))
        self._consumer.assign(places)

    def read(self) -> None:
        """Take what has come."""
        while (message := self._consumer.poll(0.2)) is not None:
            assert message.error() is None
            assert message.key() is None
            assert not message.headers()
            self.found.append((self.topics[message.topic()], json.loads(message.value())))

    def of(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """The records whose transferPath or billingPath it is."""
        return [each for each in self.found if path in {each[1].get("transferPath"), each[1].get("billingPath")}]

    def wait(self, path: str, count: int) -> list[tuple[str, dict[str, Any]]]:
        """At least so many records of a path."""

        def enough() -> list[tuple[str, dict[str, Any]]]:
            self.read()
            found = self.of(path)
            return found if len(found) >= count else []

        found: list[tuple[str, dict[str, Any]]] = until(enough, f"{count} records of {path}", _PATIENCE)
        return found

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture(scope="module")
def records(published: DcacheUnderTest, replays: Replays, broker: Broker) -> Iterator[Records]:
    """All that the captured requests, and a few that were not captured as exchanges, make the emulator say."""
    reader = Records(broker.connection("admin").consumer("contract-dcache"), {DOORS: "A", BILLING: "B"})
    wire = Wire(published.ca)
    upload(published, "/tape/restored.bin", b"t" * 1000)
    until(lambda: _locality(published, "/tape/restored.bin") == "NEARLINE", "a file on tape only")
    upload(published, "/data/not-followed.bin", b"n" * 1000)
    assert wire.ask("GET", f"{published.plain}/data/not-followed.bin", BASIC).code == 302
    first = wire.ask("GET", f"{published.plain}/tape/restored.bin", BASIC)
    assert wire.ask("GET", first.header("location"), BASIC).body == b"t" * 1000
    _cancelled_copy(published)
    reader.wait("/data/cancel.bin", 4)
    reader.wait("/data/not-followed.bin", 9)
    yield reader
    reader.close()


@pytest.mark.parametrize("capture", _CAPTURED)
def test_a_captured_record_is_sent_in_the_same_form(capture: str, records: Records) -> None:
    own = [(path, form(record)) for path, record in records.found]
    missing = [
        (path, wanted)
        for path, wanted in _CAPTURED[capture]
        if not by_other_protocols(wanted) and not wanted.get("isP2p") and (path, wanted) not in own
    ]
    assert not missing, "\n".join(_nearest(path, wanted, own) for path, wanted in missing)


def test_no_record_has_a_form_that_was_not_captured(records: Records) -> None:
    known = [(path, _any_reason(each)) for of_capture in _CAPTURED.values() for path, each in of_capture]
    allowed = known_differences("kafka")
    unknown = []
    for path, record in records.found:
        own = _any_reason(form(record))
        message = str(record["status"].get("msg", ""))
        if (path, own) not in known and not any(text in message for text in allowed):
            unknown.append(_nearest(path, own, known))
    assert not unknown, "\n".join(dict.fromkeys(unknown))


def test_a_copy_between_pools_has_the_captured_form() -> None:
    from xdc_testbed.emulators.dcache import entries, records

    entry = entries.Entry(
        "0000" + "A" * 32, None, "/tape/x", False, 200_000, 0, 0, 0o644, 0, 0, 0, 0, {}, "ONLINE", "REPLICA",
        ("pool1",), False, None, None, None, frozenset(), {}, "test:default@osm",
    )  # fmt: skip
    own = form(records.pool_to_pool(entry, "pool1", "pool2", "dCacheDomain", "127.0.0.1", 0.01))
    wanted = [each for of_capture in _CAPTURED.values() for _, each in of_capture if each.get("isP2p")]
    assert wanted
    elsewhere = {"localEndpoint": None, "storageInfo": None}
    assert [each for each in wanted if {**each, **elsewhere} != {**own, **elsewhere}] == []


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[tuple[DcacheUnderTest, Records]]:
    """The dCache under test, and what its billing cell says."""
    address = request.config.getoption("--dcache-kafka")
    if not address:
        yield request.getfixturevalue("published"), request.getfixturevalue("records")
        return
    authority = request.config.getoption("--dcache-kafka-ca")
    broker = Connection(
        bootstrap=address,
        security="SASL_SSL" if authority else "PLAINTEXT",
        ca_file=authority,
        user=os.environ.get("DCACHE_KAFKA_USER"),
        password=os.environ.get("DCACHE_KAFKA_PASSWORD"),
    )
    topic = request.config.getoption("--dcache-topic")
    reader = Records({**broker.consumer("contract-dcache"), "enable.auto.commit": False}, {topic: "B"}, late=True)
    yield request.getfixturevalue("dcache"), reader
    reader.close()


@pytest.mark.needs("broker")
def test_an_upload_gives_transfer_and_request_that_name_each_other(told: tuple[DcacheUnderTest, Records]) -> None:
    dcache, records = told
    with opened(dcache) as door:
        door.put("joined.bin", b"12345")
        path = door.path("joined.bin")

        def both() -> list[dict[str, Any]]:
            records.read()
            found = [record for where, record in records.of(path) if where == "B"]
            return found if {record["msgType"] for record in found} == {"transfer", "request"} else []

        found = until(both, "transfer and request", _PATIENCE)
    transfer = next(record for record in found if record["msgType"] == "transfer")
    request = next(record for record in found if record["msgType"] == "request")
    assert transfer["initiator"] == request["session"]
    assert transfer["pnfsid"] == request["pnfsid"]
    assert (transfer["isWrite"], transfer["fileSize"], transfer["transferSize"]) == ("write", 5, 5)
    assert transfer["status"] == request["status"] == {"code": 0, "msg": ""}
    assert request["owner"] == next(iter(dcache.users))


def test_a_name_is_told_as_it_is(published: DcacheUnderTest, records: Records) -> None:
    upload(published, "/data/a%20b%23%25%C3%A9%0A.bin", b"x")
    found = records.wait("/data/a b#%\u00e9\n.bin", 4)
    assert {record["msgType"] for _, record in found} == {"transfer", "request"}


def test_making_and_renaming_gives_no_record(published: DcacheUnderTest, records: Records) -> None:
    wire = Wire(published.ca)
    assert wire.ask("MKCOL", f"{published.webdav}/data/quiet", BASIC).code == 201
    target = {**BASIC, "Destination": f"{published.webdav}/data/silent"}
    assert wire.ask("MOVE", f"{published.webdav}/data/quiet", target).code == 201
    assert wire.ask("GET", f"{published.webdav}/data/quiet", BASIC).code == 404
    upload(published, "/data/silent/end.bin", b"x")
    records.wait("/data/silent/end.bin", 4)
    assert not records.of("/data/quiet") + records.of("/data/silent")


def test_no_credential_is_in_a_record_or_in_the_log(published: DcacheUnderTest, records: Records) -> None:
    assert published.emulator is not None
    text = json.dumps(records.found) + published.emulator.log()
    secrets = ["secret", "TOK", "MDA", base64.b64encode(b"tester:secret").decode(), "Bearer"]
    assert not [word for word in secrets if word in text.replace("macaroon.secret", "")]


def test_uploads_go_on_while_the_broker_is_away_and_are_told_when_it_is_back(
    published: DcacheUnderTest, records: Records, broker: Broker
) -> None:
    broker.process.kill()
    for number in range(3):
        upload(published, f"/data/away{number}.bin", b"x")
    for number in range(3):
        assert len(records.wait(f"/data/away{number}.bin", 4)) == 4


def _locality(dcache: DcacheUnderTest, path: str) -> str:
    url = f"{dcache.frontend}/api/v1/namespace{path}?locality=true"
    return str(json.loads(Wire(dcache.ca).ask("GET", url, BASIC).body).get("fileLocality"))


def _cancelled_copy(dcache: DcacheUnderTest) -> None:
    """A pull whose client goes away while bytes come."""
    peer = Peer()
    try:
        parts = urlsplit(dcache.webdav)
        context = ssl.create_default_context(cafile=str(dcache.ca))
        with socket.create_connection((parts.hostname, parts.port or 0), 30) as plain:
            sock = context.wrap_socket(plain, server_hostname=parts.hostname)
            head = (
                f"COPY /data/cancel.bin HTTP/1.1\r\nHost: {parts.netloc}\r\nCredential: none\r\n"
                f"Authorization: {BASIC['Authorization']}\r\nSource: http://127.0.0.1:{peer.port}/endless\r\n\r\n"
            )
            sock.sendall(head.encode())
            got = b""
            deadline = time.monotonic() + 30
            while b"Bytes Transferred" not in got:
                assert time.monotonic() < deadline
                got += sock.recv(4096)
            sock.close()
        until(lambda: Wire(dcache.ca).ask("HEAD", f"{dcache.webdav}/data/cancel.bin", BASIC).code == 404, "no residue")
    finally:
        peer.stop()


def _any_reason(record: Form) -> Form:
    """A form in which the reason why a third-party copy failed is left out: the replayed answers hold it."""
    status = record["status"]
    return {**record, "status": {**status, "msg": "<why>"}} if status["code"] == 10027 else record


def _nearest(path: str, wanted: Form, candidates: list[tuple[str, Form]]) -> str:
    """A form, and how the most similar candidate differs from it."""

    def distance(other: Form) -> int:
        return sum(wanted.get(key) != other.get(key) for key in {*wanted, *other})

    near = min((each for where, each in candidates if where == path), key=distance)
    differing = {key: (wanted.get(key), near.get(key)) for key in {*wanted, *near} if wanted.get(key) != near.get(key)}
    return f"{path} {wanted['msgType']} {wanted['cellName']}: {differing}"
