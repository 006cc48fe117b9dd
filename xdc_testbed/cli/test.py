"""`test SUITE`: the interoperability suite, or a soak with faults; both write files from the client node."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.cli.options import Name, Output, StateDir, testbed
from xdc_testbed.cli.view import reporting
from xdc_testbed.errors import VerifyFailed, WrongUsage
from xdc_testbed.testbed import remote, support
from xdc_testbed.testbed.lifecycle import Testbed

app = typer.Typer()

SUITES = ("interop", "soak")


@app.command()
def test(
    suite: Annotated[str, typer.Argument(help="Name of the suite: interop or soak.")] = "interop",
    case: Annotated[
        list[str] | None, typer.Option("--case", help="interop: only cases that match, such as 'copy.*'.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="soak: a plan of the kit (soak, soak-short), or a file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the reports.")] = None,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Run a suite; writes JUnit, JSON lines and an HTML report. Exit code 1 when a result is bad, or a line is red."""
    if suite not in SUITES:
        raise WrongUsage(f"unknown suite '{suite}'", remedy=f"suites: {', '.join(SUITES)}")
    if plan is not None and suite != "soak":
        raise WrongUsage("only the soak has a plan", remedy="xdc-testbed test soak --plan PLAN")
    if case and suite != "interop":
        raise WrongUsage("only interop has cases", remedy="xdc-testbed test interop --case PATTERN")
    bed = testbed(name, state_dir)
    bed.require()
    folder = out or remote.report_dir(bed, f"{suite}-{time.strftime('%Y%m%dT%H%M%S')}")
    folder.mkdir(parents=True, exist_ok=True)
    if suite == "soak":
        _soak(bed, plan, folder, output)
    else:
        _interop(bed, case or [], folder, output)


def _interop(bed: Testbed, cases: list[str], folder: Path, output: str) -> None:
    with reporting(output=output) as report, support.bundle_on_failure(bed, report):
        summary = remote.interop(bed, folder, cases=cases, report=report)
    if output == "json":
        print(json.dumps(summary.to_json()))
    else:
        print((folder / "matrix.txt").read_text() if (folder / "matrix.txt").is_file() else "")
        counts = ", ".join(f"{count} {word}" for word, count in summary.outcomes.items() if count)
        print(f"interop: {summary.total} results, {counts}")
        print(f"report: {folder / 'report.html'}")
    if not summary.ok:
        raise VerifyFailed(f"{summary.bad} of {summary.total} results are bad", remedy=f"see {folder / 'report.html'}")


def _soak(bed: Testbed, plan: str | None, folder: Path, output: str) -> None:
    from xdc_testbed.cli.fault import carry_out
    from xdc_testbed.soak import drive
    from xdc_testbed.soak import plan as plans
    from xdc_testbed.soak import report as reports

    chosen = plans.load(plan or plans.DEFAULT)
    with reporting(output=output) as report, support.bundle_on_failure(bed, report):
        outcome = drive.soak(bed, chosen, folder, carry_out=carry_out, report=report)
    reports.write_all(outcome, folder)
    red = [line.span.name for line in outcome.lines if not line.green]
    page = folder / "report.html"
    if output == "json":
        lines = [{**line.model_dump(mode="json"), "green": line.green} for line in outcome.lines]
        print(json.dumps({"ok": outcome.green, "report": str(page), "seconds": outcome.seconds, "lines": lines}))
    else:
        print((folder / reports.TABLE).read_text())
        print(f"soak: {len(outcome.lines)} lines, {len(red)} red")
        print(f"report: {page}")
    if red:
        raise VerifyFailed(f"{len(red)} of {len(outcome.lines)} lines are red: {', '.join(red)}", remedy=f"see {page}")
