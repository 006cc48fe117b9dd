"""Counters of a service, readable on loopback: `/health` as JSON, `/metrics` in the Prometheus text format
0.0.4.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Counters:
    """Named numbers that only grow, and a word for the state. Safe between threads for one writer per
    name.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.state = "starting"
        self._started = time.time()
        self._values: dict[str, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Count."""
        self._values[name] = self._values.get(name, 0) + amount

    def set(self, name: str, value: int) -> None:
        """Set a level, for example how much is outstanding."""
        self._values[name] = value

    def get(self, name: str) -> int:
        """The present value, 0 if never counted."""
        return self._values.get(name, 0)

    def health(self) -> dict[str, object]:
        """State, uptime in seconds, and all values."""
        return {
            "service": self.service,
            "state": self.state,
            "uptime": round(time.time() - self._started, 3),
            **dict(sorted(self._values.copy().items())),
        }

    def exposition(self) -> str:
        """All values in the Prometheus text format."""
        prefix = f"xdc_{self.service.replace('-', '_')}"
        lines = [f"{prefix}_{name} {value}" for name, value in sorted(self._values.copy().items())]
        return "\n".join([f"{prefix}_up {int(self.state == 'running')}", *lines, ""])


def serve(counters: Counters, address: str | None) -> None:
    """Answer on `host:port` from a daemon thread; nothing when address is None. Raises OSError when the
    port is taken.
    """
    if address is None:
        return
    host, _, port = address.rpartition(":")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(counters.exposition().encode(), "text/plain; version=0.0.4")
            elif self.path == "/health":
                self._answer(json.dumps(counters.health()).encode(), "application/json")
            else:
                self.send_error(404)

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Requests for metrics are not logged."""

    server = ThreadingHTTPServer((host, int(port)), Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
