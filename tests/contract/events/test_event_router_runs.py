"""Runs through a real broker: complete once, late files told, restarts survived, rules followed while routing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import RULES
from event_rig import produce_events, read, storage_event, until

from xdc_testbed.events.kafka import RUN_EVENTS
from xdc_testbed.events.model import StorageEvent
from xdc_testbed.events.rules import parse

if TYPE_CHECKING:
    from conftest import Pipeline

RUNS = """
[[run]]
name = "counted"
paths = ["/data/counted/{run}/RAW-{module}-S{sequence}.h5"]
expect = { count = 12 }
[[run]]
name = "quiet"
paths = ["/data/quiet/{run}/RAW-{module}-S{sequence}.h5"]
expect = { quiet_seconds = 1 }
[[rule]]
name = "report"
match = { types = ["run-complete"], paths = ["/data/counted/*", "/data/quiet/*"] }
action = [{ name = "/_/xdc/noop" }]
"""


def follow(pipeline: Pipeline, rules: str, said: str) -> None:
    """Give the router other rules and wait until its log says so."""
    log = pipeline.router.process.log
    before = log.stat().st_size
    file = pipeline.router.folder / "rules.toml"
    fresh = file.with_suffix(".new")
    fresh.write_text(rules)
    fresh.replace(file)
    until(lambda: said in tail(log, before), f"{said!r} in the router's log")


def tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


@pytest.fixture(scope="module")
def runs(pipeline: Pipeline) -> Iterator[Pipeline]:
    """The pipeline, whose router has learned of runs without a restart."""
    with_runs = RULES + RUNS
    until(lambda: "routing by" in pipeline.router.process.log.read_text(), "router that routes")
    follow(pipeline, with_runs, f"rules {parse(with_runs).version} take the place")
    yield pipeline
    follow(pipeline, RULES, f"rules {parse(RULES).version} take the place")


def files(folder: str, sequences: range) -> list[StorageEvent]:
    return [storage_event(f"{folder}/RAW-JNGFR{m:02}-S{s:05}.h5") for s in sequences for m in range(4)]


def completions(pipeline: Pipeline, folder: str) -> list[StorageEvent]:
    """The run events of one folder, the same event once."""
    found = [StorageEvent.model_validate_json(entry.value) for entry in read(pipeline.broker, RUN_EVENTS)]
    return list({event.id: event for event in found if event.subject == folder}.values())


def revisions(pipeline: Pipeline, folder: str) -> list[int]:
    return [event.data.run.revision for event in completions(pipeline, folder) if event.data.run]


def test_a_run_is_complete_once_and_its_rule_acts_once(runs: Pipeline) -> None:
    folder = "/data/counted/r0001"
    produce_events(runs.broker, files(folder, range(3)))
    (result,) = runs.results.wait(folder, 1, 45)
    assert (result.subject, result.status, result.rule) == (folder, "ok", "report")
    (event,) = completions(runs, folder)
    assert event.data.run is not None
    assert (event.data.run.files, event.data.run.modules) == (12, ("JNGFR00", "JNGFR01", "JNGFR02", "JNGFR03"))
    assert runs.platform.runs("noop")[folder] == 1


def test_a_late_file_is_a_new_revision_that_is_acted_on(runs: Pipeline) -> None:
    folder = "/data/counted/r0002"
    produce_events(runs.broker, files(folder, range(3)))
    until(lambda: revisions(runs, folder) == [1], "first revision")
    produce_events(runs.broker, files(folder, range(3, 4))[:1])
    until(lambda: revisions(runs, folder) == [1, 2], "second revision")
    until(lambda: runs.platform.runs("noop").get(folder) == 2, "action on the second revision")


def test_a_run_survives_kill_9_of_the_router_half_way(runs: Pipeline) -> None:
    folder = "/data/counted/r0003"
    produce_events(runs.broker, files(folder, range(2)))
    runs.router.process.kill()
    produce_events(runs.broker, files(folder, range(2, 3)))
    runs.results.wait(folder, 1, 45)
    produce_events(runs.broker, [storage_event("/data/counted/noop-after")])
    runs.results.wait("/data/counted/noop-after", 1)
    assert revisions(runs, folder) == [1]
    assert runs.platform.runs("noop")[folder] == 1


def test_a_quiet_run_is_complete_also_when_the_router_was_killed_while_it_waited(runs: Pipeline) -> None:
    folder = "/data/quiet/r0001"
    produce_events(runs.broker, files(folder, range(2)))
    produce_events(runs.broker, [storage_event("/data/quiet/noop-behind")])
    runs.results.wait("/data/quiet/noop-behind", 1)
    runs.router.process.kill()
    runs.results.wait(folder, 1, 45)
    assert revisions(runs, folder) == [1]
    (event,) = completions(runs, folder)
    assert event.data.run is not None
    assert event.data.run.files == 8


def test_a_run_costs_no_time_beyond_its_quiet(runs: Pipeline) -> None:
    folder = "/data/quiet/r0002"
    produce_events(runs.broker, files(folder, range(1)))
    (result,) = runs.results.wait(folder, 1, 45)
    assert result.times.routed - result.times.closed >= 1
    assert result.times.routed <= time.time()


def test_a_wrong_rules_file_changes_nothing(runs: Pipeline) -> None:
    right = RULES + RUNS
    follow(runs, right.replace("run-complete", "run-complet"), "still routing by rules")
    produce_events(runs.broker, [storage_event("/data/wrong/noop-1")])
    runs.results.wait("/data/wrong/noop-1", 1)
    loop = '\n[[rule]]\nname = "loop"\nmatch = { types = ["written"], paths = ["/data/**"] }\n'
    follow(runs, right + loop + 'action = [{ name = "/_/my/tool", writes = ["/data/x"] }]\n', "loop -> loop")
    produce_events(runs.broker, [storage_event("/data/wrong/noop-2")])
    runs.results.wait("/data/wrong/noop-2", 1)
    follow(runs, right.replace("1 }", "2 }"), "take the place")
    follow(runs, right, "take the place")
