"""`up`: create, configure and verify."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.cli.options import Driver, File, Name, Output, Profile, StateDir
from xdc_testbed.cli.view import reporting
from xdc_testbed.testbed import support
from xdc_testbed.testbed.bring_up import UpResult
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.lifecycle import Testbed
from xdc_testbed.testbed.state import base_dir

app = typer.Typer()


@app.command()
def up(
    file: File = None,
    profile: Profile = None,
    name: Name = None,
    driver: Driver = None,
    converge: Annotated[
        bool, typer.Option("--converge", help="Run every phase again, also when nothing has changed.")
    ] = False,
    output: Output = "text",
    state_dir: StateDir = None,
) -> None:
    """Create, configure and verify a testbed; resumes after any interruption; a second run changes nothing."""
    explained = load(file, profile=profile, name=name, driver=driver)
    testbed = Testbed(base_dir(state_dir), explained.description.name)
    run_id = time.strftime("%Y%m%dT%H%M%S")
    started = time.monotonic()
    record = _record(testbed, run_id)
    with reporting(record, output=output) as report, support.bundle_on_failure(testbed, report):
        result = testbed.up(explained, report, converge=converge, run_id=run_id)
    show(testbed, result, time.monotonic() - started, output)


def _record(testbed: Testbed, run_id: str) -> Path:
    return testbed.folder.run_dir("logs", run_id) / "events.jsonl"


def show(testbed: Testbed, result: UpResult, seconds: float, output: str) -> None:
    """Print what there is now."""
    if output == "json":
        print(
            json.dumps(
                {
                    "name": testbed.name,
                    "changed": result.changed,
                    "skipped": result.skipped,
                    "seconds": {**result.seconds, "total": seconds},
                    "endpoints": [
                        endpoint.model_dump(mode="json", exclude={"credentials"}) for endpoint in result.endpoints
                    ],
                }
            )
        )
        return
    for endpoint in result.endpoints:
        urls = " ".join(endpoint.urls.values())
        print(f"  {endpoint.id:<28} {endpoint.product} {endpoint.version} ({endpoint.kind})  {urls}")
    changed = sum(result.changed.values())
    print(
        f"testbed '{testbed.name}' is up: {len(result.nodes)} nodes, "
        f"changed = {changed} on {len(result.changed)} hosts, {seconds:.1f} s"
    )
