"""The XRootD source: every line of the journal becomes one event in Kafka, whatever is killed meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from event_rig import Source

from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import EVENTS
from xdc_testbed.events.model import StorageEvent

if TYPE_CHECKING:
    from conftest import Pipeline


class Seen:
    """The events that came since the test began, read on as they come."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._events: list[StorageEvent] = []

    def below(self, folder: str, count: int, seconds: float = 120) -> list[StorageEvent]:
        """The events of a folder, as soon as they concern so many files."""
        deadline = time.monotonic() + seconds
        while len({each.subject for each in self._of(folder)}) < count:
            assert time.monotonic() < deadline, f"{len(self._of(folder))} of {count} events below {folder}"
            entry = self._feed.next(0.2)
            if entry is not None and folder.encode() in entry.value:
                self._events.append(StorageEvent.model_validate_json(entry.value))
        return self._of(folder)

    def _of(self, folder: str) -> list[StorageEvent]:
        return [each for each in self._events if each.subject.startswith(folder)]


@pytest.fixture
def seen(pipeline: Pipeline) -> Iterator[Seen]:
    with Feed(pipeline.broker.connection("client"), EVENTS) as feed:
        feed.from_now()
        yield Seen(feed)


@pytest.fixture
def source(pipeline: Pipeline, tmp_path: Path) -> Iterator[Source]:
    running = Source(pipeline.broker, tmp_path)
    yield running
    running.process.stop()


def names(folder: str, count: int) -> list[str]:
    return [f"{folder}file-{number}" for number in range(count)]


def test_each_line_becomes_one_event(seen: Seen, source: Source) -> None:
    source.closed(*names("/data/source-plain/", 20))
    found = seen.below("/data/source-plain/", 20)
    assert sorted(each.subject for each in found) == sorted(names("/data/source-plain/", 20))
    assert {(each.data.endpoint, each.data.size, each.source) for each in found} == {
        ("desy-storage", 7, "xdc://loopback/desy-storage")
    }


def test_after_kill_9_in_the_middle_of_500_lines_each_file_has_one_event_id(seen: Seen, source: Source) -> None:
    paths = names("/data/source-killed/", 500)
    source.closed(*paths[:250])
    seen.below("/data/source-killed/", 50)
    source.process.kill()
    source.closed(*paths[250:])
    found = seen.below("/data/source-killed/", 500)
    ids = Counter({(each.subject, each.id) for each in found})
    assert sorted(path for path, _ in ids) == sorted(paths)


def test_what_was_acknowledged_is_not_sent_again_after_a_stop(seen: Seen, source: Source) -> None:
    source.closed(*names("/data/source-stopped/", 10))
    seen.below("/data/source-stopped/", 10)
    assert source.process.stop() == 0
    source.start()
    source.closed("/data/source-stopped/last")
    found = seen.below("/data/source-stopped/", 11)
    assert max(Counter(each.subject for each in found).values()) == 1


def test_lines_written_while_the_broker_is_dead_come_when_it_is_back(
    pipeline: Pipeline, seen: Seen, source: Source
) -> None:
    source.closed("/data/source-broker/first")
    seen.below("/data/source-broker/", 1)
    pipeline.broker.process.kill()
    source.closed(*names("/data/source-broker/", 50))
    found = seen.below("/data/source-broker/", 51)
    assert len({each.id for each in found}) == 51
