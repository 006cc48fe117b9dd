"""The command line: one module per verb, imported when it is called, so that `--help` is quick.

Errors are one line of cause and one line of what to do; `--debug` adds the traceback.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from xdc_testbed import __version__
from xdc_testbed.cli import lazy

app = typer.Typer(
    cls=lazy.VerbGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Provision a data-management testbed, run event-driven calibration and interoperability suites on it, tear it down.",
    epilog="Exit codes: 0 done, 1 a test or verify failed, 2 wrong usage, 3 requirement missing, 4 something is left after down, 130 interrupted (resumable).",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Options of every verb."""
    if version:
        print(f"xdc-testbed {__version__}")
        raise typer.Exit
    lazy.debug = debug


def main() -> None:
    """Entry point: run a verb, turn errors into lines and exit codes."""
    from xdc_testbed.errors import Interrupted, XdcError

    try:
        app(standalone_mode=False)
    except XdcError as error:
        lazy.fail(error)
    except KeyboardInterrupt:
        lazy.fail(Interrupted("interrupted", remedy="run the same command again, it resumes; or xdc-testbed down"))
    except Exception as error:  # the last line of defence: click's own errors, and defects
        lazy.fail_unknown(error)
    sys.exit(0)
