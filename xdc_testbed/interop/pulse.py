"""Whether an endpoint still takes connections, so that a run ends soon when one has stopped for good.

XRootD 5.5.3 was seen to stop accepting on its https port while the process lived and its root port answered, once in
about ten runs of the suite: connections stay in the listen queue. Each further case would wait for its whole deadline.
"""

from __future__ import annotations

import socket
import ssl
import threading
from urllib.parse import urlsplit

from xdc_testbed.interop.matrix import Cell

_PATIENCE = 15.0  # seconds for one TLS hand-shake; a loaded machine needs one or two
_TRIES = 2


class Pulse:
    """Endpoints that have stopped answering. Used by all workers."""

    def __init__(self) -> None:
        self._gone: dict[str, str] = {}
        self._lock = threading.Lock()

    def gone(self, cell: Cell) -> str | None:
        """Why a cell need not be asked: one of its endpoints does not answer any more."""
        with self._lock:
            return next((self._gone[one.id] for one in cell.endpoints if one.id in self._gone), None)

    def feel(self, cell: Cell) -> None:
        """Look at the endpoints of a cell that did not go well."""
        for one in cell.endpoints:
            if "https" in one.urls and not any(answers(one.urls["https"]) for _ in range(_TRIES)):
                with self._lock:
                    self._gone[one.id] = (
                        f"{one.id} does not answer any more: no TLS hand-shake within {_TRIES} x {_PATIENCE:g} s"
                    )


def answers(url: str, *, patience: float = _PATIENCE) -> bool:
    """Whether a TLS hand-shake with the door at this URL comes to an end. Certificates are not looked at here.

    A port that refuses is an answer: only silence is meant.
    """
    door = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((door.hostname or "", door.port or 443), timeout=patience) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except TimeoutError:
        return False
    except OSError:
        return True
