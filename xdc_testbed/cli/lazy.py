"""Verbs by name, imported when used; and how a failed command ends."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any, NoReturn

import click
import typer
from typer.core import TyperGroup

debug = False

VERBS = {
    "up": "Create, configure and verify a testbed; resumes after any interruption.",
    "status": "Nodes, services and endpoints with their kind and health.",
    "demo": "Run the event-driven calibration with detector data; writes a report.",
    "test": "Run an interoperability suite; writes JUnit, JSON lines and an HTML matrix.",
    "calibrate": "Calibrate detector files without a testbed.",
    "events": "Dead letters of the event router, and what the rules would do.",
    "ssh": "Log in to a node, or run one command there.",
    "logs": "Show the journal of a service.",
    "bundle": "Collect a bounded, redacted support archive.",
    "fault": "Delay, partition, stop or fill disks; list and undo.",
    "image": "Bake the node image from the roles.",
    "config": "Show the description and where each value came from.",
    "down": "Remove the testbed and prove that nothing of it is left.",
    "doctor": "Every requirement of this machine: found, needed, how to get it.",
}


class VerbGroup(TyperGroup):
    """Lists verbs without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and give its command."""
        if cmd_name not in VERBS:
            return None
        if not _is_called(cmd_name):
            return click.Command(cmd_name, help=VERBS[cmd_name])
        module = importlib.import_module(f"xdc_testbed.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        command.help = command.help or VERBS[cmd_name]
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest verb when the one given does not exist."""
        if args and args[0] not in VERBS:
            import difflib

            close = difflib.get_close_matches(args[0], list(VERBS), n=1)
            ctx.fail(f"unknown verb '{args[0]}'" + (f"; did you mean '{close[0]}'?" if close else ""))
        return super().resolve_command(ctx, args)


def _is_called(verb: str) -> bool:
    return verb in sys.argv[1:]


def fail(error: Any) -> NoReturn:
    """End with the error's line, its remedy and its exit code."""
    if debug:
        traceback.print_exception(error)
    print(f"error: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"  -> {error.remedy}", file=sys.stderr)
    sys.exit(error.exit_code)


def fail_unknown(error: Exception) -> NoReturn:
    """End a command that click refused (exit 2), or one that met a defect of the kit (exit 1)."""
    if hasattr(error, "format_message"):
        print(f"error: {error.format_message()}", file=sys.stderr)
        print("  -> xdc-testbed --help", file=sys.stderr)
        sys.exit(2)
    if type(error).__name__ == "Exit":
        sys.exit(getattr(error, "exit_code", 0))
    if type(error).__name__ == "Abort":
        sys.exit(130)
    if debug:
        traceback.print_exception(error)
    print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
    print("  -> this is a defect of the kit; run again with --debug and report it", file=sys.stderr)
    sys.exit(1)
