"""Whether an endpoint still takes connections, so that a run ends soon when one has stopped for good.

Why one may: xdc_testbed.clients.tls_pulse. Without this, each further case would wait for its whole deadline.
"""

from __future__ import annotations

import threading
import time

from xdc_testbed.clients import tls_pulse
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.interop.matrix import Cell

_LOOK = 0.2  # seconds
_RESTART = 60.0  # seconds within which a silent server is found, ended and started anew


class Pulse:
    """Endpoints that have stopped answering. Used by all workers."""

    def __init__(self) -> None:
        self._gone: dict[str, str] = {}
        self._lost: set[str] = set()
        self._lock = threading.Lock()

    def gone(self, cell: Cell) -> str | None:
        """Why a cell need not be asked: one of its endpoints does not answer any more."""
        with self._lock:
            return next((self._gone[one.id] for one in cell.endpoints if one.id in self._gone), None)

    def comes_back(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint answers, now or within the time in which a service manager has started it anew."""
        url, until = endpoint.urls.get("https"), time.monotonic() + _RESTART
        while url is not None and not tls_pulse.is_open(url):
            if endpoint.id in self._lost or time.monotonic() > until:
                self._lost.add(endpoint.id)  # nobody waits for it a second time
                return False
            time.sleep(_LOOK)
        with self._lock:
            self._gone.pop(endpoint.id, None)
        return True

    def feel(self, cell: Cell) -> None:
        """Look at the endpoints of a cell that did not go well."""
        for one in cell.endpoints:
            if "https" in one.urls and not any(tls_pulse.answers(one.urls["https"]) for _ in range(tls_pulse.TRIES)):
                with self._lock:
                    tried = f"{tls_pulse.TRIES} x {tls_pulse.PATIENCE:g} s"
                    self._gone[one.id] = f"{one.id} does not answer any more: no TLS hand-shake within {tried}"
