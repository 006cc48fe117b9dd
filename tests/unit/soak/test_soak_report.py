"""The reports of a soak say the same: JSON lines, JUnit, table and page."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from xdc_testbed.soak import report
from xdc_testbed.soak.outcome import Line, Outcome, Span


def line(name: str, **changed: object) -> Line:
    made = Line(
        span=Span(name=name, faults=("kafka.service killed (desy-stream)",), began=10, over=20, recovered=1.5),
        files_in=9,
        transferred=2,
        results=8,
        dead_letters=1,
        reasons={"third-party copy failed: <no route>": 1},
        refused={},
        repeated=0,
        problems=(),
    )
    return made.model_copy(update=changed)


def outcome(*lines: Line) -> Outcome:
    return Outcome(
        title="mine",
        testbed="demo",
        run="abc123",
        started=0.0,
        seconds=60.0,
        lines=lines,
        residue=("/data/proc/soak-1/CORR-1.part-2",),
        backlog=(0, 3, 1),
        endpoints=(),
    )


def test_every_report_names_each_fault_with_its_verdict(tmp_path: Path) -> None:
    made = outcome(line("broker killed"), line("storage killed", problems=("1 ends too many",)))
    paths = report.write_all(made, tmp_path)
    assert [json.loads(text)["span"]["name"] for text in paths["lines.jsonl"].read_text().splitlines()] == [
        "broker killed",
        "storage killed",
    ]
    root = ElementTree.fromstring(paths["junit.xml"].read_text())  # noqa: S314 - written a line ago
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None] == [
        "storage killed"
    ]
    text, page = paths["table.txt"].read_text(), paths["report.html"].read_text()
    for said in ("broker killed", "storage killed", "1 ends too many", "CORR-1.part-2"):
        assert said in text
        assert said in page
    assert "1 of 2 lines are red" in page
    assert "&lt;no route&gt;" in page


def test_a_page_has_no_reference_to_the_outside() -> None:
    page = report.html(outcome(line("broker killed")))
    assert "every line is green" in page
    assert "http" not in page.replace("http-equiv", "")


def test_files_that_are_neither_results_nor_dead_letters_make_a_line_red() -> None:
    assert not line("broker killed", results=7).green
