"""`scale`: more or fewer nodes of one kind."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from xdc_testbed.cli.options import Name, Output, StateDir, testbed
from xdc_testbed.cli.up import show
from xdc_testbed.cli.view import reporting
from xdc_testbed.testbed import scaling, support

app = typer.Typer()


@app.command()
def scale(
    counts: Annotated[list[str], typer.Argument(help="How many of which: faas=2.", metavar="NAME=NUMBER...")],
    name: Name = None,
    output: Output = "text",
    state_dir: StateDir = None,
) -> None:
    """Make so many nodes of a kind. New ones are configured and verified; those that go end their work first."""
    bed = testbed(name, state_dir)
    wanted = scaling.wanted(counts)
    scaling.check(bed.require(), wanted)
    run_id = time.strftime("%Y%m%dT%H%M%S")
    record = bed.folder.run_dir("logs", run_id) / "events.jsonl"
    started = time.monotonic()
    with reporting(record, output=output) as report, support.bundle_on_failure(bed, report):
        result = bed.scale(wanted, report, run_id=run_id)
    show(bed, result, time.monotonic() - started, output)
