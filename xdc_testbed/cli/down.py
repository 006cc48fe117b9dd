"""`down`: plan, confirm, remove, prove."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from xdc_testbed.cli.options import File, Name, Output, StateDir, testbed
from xdc_testbed.cli.view import reporting
from xdc_testbed.errors import WrongUsage
from xdc_testbed.testbed.description import DEFAULT_FILE, load

app = typer.Typer()


@app.command()
def down(
    name: Name = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    testbed_id: Annotated[
        str | None, typer.Option("--id", help="Exact testbed id, when neither name nor state is left.")
    ] = None,
    file: File = None,
    output: Output = "text",
    state_dir: StateDir = None,
) -> None:
    """Remove the testbed and prove that nothing of it is left.

    The description says where to look when the state is lost: which machines.
    """
    bed = testbed(name, state_dir)
    bed.given = load(file).description if file or DEFAULT_FILE.is_file() else None
    ids, resources = bed.removal(testbed_id)
    kinds = bed.driver().kinds
    if not yes:
        for resource in resources:
            print(f"  remove {resource.kind} {resource.name}")
        if (
            typer.prompt(
                f"Type '{bed.name}' to remove {len(resources)} things of testbed {', '.join(ids) or '(no id)'}",
                default="",
            )
            != bed.name
        ):
            raise WrongUsage("not removed: the name was not typed", remedy="give --yes to remove without asking")
    with reporting(output=output) as report:
        removed = bed.down(report, testbed_id=testbed_id)
    if output == "json":
        print(json.dumps({"name": bed.name, "ids": ids, "removed": [r.__dict__ for r in removed], "left": []}))
    else:
        print(
            f"testbed '{testbed_id or bed.name}' is gone: {len(removed)} things removed; "
            f"no {kinds} of {', '.join(ids) or 'it'} is left"
        )
