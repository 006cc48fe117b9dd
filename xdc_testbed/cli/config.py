"""`config`: the description, and where each value came from."""

from __future__ import annotations

import json

import typer

from xdc_testbed.cli.options import File, Name, Output, Profile
from xdc_testbed.testbed import description as described

app = typer.Typer(no_args_is_help=True, help="Show the description and where each value came from.")


@app.command()
def explain(file: File = None, profile: Profile = None, name: Name = None, output: Output = "text") -> None:
    """Every value of the description with its origin: default, profile, file, environment or command line."""
    explained = described.load(file, profile=profile, name=name)
    values = described.flat(explained.description.model_dump(mode="json"))
    if output == "json":
        print(
            json.dumps(
                {
                    key: {"value": value, "origin": explained.origins.get(key, "default")}
                    for key, value in values.items()
                },
                indent=1,
            )
        )
        return
    for key, value in values.items():
        print(f"  {key:<34} {json.dumps(value):<40} {explained.origins.get(key, 'default')}")


@app.command()
def profiles() -> None:
    """The profiles that come with the kit."""
    for profile in described.profiles():
        description = described.load(profile=profile).description.expanded()
        print(
            f"  {profile:<10} {len(description.nodes)} nodes, {description.memory} MiB: {', '.join(description.nodes)}"
        )
