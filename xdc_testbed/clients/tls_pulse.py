"""Whether a TLS door still takes connections, and a supervisor that ends a server whose door has gone silent.

XRootD 5.5.3 was seen to stop accepting on its https port while the process lived and its root port answered, once in
about ten runs of the interoperability suite: connections stay in the listen queue for good. A service manager sees a
healthy process. The units of the roles xrootd and xcache therefore start the server through

    python -m xdc_testbed.clients.tls_pulse https://127.0.0.1:8443 -- /usr/bin/xrootd ...

which ends it, and itself with exit code 1, after two hand-shakes in a row that had no answer; systemd starts it anew.
"""

from __future__ import annotations

import argparse
import logging
import socket
import ssl
import sys
from urllib.parse import urlsplit

from xdc_testbed.processes import supervise

PATIENCE = 15.0
"""Seconds for one TLS hand-shake; a loaded machine needs one or two."""

TRIES = 2
"""Hand-shakes in a row without an answer after which a door is called silent."""

_INTERVAL = 10.0  # seconds between two looks of the supervisor


def answers(url: str, *, patience: float = PATIENCE) -> bool:
    """Whether a TLS hand-shake with the door at this URL comes to an end. Certificates are not looked at here.

    A port that refuses is an answer: only silence is meant.
    """
    try:
        _shake_hands(url, patience)
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def is_open(url: str, *, patience: float = PATIENCE) -> bool:
    """Whether the door at this URL takes part in a TLS hand-shake."""
    try:
        _shake_hands(url, patience)
    except OSError:
        return False
    return True


def _shake_hands(url: str, patience: float) -> None:
    door = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((door.hostname or "", door.port or 443), timeout=patience) as connection,
        context.wrap_socket(connection),
    ):
        pass


def main(arguments: list[str] | None = None) -> int:
    """Supervise the server given after `--`."""
    parser = argparse.ArgumentParser(description="Run a server and end it when its TLS door goes silent")
    parser.add_argument("url", help="https://host:port of its door")
    parser.add_argument("command", nargs="+", help="the server and its arguments, after --")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return supervise(chosen.command, healthy=lambda: answers(chosen.url), interval=_INTERVAL, tries=TRIES)


if __name__ == "__main__":
    sys.exit(main())
