"""Reports of a soak: JSON lines, JUnit XML, a table for the terminal, and one HTML file."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xdc_testbed import __version__
from xdc_testbed.interop.report import HTML, JUNIT, printable, write
from xdc_testbed.soak.outcome import Line, Outcome

LINES = "lines.jsonl"
TABLE = "table.txt"
WIDTH, HEIGHT = 1160, 190  # of the picture, in its own units


def write_all(outcome: Outcome, folder: Path) -> dict[str, Path]:
    """Write every report into a folder. Returns where they are, by name."""
    return write(
        {
            LINES: "".join(line.model_dump_json() + "\n" for line in outcome.lines),
            JUNIT: junit(outcome),
            TABLE: as_text(outcome),
            HTML: html(outcome),
        },
        folder,
    )


def junit(outcome: Outcome) -> str:
    """JUnit XML: a test case for each line."""
    red = sum(not line.green for line in outcome.lines)
    totals = {"tests": str(len(outcome.lines)), "failures": str(red), "errors": "0", "time": f"{outcome.seconds:.1f}"}
    root = ElementTree.Element("testsuites", {"name": "xdc-testbed soak", **totals})
    began = datetime.fromtimestamp(outcome.started, UTC).isoformat(timespec="seconds")
    suite = ElementTree.SubElement(root, "testsuite", {"name": outcome.title, "timestamp": began, **totals})
    for line in outcome.lines:
        seconds = f"{line.span.over - line.span.began:.1f}"
        case = ElementTree.SubElement(suite, "testcase", classname="soak", name=line.span.name, time=seconds)
        if not line.green:
            reason = printable("; ".join(line.problems) or "files in are not results and dead letters")
            ElementTree.SubElement(case, "failure", type="ledger", message=reason).text = reason
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def table(outcome: Outcome) -> Table:
    """One line for each fault, for a terminal."""
    shown = Table(title=outcome.title, title_justify="left", header_style="bold", pad_edge=False)
    shown.add_column("fault", overflow="fold")
    for name in ("files in", "results", "dead letters", "twice", "refused", "recovered"):
        shown.add_column(name, justify="right")
    shown.add_column("verdict")
    for line in outcome.lines:
        shown.add_row(
            Text(line.span.name),
            str(line.files_in),
            str(line.results),
            str(line.dead_letters),
            str(line.repeated),
            str(sum(line.refused.values())),
            recovered(line),
            Text("green", "green") if line.green else Text("RED", "bold red"),
        )
    return shown


def as_text(outcome: Outcome, width: int = 120) -> str:
    """The table with what it leaves out, as plain text. width: columns."""
    console = Console(width=width, color_system=None, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(table(outcome))
        for line in outcome.lines:
            for said in details(line):
                console.print(Text(f"{line.span.name}: {said}"))
        for name in outcome.residue:
            console.print(Text(f"left half-written at the other site: {name}"))
    return captured.get()


def details(line: Line) -> list[str]:
    """What the columns do not say: reasons, and what is wrong."""
    return [
        *(f"{count} dead letters: {reason}" for reason, count in line.reasons.items()),
        *(f"{count} uploads refused and tried again: {reason}" for reason, count in line.refused.items()),
        *line.problems,
    ]


def recovered(line: Line) -> str:
    """How long after the fault the last file that it held up had ended."""
    if not line.span.faults:
        return ""
    return "no" if line.span.recovered is None else f"{line.span.recovered:.1f} s"


def html(outcome: Outcome) -> str:
    """The report as one page without any reference to the outside."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8"))
    highest = max(outcome.backlog, default=0)
    across = WIDTH / max(1.0, outcome.seconds)
    return template.render(
        outcome=outcome,
        version=__version__,
        began=datetime.fromtimestamp(outcome.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        recovered=recovered,
        details=details,
        width=WIDTH,
        height=HEIGHT,
        highest=highest,
        points=" ".join(
            f"{second * across:.1f},{HEIGHT - count * HEIGHT / max(1, highest):.1f}"
            for second, count in enumerate(outcome.backlog)
        ),
        bands=[
            (
                number,
                line,
                line.span.began * across,
                max(2.0, (line.span.over - line.span.began) * across),
                (line.span.recovered or 0.0) * across,
            )
            for number, line in enumerate(outcome.lines, 1)
            if line.span.faults
        ],
        ticks=[(second, second * across) for second in range(0, int(outcome.seconds) + 1, _tick(outcome.seconds))],
        total={
            name: sum(getattr(line, name) for line in outcome.lines)
            for name in ("files_in", "transferred", "results", "dead_letters", "repeated")
        },
        red=[line for line in outcome.lines if not line.green],
    )


def _tick(seconds: float) -> int:
    return next((step for step in (10, 30, 60, 300, 600, 3600) if seconds / step <= 16), 7200)
