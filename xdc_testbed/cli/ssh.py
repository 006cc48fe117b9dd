"""`ssh`: log in to a node with exactly the options that the kit uses."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from xdc_testbed.cli.options import Name, StateDir, testbed
from xdc_testbed.drivers.login import ssh_arguments

app = typer.Typer()


@app.command()
def ssh(
    node: Annotated[str, typer.Argument(help="Name of the node.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Command to run there, after `--`; none opens a shell.")
    ] = None,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Log in to a node, or run one command there and end with its exit code."""
    bed = testbed(name, state_dir)
    words = ssh_arguments(bed.node(node), bed.known_hosts, *(command or []), terminal=not command)
    os.execvp(words[0], words)  # noqa: S606 - this process becomes ssh
