"""What a person sees: plain lines from events, and the record that every command keeps."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from xdc_testbed.cli import view
from xdc_testbed.progress import Event, phase

CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event("phase-start", "6 nodes", phase="nodes"), "nodes: 6 nodes"),
        (Event("phase-end", "6 nodes", phase="nodes", status="ok", seconds=2.345), "nodes: done in 2.3 s"),
        (Event("phase-end", "6 nodes", phase="nodes", status="failed", seconds=1), "nodes: failed in 1.0 s"),
        (Event("phase-skip", "inputs unchanged", phase="site"), "site: skipped, inputs unchanged"),
        (Event("step", "node a: create"), "  node a: create"),
        (Event("note", "support bundle: /b"), "  support bundle: /b"),
        (Event("warning", "no netem"), "warning: no netem"),
        (
            Event("task-result", "Broker answers", host="a", status="failed", detail="why"),
            "  a: Broker answers: failed\nwhy",
        ),
        (Event("task-result", "Broker answers", host="a", status="unreachable"), "  a: Broker answers: unreachable\n"),
    ],
)
def test_an_event_that_matters_is_a_line(event: Event, line: str) -> None:
    shown = view.line_of(event)
    assert shown is not None
    assert CLOCK.sub("", shown) == line


@pytest.mark.parametrize("status", ["ok", "changed", "skipped"])
def test_a_task_that_went_well_is_no_line(status: Any) -> None:
    assert view.line_of(Event("task-result", "Broker answers", host="a", status=status)) is None
    assert view.line_of(Event("task-start", "Broker answers")) is None


def test_without_a_terminal_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with view.reporting() as report:
        report(Event("note", "hello"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("  hello\n")


def test_output_for_programs_is_not_mixed_with_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with view.reporting(output="json") as report:
        report(Event("note", "hello"))
    assert capsys.readouterr() == ("", "")


def test_every_event_is_recorded_also_those_that_are_not_shown(tmp_path: Path) -> None:
    record = tmp_path / "events.jsonl"
    with view.reporting(record, output="json") as report:
        report(Event("task-start", "Broker answers", at=1.0))
        report(Event("note", "hello", host="a", at=2.0))
    assert [json.loads(line) for line in record.read_text().splitlines()] == [
        {"kind": "task-start", "text": "Broker answers", "at": 1.0},
        {"kind": "note", "text": "hello", "host": "a", "at": 2.0},
    ]


def test_events_of_several_threads_are_whole_lines(tmp_path: Path) -> None:
    record = tmp_path / "events.jsonl"
    with view.reporting(record, output="json") as report:
        threads = [
            threading.Thread(target=lambda: [report(Event("note", "x" * 500)) for _ in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert {json.loads(line)["text"] for line in record.read_text().splitlines()} == {"x" * 500}


def test_a_phase_that_breaks_is_told_as_failed() -> None:
    told: list[Event] = []
    with pytest.raises(ValueError, match="broken"), phase(told.append, "site", "services"):
        raise ValueError("broken")
    assert [(event.kind, event.status) for event in told] == [("phase-start", None), ("phase-end", "failed")]


def test_a_live_view_keeps_finished_phases_and_failures_on_the_screen() -> None:
    screen = io.StringIO()
    live = view._Live(Console(file=screen, force_terminal=True, width=100, color_system=None))
    with live:
        live(Event("phase-start", "services", phase="site"))
        live(Event("task-start", "Broker answers"))
        live(Event("task-result", "Broker answers", host="a", status="failed", detail="no route"))
        live(Event("phase-end", "services", phase="site", status="failed", seconds=3.0))
    shown = screen.getvalue()
    assert "a: Broker answers: failed" in shown
    assert "✗ site: services  3.0 s" in shown
