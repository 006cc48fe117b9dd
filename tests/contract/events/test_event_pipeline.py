"""Storage events become activations: each once, none lost, whatever is killed meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from event_rig import Process, produce, produce_events, read, storage_event, until

from xdc_testbed.events import dead_letters
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS, INVOCATIONS, RESULTS
from xdc_testbed.events.model import Result, StorageData, StorageEvent, WorkItem

if TYPE_CHECKING:
    from conftest import Pipeline


CONCURRENCY = 16  # the dispatcher's default


def files(folder: str, action: str, count: int) -> list[StorageEvent]:
    return [storage_event(f"/data/{folder}/{action}-{number}", session=str(number)) for number in range(count)]


def test_every_event_is_acted_on_once(pipeline: Pipeline) -> None:
    produce_events(pipeline.broker, files("once", "noop", 100))
    found = pipeline.results.wait("/data/once/", 100)
    assert [each.status for each in found] == ["ok"] * 100
    assert set(pipeline.platform.runs("noop").values()) == {1}


def test_a_result_tells_the_whole_way_in_order(pipeline: Pipeline) -> None:
    produce_events(pipeline.broker, files("times", "noop", 1))
    (found,) = pipeline.results.wait("/data/times/", 1)
    times = found.times
    assert times.invoked is not None
    assert times.action_started is not None
    assert times.closed <= times.routed <= times.invoked <= times.action_started <= times.ended


def test_the_same_event_again_is_not_acted_on(pipeline: Pipeline) -> None:
    events = files("again", "noop", 10)
    produce_events(pipeline.broker, events)
    produce_events(pipeline.broker, events)
    produce_events(pipeline.broker, files("after", "noop", 40))
    pipeline.results.wait("/data/after/", 40)
    again = {path: runs for path, runs in pipeline.platform.runs("noop").items() if path.startswith("/data/again/")}
    assert again == {event.subject: 1 for event in events}


def test_an_event_that_no_rule_means_leads_to_nothing(pipeline: Pipeline) -> None:
    produce_events(pipeline.broker, files("unmeant", "other", 1))
    produce_events(pipeline.broker, files("meant", "noop", 1))
    pipeline.results.wait("/data/meant/", 1)
    assert pipeline.results.below("/data/unmeant/") == []


def test_a_failure_that_passes_is_retried(pipeline: Pipeline) -> None:
    produce_events(pipeline.broker, files("flaky", "flaky", 3))
    assert [(each.status, each.attempts) for each in pipeline.results.wait("/data/flaky/", 3)] == [("ok", 2)] * 3


def test_a_final_failure_ends_in_the_dead_letters_with_its_reason(pipeline: Pipeline) -> None:
    (event,) = files("dead", "broken", 1)
    produce_events(pipeline.broker, [event])
    (failed,) = pipeline.results.wait("/data/dead/", 1)
    letter = dead_letters.show(pipeline.broker.connection("client"), failed.id)
    assert (failed.status, failed.attempts) == ("failed", 1)
    assert letter.reason == "input is no raw file"
    assert letter.item is not None
    assert letter.item.event == event


def test_a_dead_letter_retried_twice_runs_once_more(pipeline: Pipeline) -> None:
    produce_events(pipeline.broker, files("retried", "broken", 1))
    (failed,) = pipeline.results.wait("/data/retried/", 1)
    admin = pipeline.broker.connection("admin")
    letter = dead_letters.show(admin, failed.id)
    first, second = dead_letters.retry(admin, letter), dead_letters.retry(admin, letter)
    assert first.id == second.id

    def retried() -> bool:
        pipeline.results.update()
        return first.id in {each.id for each in pipeline.results.all}

    until(retried, "result of the retried item")
    produce_events(pipeline.broker, files("retried-after", "noop", 40))
    pipeline.results.wait("/data/retried-after/", 40)
    assert pipeline.platform.runs("broken")["/data/retried/broken-0"] == 2


def test_a_record_that_is_no_event_is_buried_with_the_reason(pipeline: Pipeline) -> None:
    assert produce(pipeline.broker.connection("event-source"), EVENTS, [("k", b'{"specversion": "0.3"}')]) == []

    def buried() -> list[str]:
        reasons = [json.loads(entry.value)["reason"] for entry in read(pipeline.broker, DEAD_LETTERS)]
        return [reason for reason in reasons if reason.startswith("not a storage event: specversion")]

    assert len(until(buried, "dead letter of the record")) == 1


def told(**changes: object) -> bytes:
    """A storage event as another program might write it, with changes of its data, or of itself."""
    event = json.loads(storage_event("/data/absurd/noop-1").to_json())
    for key, value in changes.items():
        (event["data"] if key in StorageData.model_fields else event)[key] = value
    return json.dumps(event).encode()


def test_absurd_records_are_buried_with_their_reasons_and_the_router_goes_on(pipeline: Pipeline) -> None:
    absurd = {
        told(type="org.xdc.storage.file.exploded.v1"): "type: Input should be",
        told(specversion="1.1"): "specversion: Input should be '1.0'",
        told(subject="/" + "x" * 8192): "subject: String should have at most 8192 characters",
        told(size=10**400): "data.size: Input should be less than 9007199254740992",
        told(size=-1): "data.size: Input should be greater than or equal to 0",
        told(closed_at=float("nan")): "data.closed_at: Input should be",
        told(raw={"said": "x" * 900_000}): "it has 900",
        b"[" * 500_000: "record: Invalid JSON",
        b"\xff\xfe": "record: Invalid JSON",
    }
    starts = pipeline.router.process.starts
    assert produce(pipeline.broker.connection("event-source"), EVENTS, [("k", record) for record in absurd]) == []

    def buried() -> bool:
        reasons = [json.loads(entry.value)["reason"] for entry in read(pipeline.broker, DEAD_LETTERS)]
        wanted = [f"not a storage event: {reason}" for reason in absurd.values()]
        return all(any(reason.startswith(each) for reason in reasons) for each in wanted)

    until(buried, "dead letters of all absurd records")
    odd = [f"/data/odd/noop-{name}" for name in ("a b", "#%41", "é\u2028", "new\nline", '"\\', "x" * 8000)]
    produce_events(pipeline.broker, [storage_event(path) for path in odd])
    assert {each.subject for each in pipeline.results.wait("/data/odd/", len(odd))} == set(odd)
    assert pipeline.router.process.starts == starts


def test_a_throttled_action_delays_no_other(pipeline: Pipeline) -> None:
    produce_events(pipeline.broker, files("throttled", "busy", 20))
    until(lambda: pipeline.platform.throttled, "refusal by the platform")
    produce_events(pipeline.broker, files("beside", "noop", 50))
    pipeline.results.wait("/data/beside/", 50)
    assert pipeline.results.below("/data/throttled/") == []
    pipeline.platform.idle.set()
    found = pipeline.results.wait("/data/throttled/", 20)
    assert {(each.status, each.attempts) for each in found} == {("ok", 1)}


def burst_with_a_kill(pipeline: Pipeline, victim: Process) -> tuple[list[Result], Counter[str]]:
    """500 events, kill -9 in the middle; the results of all, and how often the action was run for each
    file.
    """
    events = files(f"kill-{victim.name}", "noop", 500)
    folder = f"/data/kill-{victim.name}/"

    def runs() -> Counter[str]:
        every = pipeline.platform.runs("noop")
        return Counter({path: count for path, count in every.items() if path.startswith(folder)})

    produce_events(pipeline.broker, events[:250])
    until(lambda: len(runs()) >= 50, "first activations")
    victim.kill()
    produce_events(pipeline.broker, events[250:])
    found = pipeline.results.wait(folder, 500)
    assert sorted(runs()) == sorted(event.subject for event in events)
    return found, runs()


def test_kill_9_of_the_router_in_a_burst_of_500_loses_none_and_repeats_none(pipeline: Pipeline) -> None:
    found, runs = burst_with_a_kill(pipeline, pipeline.router.process)
    assert [each.status for each in found] == ["ok"] * 500
    assert set(runs.values()) == {1}


def test_kill_9_of_the_broker_in_a_burst_of_500_loses_none_and_repeats_none(pipeline: Pipeline) -> None:
    found, runs = burst_with_a_kill(pipeline, pipeline.broker.process)
    assert [each.status for each in found] == ["ok"] * 500
    assert set(runs.values()) == {1}


def test_kill_9_of_the_dispatcher_in_a_burst_of_500_loses_none_and_repeats_only_what_was_under_way(
    pipeline: Pipeline,
) -> None:
    found, runs = burst_with_a_kill(pipeline, pipeline.dispatch.process)
    assert {each.status for each in found} == {"ok"}
    assert runs.total() - 500 <= CONCURRENCY
    assert max(runs.values()) <= 2


def test_with_exactly_once_a_killed_router_repeats_no_work_item(pipeline: Pipeline) -> None:
    pipeline.router.restart('guarantee = "exactly-once"\ncommit_interval = 0.1\n')
    try:
        with Feed(pipeline.broker.connection("client"), INVOCATIONS) as feed:
            feed.from_now()
            events = files("exactly-once", "noop", 300)
            produce_events(pipeline.broker, events)
            found = items(feed, 20)
            pipeline.router.process.kill()
            found += items(feed, 300 - len(found))
    finally:
        pipeline.router.restart()
    produce_events(pipeline.broker, files("at-least-once", "noop", 1))
    pipeline.results.wait("/data/at-least-once/", 1)
    assert sorted(found) == sorted(event.subject for event in events)


def items(feed: Feed, count: int) -> list[str]:
    """The files of the next work items, so many at least."""
    found: list[str] = []

    def enough() -> bool:
        entry = feed.next(0.2)
        if entry is not None:
            found.append(WorkItem.model_validate_json(entry.value).event.subject)
        return len(found) >= count

    until(enough, f"{count} work items", 120)
    return found


def test_the_router_may_not_write_where_it_only_reads(pipeline: Pipeline) -> None:
    assert produce(pipeline.broker.connection("router"), EVENTS, [("k", b"v")]) == ["TOPIC_AUTHORIZATION_FAILED"]


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("event-source", INVOCATIONS),
        ("dispatcher", EVENTS),
        ("dispatcher", INVOCATIONS),
        ("router", RESULTS),
        ("client", EVENTS),
        ("client", INVOCATIONS),
    ],
)
def test_nobody_writes_what_is_anothers_to_say(pipeline: Pipeline, user: str, topic: str) -> None:
    assert produce(pipeline.broker.connection(user), topic, [("k", b"v")]) == ["TOPIC_AUTHORIZATION_FAILED"]


def test_administration_changes_nothing_the_second_time(pipeline: Pipeline) -> None:
    assert pipeline.broker.administrate() == []


def test_a_wrong_configuration_is_one_line_and_exit_status_2(pipeline: Pipeline) -> None:
    wrong = pipeline.router.folder / "wrong.toml"
    wrong.write_text(pipeline.router.config.read_text().replace("state_dir", "statedir"))
    done = subprocess.run(
        [sys.executable, "-m", "xdc_testbed.events.router", "--config", wrong],
        check=False,
        capture_output=True,
        timeout=60,
    )
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert len(lines) == 1
    assert "router." in lines[0]
