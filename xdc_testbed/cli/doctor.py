"""`doctor`: every requirement of this machine: found, needed, how to get it."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from xdc_testbed.cli.options import File, Output, Profile, StateDir
from xdc_testbed.testbed import preflight
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.state import base_dir

app = typer.Typer()


@app.command()
def doctor(file: File = None, profile: Profile = None, output: Output = "text", state_dir: StateDir = None) -> None:
    """Every requirement of this machine for this description. Exit code 3 when one is missing."""
    description = load(file, profile=profile).description
    found = preflight.findings(description, state_dir=Path(base_dir(state_dir)))
    if output == "json":
        print(json.dumps([finding.__dict__ for finding in found], indent=1))
    else:
        for finding in found:
            mark = "ok     " if finding.ok else "MISSING" if finding.level == "requirement" else "advice "
            print(f"  {mark} {finding.what:<18} {finding.found}")
            if not finding.ok:
                print(
                    f"          needed: {finding.needed}"
                    + (f"\n          -> {finding.remedy}" if finding.remedy else "")
                )
    if any(not finding.ok and finding.level == "requirement" for finding in found):
        raise typer.Exit(3)
