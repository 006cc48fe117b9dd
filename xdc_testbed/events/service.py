"""What every event service does at its edges: arguments, logging, signals, one-line errors."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from xdc_testbed.errors import XdcError


def run(name: str, description: str, start: Callable[[Path], int]) -> int:
    """Parse `--config FILE [--debug]`, set up logging to stderr, and run; the exit status of the program."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the service")
    parser.add_argument("--debug", action="store_true", help="log more, and show the traceback of an error")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.DEBUG if arguments.debug else logging.INFO,
        stream=sys.stderr,
        format="%(levelname)s %(name)s: %(message)s",
    )
    if not arguments.debug:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # one line per invocation otherwise
    try:
        return start(arguments.config)
    except XdcError as error:
        if arguments.debug:
            raise
        logging.getLogger(name).critical("%s%s", error.message, f"; {error.remedy}" if error.remedy else "")
        return error.exit_code


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
