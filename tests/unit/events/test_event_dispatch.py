"""The dispatcher: every item to its end, in order per file, nobody waiting for somebody else's trouble."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from xdc_testbed.events.dispatch import Dispatcher, Retries
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import (
    LONGEST_REASON,
    DeadLetter,
    EventType,
    Result,
    StorageData,
    StorageEvent,
    WorkItem,
)
from xdc_testbed.events.targets import Failed, Outcome, Succeeded, Throttled, Unavailable

QUICK = Retries(
    attempts=3,
    first=0.001,
    longest=0.002,
    throttled_first=0.001,
    throttled_longest=0.002,
    away_first=0.001,
    away_longest=0.002,
)


@dataclass(frozen=True)
class Record:
    value: bytes


@dataclass
class Platform:
    """A target that answers as told: `answers` per path, the last one for ever."""

    answers: dict[str, list[Outcome]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    busy: dict[str, asyncio.Event] = field(default_factory=dict)
    running: int = 0
    most: int = 0

    async def invoke(self, _: str, parameters: dict[str, Any]) -> Outcome:
        path = parameters["event"]["subject"]
        self.calls.append(path)
        self.parameters.append(parameters)
        self.running += 1
        self.most = max(self.most, self.running)
        await (self.busy[path].wait() if path in self.busy else asyncio.sleep(0))
        self.running -= 1
        row = self.answers.get(path, [Succeeded({})])
        return row.pop(0) if len(row) > 1 else row[0]

    async def close(self) -> None:
        """Nothing to let go."""


@dataclass
class Book:
    """A ledger in memory; `order` tells what was written when."""

    results: list[Result] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    broken: bool = False
    full: asyncio.Event | None = None

    async def record(self, result: Result) -> None:
        if self.full is not None:
            await self.full.wait()
        if self.broken:
            raise RuntimeError("broker gone")
        self.results.append(result)
        self.order.append(f"result {result.subject}")
        self.done.add(result.id)

    async def bury(self, letter: DeadLetter) -> None:
        self.letters.append(letter)
        self.order.append(f"letter {letter.item.event.subject if letter.item else 'garbage'}")

    def is_done(self, work_id: str) -> bool:
        return work_id in self.done


def item(path: str, *, session: str = "s", action: str = "/_/xdc/noop") -> WorkItem:
    data = StorageData(endpoint="desy-storage", size=1, closed_at=1.0)
    event = StorageEvent.make(EventType.WRITTEN, path, data, testbed="t", session=session)
    return WorkItem.make(event, "rule", action, {"destination": "remote"}, created_at=2.0)


def record(work: WorkItem) -> Record:
    return Record(work.to_json())


def play(
    platform: Platform,
    book: Book,
    story: Callable[[Dispatcher], Awaitable[None]],
    *,
    retries: Retries = QUICK,
    concurrency: int = 4,
) -> tuple[list[Record], Counters]:
    """Run a story with a dispatcher; the ended records, in their order."""
    ended: list[Record] = []
    counters = Counters("event-dispatcher")

    async def run() -> None:
        async with asyncio.timeout(30):
            dispatcher = Dispatcher(
                platform,
                book,
                retries=retries,
                concurrency=concurrency,
                ended=lambda one: (ended.append(one), book.order.append("ended")),
                counters=counters,
            )
            await story(dispatcher)

    asyncio.run(run())
    return ended, counters


def accepting(*works: WorkItem) -> Callable[[Dispatcher], Awaitable[None]]:
    async def story(dispatcher: Dispatcher) -> None:
        dispatcher.accept([record(work) for work in works])
        await dispatcher.drain(20)

    return story


def test_every_item_is_run_once_and_ended() -> None:
    works = [item(f"/data/{number}") for number in range(50)]
    platform, book = Platform(), Book()
    ended, _ = play(platform, book, accepting(*works))
    assert sorted(platform.calls) == sorted(work.event.subject for work in works)
    assert sorted(one.value for one in ended) == sorted(work.to_json() for work in works)


def test_the_action_gets_event_work_id_and_the_rules_parameters() -> None:
    platform = Platform()
    work = item("/data/a")
    play(platform, Book(), accepting(work))
    (given,) = platform.parameters
    assert StorageEvent.model_validate(given["event"]) == work.event
    assert (given["work_id"], given["destination"]) == (work.id, "remote")


def test_no_more_run_at_once_than_allowed() -> None:
    platform = Platform()
    play(platform, Book(), accepting(*[item(f"/data/{n}") for n in range(40)]), concurrency=3)
    assert platform.most == 3


def test_a_result_is_kept_before_its_record_ends() -> None:
    book = Book()
    play(Platform(), book, accepting(item("/data/a")))
    assert book.order == ["result /data/a", "ended"]


def test_the_result_carries_the_times_of_the_way() -> None:
    platform = Platform({"/data/a": [Succeeded({"started_at": 3.0}, activation_id="0" * 32)]})
    book = Book()
    play(platform, book, accepting(item("/data/a")))
    (result,) = book.results
    assert (result.times.closed, result.times.routed, result.times.action_started) == (1.0, 2.0, 3.0)
    assert result.activation_id == "0" * 32


def test_what_an_action_says_is_kept_without_credentials_and_within_bounds() -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl"
    answers: dict[str, list[Outcome]] = {
        "/data/a": [Succeeded({"log": f"token {secret}", "at": float("nan")})],
        "/data/b": [Failed(f"HTTP 401 for {secret}", retry=False)],
        "/data/c": [Succeeded({"value": "x" * 2_000_000})],
    }
    book = Book()
    play(Platform(answers), book, accepting(*(item(path) for path in answers)))
    written = b"".join(each.to_json() for each in (*book.results, *book.letters))
    assert secret.encode() not in written
    assert len(written) < 100_000
    assert b'"at":null' in written
    assert [letter.reason for letter in book.letters] == ["HTTP 401 for (hidden)"]


def test_a_failure_that_may_pass_is_tried_again() -> None:
    platform = Platform({"/data/a": [Failed("flaky", retry=True), Succeeded({})]})
    book = Book()
    play(platform, book, accepting(item("/data/a")))
    assert [(result.status, result.attempts) for result in book.results] == [("ok", 2)]


def test_a_final_failure_is_buried_at_once_with_its_reason_before_its_result() -> None:
    platform = Platform({"/data/a": [Failed("input ends in train 128 of 256", retry=False)]})
    book = Book()
    play(platform, book, accepting(item("/data/a")))
    assert book.order == ["letter /data/a", "result /data/a", "ended"]
    assert [letter.reason for letter in book.letters] == ["input ends in train 128 of 256"]
    assert len(platform.calls) == 1


def test_a_lasting_failure_is_buried_after_the_last_attempt() -> None:
    platform = Platform({"/data/a": [Failed("broken", retry=True)]})
    book = Book()
    play(platform, book, accepting(item("/data/a")))
    assert (len(platform.calls), [result.attempts for result in book.results]) == (3, [3])
    assert [letter.reason for letter in book.letters] == ["broken"]


def test_throttling_is_waited_out_and_does_not_count() -> None:
    platform = Platform({"/data/a": [*[Throttled("429")] * 10, Succeeded({})]})
    book = Book()
    _, counters = play(platform, book, accepting(item("/data/a")))
    assert [(result.status, result.attempts) for result in book.results] == [("ok", 1)]
    assert counters.get("throttled") == 10


def test_an_absent_platform_is_waited_for_and_does_not_count() -> None:
    platform = Platform({"/data/a": [*[Unavailable("refused")] * 10, Succeeded({})]})
    book = Book()
    play(platform, book, accepting(item("/data/a")))
    assert [(result.status, result.attempts) for result in book.results] == [("ok", 1)]


@pytest.mark.parametrize("refusal", [Throttled("429"), Unavailable("refused")])
def test_patience_ends(refusal: Outcome) -> None:
    platform = Platform({"/data/a": [refusal]})
    book = Book()
    play(platform, book, accepting(item("/data/a")), retries=QUICK.model_copy(update={"patience": 0.01}))
    assert [letter.reason for letter in book.letters] == [refusal.reason]  # type: ignore[union-attr]


def test_a_throttled_action_delays_no_other() -> None:
    slow = Retries(throttled_first=3600, throttled_longest=3600)
    platform = Platform({"/data/throttled": [Throttled("429")]})
    book = Book()

    async def story(dispatcher: Dispatcher) -> None:
        dispatcher.accept([record(item("/data/throttled", action="/_/xdc/busy"))])
        dispatcher.accept([record(item(f"/data/{number}")) for number in range(20)])
        while len(book.results) < 20:
            await asyncio.sleep(0)
        await dispatcher.drain(0)

    ended, _ = play(platform, book, story, retries=slow, concurrency=1)
    assert len(ended) == 20


def test_an_item_in_back_off_delays_no_other() -> None:
    slow = Retries(first=3600, longest=3600)
    platform = Platform({"/data/failing": [Failed("flaky", retry=True)]})
    book = Book()

    async def story(dispatcher: Dispatcher) -> None:
        dispatcher.accept([record(item("/data/failing"))])
        dispatcher.accept([record(item(f"/data/{number}")) for number in range(20)])
        while len(book.results) < 20:
            await asyncio.sleep(0)
        await dispatcher.drain(0)

    ended, _ = play(platform, book, story, retries=slow, concurrency=1)
    assert len(ended) == 20


def test_items_of_one_file_run_one_after_the_other_in_order() -> None:
    platform, book = Platform(), Book()
    first, second = item("/data/a", session="1"), item("/data/a", session="2")

    async def story(dispatcher: Dispatcher) -> None:
        platform.busy["/data/a"] = asyncio.Event()
        dispatcher.accept([record(first), record(second)])
        while not platform.calls:
            await asyncio.sleep(0)
        assert platform.running == 1
        platform.busy["/data/a"].set()
        await dispatcher.drain(20)

    play(platform, book, story)
    assert [result.id for result in book.results] == [first.id, second.id]
    assert platform.most == 1


def test_an_item_delivered_twice_is_run_once_and_ended_twice() -> None:
    platform, work = Platform(), item("/data/a")
    ended, counters = play(platform, Book(), accepting(work, work))
    assert (len(platform.calls), len(ended), counters.get("repeated")) == (1, 2, 1)


def test_an_item_that_ended_before_a_crash_is_not_run_again() -> None:
    platform, work = Platform(), item("/data/a")
    ended, _ = play(platform, Book(done={work.id}), accepting(work))
    assert (platform.calls, len(ended)) == ([], 1)


def test_a_record_that_is_no_work_item_is_buried_and_ended() -> None:
    book = Book()

    async def story(dispatcher: Dispatcher) -> None:
        dispatcher.accept([Record(b"{}")])
        await dispatcher.drain(20)

    ended, _ = play(Platform(), book, story)
    assert (len(ended), [letter.reason for letter in book.letters]) == (
        1,
        ["not a work item: id: Field required"],
    )


def test_what_has_not_ended_when_the_service_stops_is_given_back() -> None:
    platform, book = Platform(), Book()

    async def story(dispatcher: Dispatcher) -> None:
        platform.busy["/data/long"] = asyncio.Event()
        dispatcher.accept([record(item("/data/long"))])
        while not platform.calls:
            await asyncio.sleep(0)
        await dispatcher.drain(0)

    ended, _ = play(platform, book, story)
    assert (ended, book.results) == ([], [])


def test_a_result_that_cannot_be_kept_stops_the_service_and_ends_nothing() -> None:
    async def story(dispatcher: Dispatcher) -> None:
        dispatcher.accept([record(item("/data/a"))])
        with pytest.raises(RuntimeError, match="broker gone"):
            await dispatcher.failure

    ended, _ = play(Platform(), Book(broken=True), story)
    assert ended == []


def test_no_more_is_run_than_there_are_places_while_results_cannot_be_kept() -> None:
    platform, book = Platform(), Book()

    async def story(dispatcher: Dispatcher) -> None:
        book.full = asyncio.Event()
        dispatcher.accept([record(item(f"/data/{number}")) for number in range(20)])
        while len(platform.calls) < 3:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(platform.calls) == 3
        book.full.set()
        await dispatcher.drain(20)

    ended, _ = play(platform, book, story, concurrency=3)
    assert len(ended) == 20


@pytest.mark.parametrize("said", [10**400, -1, float("nan"), float("inf"), "soon", None, [1]])
def test_a_start_that_cannot_be_is_taken_from_the_platform(said: object) -> None:
    book = Book()
    play(Platform({"/data/a": [Succeeded({"started_at": said}, started=7.0)]}), book, accepting(item("/data/a")))
    assert book.results[0].times.action_started == 7.0
    assert Result.model_validate_json(book.results[0].to_json()).status == "ok"


def test_a_defect_buries_its_item_and_stops_no_other() -> None:
    class Defective(Platform):
        async def invoke(self, action: str, parameters: dict[str, Any]) -> Outcome:
            await super().invoke(action, parameters)
            raise ZeroDivisionError("oops")

    platform, book = Defective(), Book()
    ended, _ = play(platform, book, accepting(item("/data/a"), item("/data/b")))
    assert [letter.reason for letter in book.letters] == ["defect of the dispatcher: ZeroDivisionError: oops"] * 2
    assert (len(ended), len(platform.calls)) == (2, 6)


def test_of_a_large_answer_the_small_parts_are_kept_and_the_rest_is_named_by_size_and_checksum() -> None:
    answer = {"status": "done", "trains": list(range(50_000)), "output": {"path": "/data/a"}}
    book = Book()
    play(Platform({"/data/a": [Succeeded(answer)]}), book, accepting(item("/data/a")))
    whole = json.dumps(answer, separators=(",", ":")).encode()
    assert book.results[0].result == {
        "status": "done",
        "output": {"path": "/data/a"},
        "left_out": {"parts": 1, "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()},
    }


def test_a_reason_is_searched_for_credentials_before_it_is_cut() -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl"
    reason = "x" * (LONGEST_REASON - 30) + f" {secret}"  # cut first, it would be no token any more
    book = Book()
    play(Platform({"/data/a": [Failed(reason, retry=False)]}), book, accepting(item("/data/a")))
    (letter,) = book.letters
    assert "eyJ" not in letter.reason
    assert len(letter.reason) <= LONGEST_REASON
