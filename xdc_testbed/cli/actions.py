"""`actions`: the functions of the pipeline as OpenWhisk gets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.actions import deploy, package
from xdc_testbed.cli.options import Output
from xdc_testbed.errors import WrongUsage

app = typer.Typer(no_args_is_help=True, help="Build the archive of the OpenWhisk actions; list them.")


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("xdc-actions.zip"),
    output: Output = "text",
) -> None:
    """Write the archive that every OpenWhisk gets. Prints size and SHA-256.

    The same sources give the same bytes; of the native kernels, where they are built, the compiler is one more source.
    """
    archive = package.build()
    try:
        archive.write(out)
    except OSError as error:
        raise WrongUsage(f"{out}: {error.strerror}", remedy="give a file in a folder that you may write to") from None
    facts = {
        "path": str(out),
        "size": len(archive.code),
        "sha256": archive.sha256,
        "kernels": "native" if archive.native else "numpy",
    }
    print(json.dumps(facts) if output == "json" else "\n".join(f"  {key:<7} {value}" for key, value in facts.items()))


@app.command("list")
def list_actions(output: Output = "text") -> None:
    """The actions, with the limits that they are deployed with."""
    if output == "json":
        print(json.dumps({name: limits.model_dump() for name, limits in deploy.DEFAULT_LIMITS.items()}))
        return
    for name, limits in deploy.DEFAULT_LIMITS.items():
        print(f"  {name:<10} {limits.memory:>4} MB {limits.time_limit:>5g} s")
