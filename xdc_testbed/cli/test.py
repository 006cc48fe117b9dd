"""`test SUITE`: interoperability suites, run on the client node against the endpoints of the testbed."""

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

app = typer.Typer()

SUITES = ("interop",)


@app.command()
def test(
    suite: Annotated[str, typer.Argument(help="Name of the suite: interop.")] = "interop",
    case: Annotated[list[str] | None, typer.Option("--case", help="Only cases that match, such as 'copy.*'.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the reports.")] = None,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Run a suite; writes JUnit, JSON lines and an HTML matrix. Exit code 1 when a case has a bad outcome."""
    if suite not in SUITES:
        raise WrongUsage(f"unknown suite '{suite}'", remedy=f"suites: {', '.join(SUITES)}")
    bed = testbed(name, state_dir)
    bed.require()
    folder = out or remote.report_dir(bed, f"interop-{time.strftime('%Y%m%dT%H%M%S')}")
    folder.mkdir(parents=True, exist_ok=True)
    with reporting(output=output) as report, support.bundle_on_failure(bed, report):
        summary = remote.interop(bed, folder, cases=case or [], report=report)
    if output == "json":
        print(json.dumps(summary.to_json()))
    else:
        print((folder / "matrix.txt").read_text() if (folder / "matrix.txt").is_file() else "")
        counts = ", ".join(f"{count} {word}" for word, count in summary.outcomes.items() if count)
        print(f"interop: {summary.total} results, {counts}")
        print(f"report: {folder / 'report.html'}")
    if not summary.ok:
        raise VerifyFailed(f"{summary.bad} of {summary.total} results are bad", remedy=f"see {folder / 'report.html'}")
