"""`logs`: the journal of one service, from whichever node runs it."""

from __future__ import annotations

from typing import Annotated

import typer

from xdc_testbed.cli.options import Name, StateDir, testbed
from xdc_testbed.errors import WrongUsage
from xdc_testbed.testbed import ssh
from xdc_testbed.testbed.description import groups

app = typer.Typer()


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="A group such as kafka, or a unit such as event-source.")],
    node: Annotated[str | None, typer.Option("--node", help="Only this node.")] = None,
    lines: Annotated[int, typer.Option("--lines", min=1, help="How many of the last lines.")] = 100,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Show the last lines of a service's journal on every node that runs it."""
    bed = testbed(name, state_dir)
    known = groups()
    single = {unit for group in known.values() for unit in (*group.units, *group.sources)}
    units = known[service].units if service in known else (service,) if service in single else ()
    nodes = [
        n for n in bed.nodes() if (node is None or n.name == node) and (service not in known or service in n.groups)
    ]
    if not nodes or not units:
        services = sorted({group for n in bed.nodes() for group in n.groups})
        raise WrongUsage(f"no node runs '{service}'", remedy=f"services: {', '.join(services)}")
    for one in nodes:
        selected = [word for unit in units for word in ("-u", unit)]
        done = ssh.execute(
            one,
            bed.known_hosts,
            "journalctl",
            "--no-pager",
            "-o",
            "short-iso",
            "-n",
            str(lines),
            *selected,
            timeout=30,
        )
        print(f"== {one.name}: {', '.join(units)}")
        print(done.text)
