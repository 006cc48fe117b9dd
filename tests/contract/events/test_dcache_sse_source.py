"""dCache's storage events and listings: the same facts as its billing records, whatever is lost or killed meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dcache_source_rig import (
    Authority,
    DcacheSource,
    Events,
    cut_upload,
    door,
    emulator,
    frontend,
    kafka_source,
    reconciler,
    sse_source,
    storage,
)
from event_rig import until

from xdc_testbed.clients.dcache_events import EventChannels
from xdc_testbed.clients.digests import adler32

if TYPE_CHECKING:
    from conftest import Pipeline
    from dcache_rig import DcacheUnderTest


@pytest.fixture
def watched(request: pytest.FixtureRequest, dcache: DcacheUnderTest) -> str:
    """A folder of the test's own."""
    folder = "/data/" + request.node.name.removeprefix("test_")[:40]
    with frontend(dcache) as client:
        client.mkdir(folder)
    return folder


@pytest.fixture
def source(pipeline: Pipeline, dcache: DcacheUnderTest, watched: str, tmp_path: Path) -> Iterator[DcacheSource]:
    running = sse_source(pipeline.broker, dcache, tmp_path, watched)
    yield running
    assert running.process.stop() == 0, running.logged()


def told(events: Events, folder: str) -> list[tuple[str, str]]:
    """Type and name of each event, in the order in which it came first."""
    first = {each.id: each for each in reversed(events.below(folder))}
    found = [each for each in events.below(folder) if first[each.id] is each]
    return [(each.type.word, each.subject.removeprefix(folder)) for each in found]


def doubts(events: Events, folder: str) -> list[str]:
    """The reasons for which an upload cut in the middle was not told."""
    return [each.reason for each in events.dead if f"{folder}/half" in (each.raw or "")]


def test_an_upload_has_one_id_by_listing_over_kafka_and_over_the_stream(
    pipeline: Pipeline, dcache: DcacheUnderTest, watched: str, events: Events, tmp_path: Path
) -> None:
    with door(dcache) as webdav:
        webdav.put(f"{watched}/a b#%é.h5", b"hello")

    def again(source: DcacheSource, count: int) -> None:
        until(lambda: events.update(0.1) or len(events.below(watched)) >= count, f"event {count}", 30)
        assert source.process.stop() == 0, source.logged()

    again(reconciler(pipeline.broker, dcache, tmp_path, watched), 1)
    again(kafka_source(pipeline.broker, dcache, tmp_path, "late"), 2)
    again(sse_source(pipeline.broker, dcache, tmp_path, watched, existing=True), 3)
    found = events.below(watched)
    assert len({each.id for each in found}) == 1
    assert {(each.data.size, each.data.checksums["adler32"]) for each in found} == {(5, adler32(b"hello"))}


def test_everything_that_happens_to_files_is_told(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav, frontend(dcache) as client:
        webdav.put(f"{watched}/run/deep/a", b"1")
        events.wait(watched, 1)
        webdav.put(f"{watched}/b", b"2")
        events.wait(watched, 2)
        webdav.put(f"{watched}/b", b"33")
        events.wait(watched, 3)
        webdav.move(f"{watched}/b", f"{watched}/run/c")
        events.wait(watched, 4)
        client.delete(f"{watched}/run/c")
        webdav.put(f"{watched}/d.part-1", b"4")
        webdav.move(f"{watched}/d.part-1", f"{watched}/d")
        events.wait(watched, 6)
    assert told(events, watched) == [
        ("written", "/run/deep/a"),
        ("written", "/b"),
        ("written", "/b"),
        ("moved", "/run/c"),
        ("deleted", "/run/c"),
        ("moved", "/d"),
    ]


def test_a_change_of_class_is_told_when_it_has_ended(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav, frontend(dcache) as client:
        webdav.put(f"{watched}/a", b"1")
        events.wait(watched, 1)
        client.request_qos(f"{watched}/a", "tape")
        client.await_qos(f"{watched}/a", "tape", timeout=20, pause=0.05)
        events.wait(watched, 2)
    changed = events.below(watched)[1]
    assert (changed.type.word, changed.data.raw["qos"]) == ("qos-changed", "tape")


def test_cut_uploads_are_no_events_and_are_kept_with_the_reason(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    cut_upload(dcache, f"{watched}/half")
    cut_upload(dcache, f"{watched}/proxied", redirected=False)
    with door(dcache) as webdav:
        webdav.put(f"{watched}/whole", b"x")
    events.wait(watched, 1)
    until(lambda: events.update(0.1) or doubts(events, watched), "doubt")
    events.quiet(0.5)
    assert told(events, watched) == [("written", "/whole")]


def test_folders_full_of_files_made_at_once_are_told_as_a_whole(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    paths = [f"{watched}/r{number % 5}/m{number % 3}/{number}" for number in range(60)]
    with door(dcache) as webdav:
        for path in paths:
            webdav.put(path, b"x")
    found = events.wait(watched, 60)
    assert sorted(each.subject for each in found) == sorted(paths)


def test_after_kill_9_nothing_is_missed_and_nothing_is_new_twice(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav:
        for number in range(40):
            webdav.put(f"{watched}/r{number % 2}/{number}", b"x")
            if number in (13, 27):
                source.process.kill()
    found = events.wait(watched, 40)
    events.quiet(0.5)
    assert len({each.id for each in found}) == len({each.subject for each in found}) == 40


def test_a_channel_that_is_gone_is_made_again_and_what_was_missed_is_found(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav, frontend(dcache) as client:
        webdav.put(f"{watched}/a", b"x")
        webdav.put(f"{watched}/b", b"x")
        events.wait(watched, 2)
        source.process.kill()
        channels = EventChannels(client)
        (channel,) = channels.find("xdc-loopback-dcache-storage")
        channels.delete(channel)
        webdav.put(f"{watched}/new/c", b"x")
        webdav.delete(f"{watched}/a")
        webdav.move(f"{watched}/b", f"{watched}/new/b")
    events.wait(watched, 5)
    assert sorted(told(events, watched)[2:]) == [("deleted", "/a"), ("moved", "/new/b"), ("written", "/new/c")]


def test_the_files_of_a_renamed_folder_move_and_later_ones_are_told_there(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav, frontend(dcache) as client:
        webdav.put(f"{watched}/run/a", b"x")
        events.wait(watched, 1)
        client.rename(f"{watched}/run", f"{watched}/done")
        webdav.put(f"{watched}/done/b", b"x")
        events.wait(watched, 3)
    assert told(events, watched) == [("written", "/run/a"), ("moved", "/done/a"), ("written", "/done/b")]


def test_after_a_loss_of_notices_the_listing_finds_what_they_said(
    pipeline: Pipeline, authority: Authority, events: Events, tmp_path: Path
) -> None:
    with storage(pipeline.broker, authority, backlog=20) as dcache, door(dcache) as webdav:
        webdav.mkcol("/data/loss")
        source = sse_source(pipeline.broker, dcache, tmp_path, "/data/loss")
        webdav.put("/data/loss/first", b"x")
        events.wait("/data/loss/", 1)
        source.process.stop()
        for number in range(20):
            webdav.put(f"/data/loss/deep/{number}", b"x")
        source.start()
        found = events.wait("/data/loss/", 21)
        assert source.process.stop() == 0, source.logged()
    assert len({each.id for each in found}) == len({each.subject for each in found}) == 21


def test_an_upload_cut_while_nobody_watched_is_known_by_its_record(
    pipeline: Pipeline, dcache: DcacheUnderTest, watched: str, events: Events, tmp_path: Path
) -> None:
    source = sse_source(pipeline.broker, dcache, tmp_path, watched, billing=True)
    assert source.process.stop() == 0, source.logged()
    with door(dcache) as webdav, frontend(dcache) as client:
        channels = EventChannels(client)
        for channel in channels.find("xdc-loopback-dcache-storage"):
            channels.delete(channel)
        cut_upload(dcache, f"{watched}/half")
        webdav.put(f"{watched}/whole", b"x")
        assert {each.path for each in client.list(watched)} == {f"{watched}/half", f"{watched}/whole"}
    source.start()
    events.wait(watched, 1)
    until(
        lambda: events.update(0.1) or [each for each in events.dead if f"{watched}/half" in (each.raw or "")], "doubt"
    )
    assert source.process.stop() == 0, source.logged()
    assert told(events, watched) == [("written", "/whole")]


def test_another_reader_of_the_channel_is_outlived(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav, frontend(dcache) as client:
        webdav.put(f"{watched}/a", b"x")
        events.wait(watched, 1)
        channels = EventChannels(client)
        (channel,) = channels.find("xdc-loopback-dcache-storage")
        with channels.stream(channel, None, silence=10):
            source.wait_for("another client reads this channel")
            webdav.put(f"{watched}/b", b"x")
            events.wait(watched, 2)
    assert told(events, watched) == [("written", "/a"), ("written", "/b")]


def test_a_frontend_that_starts_again_is_caught_up_with(
    dcache: DcacheUnderTest, source: DcacheSource, watched: str, events: Events
) -> None:
    with door(dcache) as webdav:
        webdav.put(f"{watched}/a", b"x")
    events.wait(watched, 1)
    emulator(dcache).restart(signal.SIGKILL)
    with door(dcache) as webdav:
        webdav.put(f"{watched}/b", b"x")
    events.wait(watched, 2)
    assert told(events, watched) == [("written", "/a"), ("written", "/b")]


def test_a_listing_tells_what_no_event_has_named_and_not_the_half_of_a_cut_upload(
    pipeline: Pipeline, dcache: DcacheUnderTest, watched: str, events: Events, tmp_path: Path
) -> None:
    with door(dcache) as webdav:
        webdav.put(f"{watched}/deep/whole", b"hello")
    cut_upload(dcache, f"{watched}/half")
    net = reconciler(pipeline.broker, dcache, tmp_path, watched)
    events.wait(watched, 1)
    with door(dcache) as webdav:
        webdav.put(f"{watched}/deep/later", b"x")
    events.wait(watched, 2)
    events.quiet(0.5)
    assert net.process.stop() == 0, net.logged()
    assert told(events, watched) == [("written", "/deep/whole"), ("written", "/deep/later")]


def test_a_listing_that_is_told_to_hurry_grants_no_grace_and_the_sources_repeat_the_same_fact(
    pipeline: Pipeline, dcache: DcacheUnderTest, watched: str, events: Events, tmp_path: Path
) -> None:
    net = reconciler(pipeline.broker, dcache, tmp_path, watched, every=3600, grace=3600)
    net.wait_for("looked through")
    with door(dcache) as webdav:
        webdav.put(f"{watched}/missed", b"x")
    net.process.signal(signal.SIGUSR1)
    (event,) = events.wait(watched, 1)
    source = kafka_source(pipeline.broker, dcache, tmp_path, "after")
    until(lambda: events.update(0.1) or len(events.below(watched)) == 2, "the source's event", 30)
    assert {each.id for each in events.below(watched)} == {event.id}
    assert [process.stop() for process in (net.process, source.process)] == [0, 0]
