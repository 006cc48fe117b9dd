"""dCache's billing records, from an upload to the event in the broker, with processes killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from dcache_source_rig import DcacheSource, Events, cut_upload, door, kafka_source
from event_rig import BILLING, produce

from xdc_testbed.clients.digests import adler32

if TYPE_CHECKING:
    from conftest import Pipeline
    from dcache_rig import DcacheUnderTest


@pytest.fixture(scope="module")
def source(
    pipeline: Pipeline, dcache: DcacheUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DcacheSource]:
    running = kafka_source(pipeline.broker, dcache, tmp_path_factory.mktemp("source"), "records")
    yield running
    assert running.process.stop() == 0, running.logged()


def test_an_upload_is_one_event_with_size_checksum_and_user(
    dcache: DcacheUnderTest, source: DcacheSource, events: Events
) -> None:
    with door(dcache) as webdav:
        webdav.put("/data/kafka-one/a b#%é.h5", b"hello")
        webdav.put("/data/kafka-one/end", b"")
    found = events.wait("/data/kafka-one/", 2)
    first = next(each for each in found if each.subject != "/data/kafka-one/end")
    assert (first.type.word, first.subject, first.data.size, first.data.checksums) == (
        "written",
        "/data/kafka-one/a b#%é.h5",
        5,
        {"adler32": adler32(b"hello")},
    )
    assert (first.data.user, first.source) == ("tester", "xdc://loopback/dcache-storage")
    assert len(found) == 2


def test_overwriting_and_removing_are_told_in_order(
    dcache: DcacheUnderTest, source: DcacheSource, events: Events
) -> None:
    with door(dcache) as webdav:
        webdav.put("/data/kafka-order/a", b"1")
        webdav.put("/data/kafka-order/a", b"22")
        webdav.delete("/data/kafka-order/a")
    found = events.wait("/data/kafka-order/", 3)
    assert [(each.type.word, each.data.size) for each in found] == [("written", 1), ("written", 2), ("deleted", None)]
    assert found[1].data.storage_id == found[2].data.storage_id != found[0].data.storage_id


def test_cut_uploads_are_no_events(dcache: DcacheUnderTest, source: DcacheSource, events: Events) -> None:
    with door(dcache) as webdav:
        webdav.mkcol("/data/kafka-cut")
        cut_upload(dcache, "/data/kafka-cut/half")
        cut_upload(dcache, "/data/kafka-cut/proxied", redirected=False)
        webdav.put("/data/kafka-cut/whole", b"x")
        events.wait("/data/kafka-cut/", 1)
    events.quiet(1)
    assert {(each.type.word, each.subject) for each in events.below("/data/kafka-cut/")} == {
        ("written", "/data/kafka-cut/whole")
    }


def test_garbage_in_the_topic_becomes_a_dead_letter(
    pipeline: Pipeline, dcache: DcacheUnderTest, source: DcacheSource, events: Events
) -> None:
    produce(
        pipeline.broker.connection("dcache"), BILLING, [("", b'{"msgType":"transfer","version":"9.9"}'), ("", b"{")]
    )
    with door(dcache) as webdav:
        webdav.put("/data/kafka-garbage/a", b"x")
    events.wait("/data/kafka-garbage/", 1)
    events.quiet(0.5)
    assert sorted(each.reason[:47] for each in events.dead) == [
        "dCache record: not JSON: Expecting property nam",
        "dCache record: transfer of unknown version '9.9",
    ]


def test_after_kill_9_in_the_middle_each_upload_has_one_id(
    dcache: DcacheUnderTest, source: DcacheSource, events: Events
) -> None:
    with door(dcache) as webdav:
        for number in range(60):
            webdav.put(f"/data/kafka-killed/{number}", b"x")
            if number == 30:
                source.process.kill()
    found = events.wait("/data/kafka-killed/", 60)
    assert len({each.id for each in found}) == len({each.subject for each in found}) == 60
