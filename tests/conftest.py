"""What all tests begin with."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Ctrl-C means what it says, also where a shell has started the tests in the background and it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
