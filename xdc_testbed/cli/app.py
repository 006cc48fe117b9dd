"""The command line: one module per verb, imported when it is called, so that `--help` is quick.

Errors are one line of cause and one line of what to do; `--debug` adds the traceback.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from xdc_testbed import __version__, processes
from xdc_testbed.errors import Interrupted, WrongUsage, XdcError

VERBS = {
    "up": "Create, configure and verify a testbed; resumes after any interruption.",
    "scale": "More or fewer nodes of a kind, such as function nodes: scale faas=2.",
    "status": "Nodes, services and endpoints with their kind and health.",
    "demo": "Run the event-driven calibration with detector data; writes a report.",
    "test": "Run the interoperability suite or a soak with faults; writes JUnit, JSON lines and HTML.",
    "calibrate": "Calibrate detector files without a testbed.",
    "darks": "Make constants from dark runs, one for each gain stage.",
    "events": "Dead letters of the event router; what the rules would do.",
    "actions": "Build the archive of the OpenWhisk actions; list them.",
    "ssh": "Log in to a node, or run one command there.",
    "logs": "Show the journal of a service.",
    "bundle": "Collect a bounded, redacted support archive.",
    "fault": "Delay, partition, stop, kill, fill disks, a wrong clock; list and undo.",
    "image": "Bake the node image from the roles.",
    "provider": "Build the OpenStack provider for Terraform from its sources.",
    "config": "Show the description and where each value came from.",
    "down": "Remove the testbed and prove that nothing of it is left.",
    "sweep": "Testbeds of an OpenStack project, and removal of those whose time is over.",
    "doctor": "Every requirement of this machine: found, needed, how to get it.",
}

_HELP = (
    "Provision a data-management testbed, run event-driven calibration and interoperability suites on it, tear it down."
)
_EXIT_CODES = (
    "Exit codes: 0 done, 1 a test or verify failed, 2 wrong usage, 3 requirement missing, "
    "4 something is left after down, 130 interrupted (resumable)."
)


def build(words: Sequence[str]) -> typer.Typer:
    """The application for one command line: the called verb in full, the others by name and help only."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=_HELP,
        epilog=_EXIT_CODES,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_options)
    called = next((word for word in words if not word.startswith("-")), None)
    for verb, text in VERBS.items():
        if verb != called:
            app.command(verb, help=text)(_not_called)
            continue
        module: typer.Typer = importlib.import_module(f"xdc_testbed.cli.{verb}").app
        if len(module.registered_commands) == 1 and not module.info.help:
            only = module.registered_commands[0]
            app.command(verb, context_settings=only.context_settings)(only.callback or _not_called)
        else:
            app.add_typer(module, name=verb, rich_help_panel=None)
    return app


def main() -> NoReturn:
    """Entry point: run a verb, turn errors into lines and exit codes."""
    words, debug = _without_debug(sys.argv[1:])
    processes.end_as_by_ctrl_c()
    try:
        _check_verb(words)
        status = build(words)(words, standalone_mode=False)
    except XdcError as error:
        _fail(error, debug=debug)
    except KeyboardInterrupt:
        _fail(
            Interrupted("interrupted", remedy="run the same command again, it resumes; or xdc-testbed down"),
            debug=False,
        )
    except Exception as error:
        _fail_unknown(error, debug=debug)
    sys.exit(status if isinstance(status, int) else 0)


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,  # noqa: ARG001 - main takes it
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"xdc-testbed {__version__}")
        raise typer.Exit


def _without_debug(words: list[str]) -> tuple[list[str], bool]:
    """Take --debug out wherever it stands, but not from a command for a node, which follows `--`."""
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    return [word for word in words[:end] if word != "--debug"] + words[end:], debug


def _not_called() -> None:
    raise AssertionError("a verb that was not called has been run")


def _check_verb(words: Sequence[str]) -> None:
    called = next((word for word in words if not word.startswith("-")), None)
    if called is not None and called not in VERBS:
        close = difflib.get_close_matches(called, list(VERBS), n=1)
        suggestion = f"; did you mean '{close[0]}'?" if close else ""
        raise WrongUsage(f"unknown verb '{called}'{suggestion}", remedy="xdc-testbed --help")


def _fail(error: XdcError, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    print(f"error: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"  -> {error.remedy}", file=sys.stderr)
    sys.exit(error.exit_code)


def _fail_unknown(error: Exception, *, debug: bool) -> NoReturn:
    """End a command that the parser refused (2), one that asked to stop, or one that met a defect of the kit (1)."""
    if hasattr(error, "format_message"):
        _fail(WrongUsage(str(error.format_message()), remedy="xdc-testbed --help"), debug=debug)
    if type(error).__name__ in ("Exit", "Abort"):
        sys.exit(getattr(error, "exit_code", Interrupted.exit_code))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" for {error.filename}" if error.filename else ""
        _fail(XdcError(f"no space is left{where}", remedy="make room, then run the same command again"), debug=debug)
    if debug:
        traceback.print_exception(error)
    defect = XdcError(
        f"{type(error).__name__}: {error}", remedy="this is a defect of the kit; run again with --debug and report it"
    )
    _fail(defect, debug=False)
