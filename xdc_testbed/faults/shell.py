"""How the agent runs commands on its node; tests give another runner."""

from __future__ import annotations

from typing import Protocol

from xdc_testbed import processes
from xdc_testbed.processes import Completed

_SECONDS = 90.0  # systemd's own limit for a start


class Run(Protocol):
    """Runs one command; with check, raises CommandFailed when it ends with a status other than 0."""

    def __call__(self, *words: str, check: bool = True) -> Completed:
        """Run it to its end."""
        ...


def here(*words: str, check: bool = True) -> Completed:
    """Run a command on this node."""
    return processes.run(words, timeout=_SECONDS, check=check)
