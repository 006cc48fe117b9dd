"""`image`: bake the images of nodes from the roles."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from xdc_testbed.cli.options import File, Output, Profile, StateDir
from xdc_testbed.cli.view import reporting
from xdc_testbed.drivers.engine import Engine
from xdc_testbed.testbed import image as images
from xdc_testbed.testbed.description import load
from xdc_testbed.testbed.state import base_dir

app = typer.Typer(no_args_is_help=True, help="Bake the node image from the roles.")


@app.command()
def build(
    file: File = None,
    profile: Profile = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build both layers anew.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Bake the roles' install stage into the images that the profile's nodes need; keeps those with this content."""
    description = load(file, profile=profile).description
    base = base_dir(state_dir)
    engine = Engine.find(description.podman.engine, base / ".image")
    with reporting() as report:
        for kind in sorted({images.kind_of(node.groups) for node in description.nodes.values()}):
            print(images.ensure(description, engine, state_base=base, report=report, kind=kind, rebuild=rebuild))


@app.command()
def show(output: Output = "text", state_dir: StateDir = None) -> None:
    """Names of the base and of every image of nodes, and whether they are built."""
    facts = images.describe(Engine.find("auto", base_dir(state_dir) / ".image"))
    print(json.dumps(facts) if output == "json" else "\n".join(f"  {key:<12} {value}" for key, value in facts.items()))


@app.command()
def prune(state_dir: StateDir = None) -> None:
    """Remove images of earlier contents that no container uses."""
    for name in images.prune(Engine.find("auto", base_dir(state_dir) / ".image")):
        print(f"  removed {name}")
