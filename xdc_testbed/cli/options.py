"""Options that several verbs share, and how they become a testbed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.testbed.lifecycle import Testbed
from xdc_testbed.testbed.state import base_dir, names

Name = Annotated[
    str | None,
    typer.Option("--name", "-n", help="Name of the testbed; the only one there is when left away."),
]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Folder of all testbeds' states. [env: XDC_STATE_DIR]")
]
File = Annotated[Path | None, typer.Option("--file", "-f", help="Description; ./testbed.toml when there is one.")]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", "-p", help="Profile that the description builds on: demo, minimal, xrootd, cloud, cloud-demo."
    ),
]
Driver = Annotated[
    str | None, typer.Option("--driver", "-d", help="Where machines come from: podman, openstack, hosts.")
]
Output = Annotated[str, typer.Option("--output", "-o", help="text, or json for programs.")]


def testbed(name: str | None, state_dir: Path | None, *, default: str = "demo") -> Testbed:
    """The testbed a verb works on: by name, else the only one there is, else the default name."""
    base = base_dir(state_dir)
    if name is None:
        known = names(base)
        name = known[0] if len(known) == 1 else default
    return Testbed(base, name)
