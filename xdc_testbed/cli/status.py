"""`status`: nodes, services and endpoints with kind and health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from xdc_testbed.cli.options import Name, Output, StateDir, testbed
from xdc_testbed.drivers.base import Seen, origin
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.errors import WrongUsage
from xdc_testbed.testbed.state import base_dir, names

app = typer.Typer()


@app.command()
def status(
    name: Name = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="List every testbed of this machine, also those without a state folder."),
    ] = False,
    output: Output = "text",
    state_dir: StateDir = None,
) -> None:
    """Nodes, services and endpoints with their kind and health. Exit code 1 when a service is not active."""
    bed = testbed(name, state_dir)
    if everything:
        _list(bed.driver().testbeds(), base_dir(state_dir), output)
        return
    nodes = bed.nodes()
    if not nodes:
        raise WrongUsage(f"testbed '{bed.name}' has been begun but has no nodes yet", remedy="run up again")
    units = bed.units()
    endpoints = bed.endpoints()
    clouds = bed.clouds_file()
    if output == "json":
        print(
            json.dumps(
                {
                    "name": bed.name,
                    "id": bed.require().id,
                    "nodes": [node.to_json() | {"units": units[node.name]} for node in nodes],
                    "endpoints": [endpoint.model_dump(mode="json") for endpoint in endpoints],
                    "clouds_file": str(clouds) if clouds else None,
                },
                indent=1,
            )
        )
    else:
        print(f"testbed '{bed.name}' ({bed.require().id})")
        for node in nodes:
            words = "  ".join(f"{unit} {word}" for unit, word in units[node.name].items()) or "no services"
            print(f"  {node.name:<16} {node.site:<8} {node.address:<15} ssh -p {node.ssh_port}  {words}")
        for endpoint in endpoints:
            print(_line(endpoint))
        if clouds:
            print(f"  OS_CLIENT_CONFIG_FILE={clouds}  clouds: {bed.name}, {bed.name}-admin")
    if any(word != "active" for node in units.values() for word in node.values()):
        raise typer.Exit(1)


def _line(endpoint: Endpoint) -> str:
    urls = " ".join(endpoint.urls.values())
    return f"  {endpoint.id:<28} {endpoint.product} {endpoint.version} ({endpoint.kind})  {urls}"


def _list(found: dict[str, Seen], base: Path, output: str) -> None:
    here = {name: Seen(name, origin(base / name)) for name in names(base)}
    rows: list[dict[str, Any]] = [
        {"id": one, "name": said.name, "state": said in here.values()} for one, said in sorted(found.items())
    ]
    rows += [{"id": "", "name": name, "state": True} for name, said in here.items() if said not in found.values()]
    if output == "json":
        print(json.dumps(rows))
        return
    for row in rows:
        hint = "" if row["state"] else "not of this state folder: remove with down --id"
        print(f"  {row['name'] or '(unknown)':<20} {row['id'] or '(nothing running)':<14} {hint}")
    if not rows:
        print("  no testbed on this machine")
