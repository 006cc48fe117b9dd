"""`fault`: delay, partition, stop, kill, disk-full and clock-skew on nodes or between sites; listed and undone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated

import typer

from xdc_testbed.cli.options import Name, Output, StateDir, testbed
from xdc_testbed.errors import XdcError
from xdc_testbed.faults import commands
from xdc_testbed.faults.model import How, Order, Status
from xdc_testbed.testbed import ssh
from xdc_testbed.testbed.lifecycle import Testbed

app = typer.Typer(
    no_args_is_help=True,
    help="Delay, partition, stop, kill, fill disks or set the issuer's clock wrong; list and undo.",
)

Place = Annotated[str, typer.Argument(help="A node or a site.")]
Other = Annotated[str | None, typer.Argument(help="The other node or site; all others when left away.")]


@app.command()
def delay(
    place: Place,
    other: Other = None,
    ms: Annotated[float, typer.Option("--ms", help="Added to each round trip, milliseconds.")] = 25.0,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Delay packets between two places: netem where the kernel has it, a user-space queue otherwise."""
    bed = testbed(name, state_dir)
    _apply(bed, commands.delay(bed.nodes(), place, other, milliseconds=ms))


@app.command()
def partition(place: Place, other: Other = None, name: Name = None, state_dir: StateDir = None) -> None:
    """Drop every packet between two places; the way in by SSH stays."""
    bed = testbed(name, state_dir)
    _apply(bed, commands.partition(bed.nodes(), place, other))


@app.command()
def stop(
    node: Place,
    units: Annotated[list[str], typer.Argument(help="Units such as kafka or event-router.")],
    kill: Annotated[bool, typer.Option("--kill", help="SIGKILL and keep it down, instead of a clean stop.")] = False,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="SIGSTOP: the process is there and answers nothing.")
    ] = False,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Stop services of a node until the fault is cleared."""
    bed = testbed(name, state_dir)
    how = How.KILL if kill else How.FREEZE if freeze else How.STOP
    _apply(bed, commands.stop(bed.nodes(), node, units, how))


@app.command()
def kill(
    node: Place,
    units: Annotated[list[str], typer.Argument(help="Units such as kafka or event-router.")],
    processes: Annotated[
        str | None, typer.Option("--processes", help="Only those with this text in their command line: proxy.py.")
    ] = None,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Kill services by SIGKILL once, and wait until systemd has brought them back."""
    bed = testbed(name, state_dir)
    _apply(bed, commands.kill(bed.nodes(), node, units, processes=processes))


@app.command("clock-skew")
def clock_skew(
    node: Place,
    seconds: Annotated[float, typer.Option("--seconds", help="Ahead of the true time; behind when negative.")] = 300.0,
    lifetime: Annotated[
        int | None, typer.Option("--lifetime", min=1, help="Seconds that tokens live at most meanwhile.")
    ] = None,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Let the token issuer's clock be wrong: tokens that are not valid yet, or no longer."""
    bed = testbed(name, state_dir)
    _apply(bed, commands.clock_skew(bed.nodes(), node, seconds, lifetime=lifetime))


@app.command("disk-full")
def disk_full(
    node: Place,
    path: Annotated[str, typer.Argument(help="Folder on the node, such as /var/lib/xrootd/data.")],
    leave_kib: Annotated[int, typer.Option("--leave-kib", min=0, help="What may still be written.")] = 64,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Make writes below a folder fail with ENOSPC; the controller's own disk is never filled."""
    bed = testbed(name, state_dir)
    _apply(bed, commands.disk_full(bed.nodes(), node, path, leave_kib=leave_kib))


@app.command("list")
def listing(output: Output = "text", name: Name = None, state_dir: StateDir = None) -> None:
    """The faults in force, on every node."""
    bed = testbed(name, state_dir)
    _show(carry_out(bed, commands.listing(bed.nodes())), output)


@app.command()
def clear(
    fault_id: Annotated[str | None, typer.Argument(help="One fault; all when left away.")] = None,
    output: Output = "text",
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Undo one fault, or all."""
    bed = testbed(name, state_dir)
    _show(carry_out(bed, commands.clear(bed.nodes(), fault_id)), output)


def _apply(bed: Testbed, orders: list[Order]) -> None:
    _show(carry_out(bed, commands.apply(orders)), "text")


def carry_out(bed: Testbed, todo: Iterable[commands.NodeCommand]) -> list[tuple[str, Status]]:
    """Run the agent's commands on the nodes. Raises XdcError with the words of the first one that fails."""
    answers: list[tuple[str, Status]] = []
    for command in todo:
        done = ssh.execute(
            bed.node(command.node),
            bed.known_hosts,
            *command.argv,
            timeout=120,
            check=False,
            input=command.stdin or None,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"]
            raise XdcError(f"{command.node}: {said[0]}", remedy=said[1] if len(said) > 1 else None)
        answers += [(command.node, status) for status in commands.answers(done.stdout)]
    return answers


def _show(answers: list[tuple[str, Status]], output: str) -> None:
    if output == "json":
        print(json.dumps([{"node": node, **status.model_dump(mode="json")} for node, status in answers], indent=1))
        return
    for node, status in answers:
        word: str = status.outcome if status.in_force or status.outcome == "cleared" else "not in force"
        if status.back_after is not None:
            word = f"back after {status.back_after:.1f} s"
        print(f"  {node:<16} {status.id}  {status.text} ({status.method}, {word})")
    if not answers:
        print("  no fault")
