"""`provider`: the OpenStack provider for Terraform, for machines that cannot reach the provider registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.cli.view import reporting
from xdc_testbed.drivers import provider

app = typer.Typer(no_args_is_help=True, help="Build the OpenStack provider for Terraform from its sources.")

Mirror = Annotated[
    Path | None, typer.Option("--mirror", help="Folder to fill; the one that every testbed looks into when left away.")
]


@app.command()
def build(mirror: Mirror = None) -> None:
    """Fill a mirror with the provider, built from its Go module with pinned hashes; needs Go 1.24 or newer."""
    with reporting() as report:
        print(provider.build(mirror or provider.default_mirror(), report))


@app.command()
def show(mirror: Mirror = None) -> None:
    """Which provider is built, and where it is."""
    path = provider.binary(mirror or provider.default_mirror())
    print(f"  version      {provider.version()}\n  program      {path}{'' if path.is_file() else ' (not built)'}")
