"""Two routers and two dispatchers share the work; kill -9 of one of each loses nothing and does nothing twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from event_rig import Process, produce_events, storage_event, until

if TYPE_CHECKING:
    from conftest import Pipeline

CONCURRENCY = 16  # the dispatcher's default


@dataclass(frozen=True)
class Second:
    """A second router and a second dispatcher, members of the same groups under names of their own."""

    router: Process
    dispatcher: Process


def beside(config: Path, table: str, module: str) -> Process:
    """The same service once more, with its own name and state."""
    folder = config.parent / "second"
    folder.mkdir()
    text = config.read_text().replace(f"[{table}]", f'[{table}]\ninstance = "{table}-2"')
    (folder / "config.toml").write_text(text.replace("/router/state", "/router/second/state"))
    args: list[str | Path] = [sys.executable, "-m", module, "--config", folder / "config.toml"]
    return Process(f"second-{table}", args, folder / "log")


@pytest.fixture(scope="module")
def second(pipeline: Pipeline) -> Iterator[Second]:
    router = beside(pipeline.router.config, "router", "xdc_testbed.events.router")
    dispatcher = beside(pipeline.dispatch.config, "dispatcher", "xdc_testbed.events.dispatcher")
    until(lambda: "partitions [" in dispatcher.log.read_text(), "second dispatcher with partitions")
    until(lambda: "is now processing" in router.log.read_text(), "second router at work")
    yield Second(router, dispatcher)
    assert [router.stop(), dispatcher.stop()] == [0, 0]


def test_kill_9_of_one_of_two_routers_and_dispatchers_loses_none_and_repeats_only_what_was_under_way(
    pipeline: Pipeline, second: Second
) -> None:
    folder = "/data/shared/"
    events = [storage_event(f"{folder}noop-{number}", session=str(number)) for number in range(600)]

    def runs() -> list[int]:
        return [count for path, count in pipeline.platform.runs("noop").items() if path.startswith(folder)]

    produce_events(pipeline.broker, events[:300])
    until(lambda: len(runs()) >= 50, "first activations")
    second.router.kill()
    second.dispatcher.kill()
    produce_events(pipeline.broker, events[300:])
    found = pipeline.results.wait(folder, 600)
    assert {each.status for each in found} == {"ok"}
    assert len(runs()) == 600
    assert max(runs()) <= 2
    assert sum(runs()) - 600 <= CONCURRENCY


def test_a_throttled_action_stops_nothing_in_either_dispatcher(pipeline: Pipeline, second: Second) -> None:
    pipeline.platform.idle.clear()
    produce_events(pipeline.broker, [storage_event(f"/data/shared-busy/busy-{n}") for n in range(100)])
    until(lambda: pipeline.platform.throttled, "refusal by the platform")
    produce_events(pipeline.broker, [storage_event(f"/data/shared-beside/noop-{n}") for n in range(50)])
    pipeline.results.wait("/data/shared-beside/", 50)
    assert pipeline.results.below("/data/shared-busy/") == []
    pipeline.platform.idle.set()
    found = pipeline.results.wait("/data/shared-busy/", 100)
    assert {(each.status, each.attempts) for each in found} == {("ok", 1)}
