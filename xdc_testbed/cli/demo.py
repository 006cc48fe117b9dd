"""`demo`: the facility's pipeline with detector data, and its report; with --whole from up to the proof after down."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.cli.options import File, Name, Output, Profile, StateDir
from xdc_testbed.cli.view import reporting
from xdc_testbed.errors import VerifyFailed
from xdc_testbed.progress import Reporter, phase
from xdc_testbed.testbed import remote, support
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.lifecycle import Testbed
from xdc_testbed.testbed.state import base_dir, names

app = typer.Typer()


@app.command()
def demo(
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Also up before, the interoperability suite after, then down and its proof."),
    ] = False,
    preset: Annotated[str, typer.Option("--preset", help="default, or tiny for a first look.")] = "default",
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", min=1, help="Seconds until every file is accounted for; slow machines need > 300."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report.")] = None,
    file: File = None,
    profile: Profile = None,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Run the event-driven calibration with detector data; writes a report. Exit code 1 when a file went astray."""
    base = base_dir(state_dir)
    explained = load(file, profile=profile, name=name)
    known = names(base)
    chosen = name or (known[0] if len(known) == 1 and not whole else explained.description.name)
    bed = Testbed(base, chosen)
    if not whole:
        bed.require()
    run_id = time.strftime("%Y%m%dT%H%M%S")
    folder = out or remote.report_dir(bed, f"demo-{run_id}")
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    problems: list[str] = []
    record = folder / "events.jsonl"
    with reporting(record, output=output) as report, support.bundle_on_failure(bed, report):
        if whole:
            with _clock(seconds, "up"):
                bed.up(explained, report, run_id=run_id)
        with _clock(seconds, "demo"):
            problems += _pipeline(bed, folder, preset, deadline, report)
        if whole:
            with _clock(seconds, "interop"):
                summary = remote.interop(
                    bed,
                    remote.report_dir(bed, f"interop-{run_id}") if out is None else folder / "interop",
                    cases=[],
                    report=report,
                )
                problems += [] if summary.ok else [f"{summary.bad} of {summary.total} interoperability results are bad"]
        with _clock(seconds, "report"), phase(report, "report", "pictures and report"):
            page, more = _judge(folder, chosen, seconds)
            problems += more
        if whole:
            with _clock(seconds, "down"):
                bed.down(report)
    _end(page, seconds, problems, output, whole)


class _clock:  # noqa: N801 - reads as a word in `with`
    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self._seconds[self._name] = round(time.monotonic() - self._started, 2)


def _pipeline(bed: Testbed, folder: Path, preset: str, deadline: float | None, report: Reporter) -> list[str]:
    return (
        []
        if remote.demo(bed, folder, preset=preset, report=report, deadline=deadline)
        else ["some files did not become what they had to; the report names them"]
    )


def _judge(folder: Path, name: str, seconds: dict[str, float]) -> tuple[Path, list[str]]:
    from xdc_testbed.demo.judge import judge
    from xdc_testbed.demo.report import write_report

    verdict = judge(folder)
    page = write_report(verdict, folder, testbed=name, phases=seconds)
    return page, [f"{check.title}: {check.said}" for check in verdict.checks if not check.ok]


def _end(page: Path, seconds: dict[str, float], problems: list[str], output: str, whole: bool) -> None:
    if output == "json":
        print(json.dumps({"report": str(page), "seconds": seconds, "ok": not problems, "problems": problems}))
    else:
        print(
            "  ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
            + f"  total {sum(seconds.values()):.1f} s"
        )
        if whole and not problems:
            print("nothing of the testbed is left on this machine")
        print(f"report: {page}")
    if problems:
        raise VerifyFailed(problems[0], remedy=f"open {page}")
