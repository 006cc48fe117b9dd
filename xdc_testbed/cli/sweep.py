"""`sweep`: testbeds of a whole project whose time is over; for nightly jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from xdc_testbed.cli.options import File, Output
from xdc_testbed.cli.view import reporting
from xdc_testbed.errors import LeftOver
from xdc_testbed.testbed import machines
from xdc_testbed.testbed.description import load

app = typer.Typer()


@app.command()
def sweep(
    expired: Annotated[bool, typer.Option("--expired", help="Only testbeds whose time is over.")] = False,
    cloud: Annotated[str | None, typer.Option("--cloud", help="Entry of clouds.yaml; the description's else.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove; without it they are only listed.")] = False,
    file: File = None,
    output: Output = "text",
) -> None:
    """List the testbeds of an OpenStack project, and with --expired --yes remove those whose time is over."""
    driver = machines.project(load(file).description, cloud)
    known = driver.testbeds()
    wanted = driver.expired(datetime.now(UTC)) if expired else sorted(known)
    rows = [{"id": one, "name": known[one].name, "things": len(driver.resources(one))} for one in wanted]
    left = []
    if yes and expired:
        with reporting(output=output) as report:
            for one in wanted:
                driver.destroy(one, report)
                left += driver.leftovers(one)
    if output == "json":
        print(json.dumps({"testbeds": rows, "removed": yes and expired, "left": [one.__dict__ for one in left]}))
    else:
        for row in rows:
            print(f"  {row['id']:<12} {row['name'] or '(unknown)':<20} {row['things']} things")
        done = "removed" if yes and expired else "listed; nothing was removed"
        print(f"{len(rows)} testbeds {done}")
    if left:
        shown = ", ".join(f"{one.kind} {one.name}" for one in left[:5])
        raise LeftOver(f"{len(left)} things are left: {shown}", remedy="run the same command again")
