"""Runs: which files belong to one, and when it is complete."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.clock import Timers
from xdc_testbed.events.completeness import Head, Output, RunKeeping, Timer
from xdc_testbed.events.feed import Entry
from xdc_testbed.events.kafka import DEAD_LETTERS, INVOCATIONS, RUN_EVENTS, RUN_TIMERS
from xdc_testbed.events.manifests import ManifestWrong, names
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import (
    LARGEST_EVENT,
    DeadLetter,
    EventType,
    FileReference,
    StorageData,
    StorageEvent,
    WorkItem,
)
from xdc_testbed.events.rules import Rules, parse
from xdc_testbed.events.runs import Arrival

RULES = """
[[run]]
name = "raw-run"
endpoints = ["desy-storage"]
paths = ["/data/raw/{run}/RAW-*-{module}-S{sequence}.h5"]
expect = { EXPECT }
[[rule]]
name = "report"
match = { types = ["run-complete"], paths = ["/data/raw/*"] }
action = [{ name = "/_/xdc/noop" }]
"""
BY_COUNT, BY_QUIET, BY_MANIFEST = "count = 3", "quiet_seconds = 10", 'manifest = "/data/raw/{run}/manifest.json"'


class Memory(dict[str, Any]):
    """The part of a quixstreams state that is used; counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.touched = 0

    def set(self, key: str, value: Any, ttl: timedelta) -> None:
        assert ttl == timedelta(days=1)
        self.touched += 1
        self[key] = value

    def delete(self, key: str) -> None:
        del self[key]


class Story:
    """One run's records, one after the other, and what followed from them."""

    def __init__(self, expect: str) -> None:
        self.rules: Rules = parse(RULES.replace("EXPECT", expect))
        self.memory = Memory()
        self.outputs: list[Output] = []
        self._keeping = RunKeeping(lambda: self.rules, Counters("event-router"), timedelta(days=1))

    def event(self, event: StorageEvent, *, at: float = 1.0) -> list[Output]:
        """What follows from what the event means for runs."""
        return [each for arrival in self.rules.arrivals(event, now=at) for each in self.arrival(arrival)]

    def arrival(self, arrival: Arrival) -> list[Output]:
        found = self._keeping.decide(arrival.to_json(), self.memory, now=arrival.at)
        self.outputs += found
        return found

    def file(self, number: int, *, at: float = 1.0, session: str = "s") -> list[Output]:
        return self.event(written(path(number), session=session), at=at)

    def answer(self, kind: str, *, at: float, **said: Any) -> list[Output]:
        """What the clock says to the last timer."""
        timer = next(
            Timer.model_validate_json(each.payload or b"") for each in reversed(self.outputs) if is_timer(each)
        )
        return self.arrival(timer.arrival.model_copy(update={"kind": kind, "at": at, **said}))

    @property
    def completions(self) -> list[StorageEvent]:
        return complete(self.outputs)


def is_timer(output: Output) -> bool:
    return output.topic == RUN_TIMERS and output.payload is not None


def complete(outputs: list[Output]) -> list[StorageEvent]:
    return [StorageEvent.model_validate_json(each.payload or b"") for each in outputs if each.topic == RUN_EVENTS]


def path(number: int) -> str:
    return f"/data/raw/r0001/RAW-R0001-JNGFR{number % 2:02}-S{number:05}.h5"


def written(
    name: str,
    *,
    session: str = "s",
    kind: EventType = EventType.WRITTEN,
    old: str | None = None,
    checksums: dict[str, str] | None = None,
) -> StorageEvent:
    data = StorageData(endpoint="desy-storage", size=10, closed_at=1.0, old_path=old, checksums=checksums or {})
    return StorageEvent.make(kind, name, data, testbed="t", session=session)


def revisions(events: list[StorageEvent]) -> list[int]:
    return [event.data.run.revision for event in events if event.data.run]


def test_a_run_is_complete_when_the_last_expected_file_arrives() -> None:
    story = Story(BY_COUNT)
    assert story.file(0) == story.file(1) == []
    (event,) = complete(story.file(2))
    assert (event.type, event.subject, event.data.size) == (EventType.RUN_COMPLETE, "/data/raw/r0001", 30)
    assert event.data.run is not None
    assert event.data.run.model_dump() == {
        "table": "raw-run",
        "run": "r0001",
        "by": "count",
        "files": 3,
        "modules": ("JNGFR00", "JNGFR01"),
        "sequences": 3,
        "revision": 1,
        "late": (),
        "manifest": None,
    }


def test_rules_match_the_complete_run_by_its_folder() -> None:
    story = Story(BY_COUNT)
    outputs = [output for number in range(3) for output in story.file(number)]
    (item,) = [WorkItem.model_validate_json(each.payload or b"") for each in outputs if each.topic == INVOCATIONS]
    assert (item.rule, item.event, item.rules) == ("report", story.completions[0], story.rules.version)


def test_the_same_file_twice_counts_once() -> None:
    story = Story(BY_COUNT)
    for session in ("a", "b", "c"):
        story.file(0, session=session)
    story.file(1)
    assert story.completions == []


def test_a_late_file_leads_to_a_new_revision_that_names_it() -> None:
    story = Story(BY_COUNT)
    for number in range(5):
        story.file(number)
    assert revisions(story.completions) == [1, 2, 3]
    assert [event.data.run.late for event in story.completions if event.data.run] == [(), (path(3),), (path(4),)]
    assert len({event.id for event in story.completions}) == 3


def test_a_file_that_is_written_again_after_completeness_leads_to_a_new_revision() -> None:
    story = Story(BY_COUNT)
    for number in range(3):
        story.file(number)
    story.file(1, session="again")
    assert revisions(story.completions) == [1, 2]


def test_records_that_are_delivered_again_lead_to_nothing_new() -> None:
    story = Story(BY_COUNT)
    for number in (0, 1, 2, 3, 2, 3):
        story.file(number)
    assert revisions(story.completions) == [1, 2]


def test_a_run_that_is_replayed_from_lost_state_says_the_same_with_the_same_ids() -> None:
    first, second = Story(BY_COUNT), Story(BY_COUNT)
    for number in range(5):
        first.file(number)
        second.file(number)
    assert [event.id for event in first.completions] == [event.id for event in second.completions]


@pytest.mark.parametrize("away", [EventType.DELETED, EventType.MOVED])
def test_a_file_that_goes_before_completeness_is_missing(away: EventType) -> None:
    story = Story(BY_COUNT)
    story.file(0)
    story.file(1)
    gone = path(1) if away is EventType.DELETED else "/data/trash/x"
    story.event(written(gone, kind=away, old=path(1)))
    story.file(2)
    assert story.completions == []
    story.file(1, session="again")
    assert revisions(story.completions) == [1]


def test_files_of_other_runs_endpoints_and_names_do_not_count() -> None:
    rules = parse(RULES.replace("EXPECT", BY_COUNT))
    (mine,) = rules.arrivals(written(path(0)), now=1)
    (other,) = rules.arrivals(written(path(0).replace("r0001", "r0002")), now=1)
    assert mine.key != other.key
    foreign = StorageData(endpoint="remote-storage", size=1, closed_at=1)
    assert (
        list(rules.arrivals(StorageEvent.make(EventType.WRITTEN, path(0), foreign, testbed="t", session="s"), now=1))
        == []
    )
    assert list(rules.arrivals(written("/data/raw/r0001/other.h5"), now=1)) == []


def test_a_run_is_complete_after_a_time_of_quiet() -> None:
    story = Story(BY_QUIET)
    (timer,) = story.file(0, at=100)
    assert Timer.model_validate_json(timer.payload or b"").due == 110
    assert story.file(1, at=105) == []
    (later,) = story.answer("ask", at=110)
    assert Timer.model_validate_json(later.payload or b"").due == 115
    story.answer("ask", at=115)
    assert revisions(story.completions) == [1]


def test_a_late_file_after_quiet_leads_to_a_new_revision_after_another_quiet() -> None:
    story = Story(BY_QUIET)
    story.file(0, at=100)
    story.answer("ask", at=110)
    story.file(1, at=200)
    assert revisions(story.completions) == [1]
    story.answer("ask", at=210)
    assert revisions(story.completions) == [1, 2]


def test_several_clocks_that_ask_alike_get_one_answer() -> None:
    story = Story(BY_QUIET)
    story.file(0, at=100)
    for _ in range(3):
        story.answer("ask", at=111)
    assert revisions(story.completions) == [1]


def test_a_run_is_complete_when_all_of_its_manifest_has_arrived() -> None:
    story = Story(BY_MANIFEST)
    story.file(0)
    (timer,) = story.event(written("/data/raw/r0001/manifest.json"))
    assert Timer.model_validate_json(timer.payload or b"").manifest == "/data/raw/r0001/manifest.json"
    story.answer("listed", at=2, names=(path(0), path(1).rpartition("/")[2]))
    assert story.completions == []
    story.file(1)
    assert revisions(story.completions) == [1]


def test_a_complete_run_names_its_manifest_with_size_and_checksum() -> None:
    story = Story(BY_MANIFEST)
    story.file(0)
    story.event(written("/data/raw/r0001/manifest.json", checksums={"adler32": "0badcafe"}))
    story.answer("listed", at=2, names=(path(0),))
    (event,) = story.completions
    assert event.data.run is not None
    assert event.data.run.manifest == FileReference(
        path="/data/raw/r0001/manifest.json", size=10, checksums={"adler32": "0badcafe"}
    )


def test_the_event_of_a_run_stays_small_whatever_its_files_are_called() -> None:
    story = Story("count = 400")
    for number in range(430):
        story.event(written(f"/data/raw/r0001/RAW-{'a' * 900}-M{number:0253}-S{'1' * 6000}.h5"))
    assert len(story.completions) == 31
    (largest,) = story.completions[-1:]
    assert largest.data.run is not None
    assert (len(largest.data.run.modules), largest.data.run.files) == (256, 430)
    assert len(largest.to_json()) < LARGEST_EVENT
    assert max(len(output.payload or b"") for output in story.outputs) < 2 * LARGEST_EVENT


def test_a_manifest_that_comes_last_completes_the_run() -> None:
    story = Story(BY_MANIFEST)
    story.file(0)
    story.event(written("/data/raw/r0001/manifest.json"))
    outputs = story.answer("listed", at=2, names=(path(0),))
    assert revisions(complete(outputs)) == [1]
    assert (RUN_TIMERS, None) in [(each.topic, each.payload) for each in outputs]


def test_a_manifest_that_is_written_again_leads_to_a_new_revision_once_all_is_there() -> None:
    story = Story(BY_MANIFEST)
    story.file(0)
    story.event(written("/data/raw/r0001/manifest.json"))
    story.answer("listed", at=2, names=(path(0),))
    story.event(written("/data/raw/r0001/manifest.json", session="second"))
    story.answer("listed", at=3, names=(path(0), path(1)))
    assert revisions(story.completions) == [1]
    story.file(1)
    assert revisions(story.completions) == [1, 2]


def test_a_manifest_that_cannot_be_read_is_a_dead_letter_with_its_reason() -> None:
    story = Story(BY_MANIFEST)
    story.event(written("/data/raw/r0001/manifest.json"))
    outputs = story.answer("unlisted", at=2, reason="it is not JSON")
    (letter,) = [DeadLetter.model_validate_json(each.payload or b"") for each in outputs if each.topic == DEAD_LETTERS]
    assert letter.reason.endswith("could not be read: it is not JSON")


def test_an_arrival_costs_the_same_in_a_large_run() -> None:
    story = Story("count = 100000")
    touched = []
    for number in range(2000):
        before = story.memory.touched
        story.file(number)
        touched.append(story.memory.touched - before)
    assert set(touched) == {3}
    assert len(Head.model_validate(story.memory["head"]).model_dump_json()) < 400


def test_a_run_of_a_table_that_is_no_longer_there_is_let_go() -> None:
    story = Story(BY_QUIET)
    story.file(0, at=100)
    story.rules = parse("")
    assert [(each.topic, each.payload) for each in story.answer("ask", at=110)] == [(RUN_TIMERS, None)]


@given(st.permutations(list(range(4))), st.integers(0, 3))
def test_in_whatever_order_files_arrive_the_run_is_complete_once(order: list[int], repeated: int) -> None:
    story = Story("count = 4")
    for number in (*order, order[repeated]):
        story.file(number)
    assert revisions(story.completions) == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{run}", "*"), "does not name the run"),
        (('"/data/raw/{run}/RAW', '"data/raw/{run}/RAW'), "not an absolute path"),
        (("{run}/RAW-*", "RAW-{run}"), "must be in the name of a folder"),
        (("count = 3", "count = 0"), r"run\[0\].expect.count"),
        (("count = 3", "count = 3, quiet_seconds = 1"), "give one of"),
        (('name = "raw-run"', 'name = "raw-run"\ntypes = ["run-complete"]'), "made of files"),
    ],
)
def test_a_wrong_run_table_is_refused_with_its_key(change: tuple[str, str], message: str) -> None:
    with pytest.raises(WrongUsage, match=message):
        parse(RULES.replace("EXPECT", BY_COUNT).replace(*change))


@pytest.mark.parametrize(
    "content",
    [b'["a", "b"]', b'{"files": ["a", "b"], "more": 1}', b"# files\na\n\nb\n"],
    ids=["list", "object", "text"],
)
def test_manifests_are_lists_of_names(content: bytes) -> None:
    assert names(content) == ("a", "b")


@pytest.mark.parametrize("content", [b"", b"[]", b"[1]", b'{"file": []}', b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_says_so(content: bytes) -> None:
    with pytest.raises(ManifestWrong):
        names(content)


def test_a_timer_is_answered_until_it_is_taken_back() -> None:
    (output,) = Story(BY_QUIET).file(0, at=100)
    timers = Timers()
    timers.take(Entry(0, 0, 0.0, b"k", output.payload or b""), now=100)
    assert timers.due(now=109) == []
    assert len(timers.due(now=110)) == 1
    assert timers.due(now=111) == []
    assert len(timers.due(now=130)) == 1
    timers.take(Entry(0, 1, 0.0, b"k", b""), now=131)
    assert timers.due(now=time.time()) == []
