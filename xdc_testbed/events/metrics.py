"""Counters of a service, readable on loopback: `/health` as JSON, `/metrics` in the Prometheus text format
0.0.4.
"""

from __future__ import annotations

import bisect
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the buckets of durations, seconds."""


class Counters:
    """Named numbers that only grow, levels, durations, and a word for the state. Safe between threads for one
    writer per name.

    A name may carry labels: `counters.add("matches", rule="calibrate-raw")`.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.state = "starting"
        self._started = time.time()
        self._values: dict[str, int] = {}
        self._notes: dict[str, str] = {}
        self._durations: dict[str, _Durations] = {}

    def add(self, name: str, amount: int = 1, **labels: str) -> None:
        """Count."""
        key = _labelled(name, labels) if labels else name
        self._values[key] = self._values.get(key, 0) + amount

    def set(self, name: str, value: int) -> None:
        """Set a level, for example how much is outstanding."""
        self._values[name] = value

    def note(self, name: str, text: str) -> None:
        """Say something that is no number, for example which rules are followed."""
        self._notes[name] = text

    def observe(self, name: str, seconds: float) -> None:
        """Count a duration into its bucket."""
        self._durations.setdefault(name, _Durations()).take(seconds)

    def get(self, name: str, **labels: str) -> int:
        """The present value, 0 if never counted."""
        return self._values.get(_labelled(name, labels), 0)

    def health(self) -> dict[str, object]:
        """State, uptime in seconds, resident memory in bytes, notes, and all values."""
        return {
            "service": self.service,
            "state": self.state,
            "uptime": round(time.time() - self._started, 3),
            "resident_bytes": _resident_bytes(),
            **self._notes,
            **dict(sorted(self._values.copy().items())),
        }

    def exposition(self) -> str:
        """All values in the Prometheus text format."""
        prefix = f"xdc_{self.service.replace('-', '_')}"
        lines = [f"{prefix}_{name} {value}" for name, value in sorted(self._values.copy().items())]
        notes = [f"{prefix}_info{_labels({name: text})} 1" for name, text in sorted(self._notes.copy().items())]
        durations = [
            line for name, each in sorted(self._durations.copy().items()) for line in each.lines(f"{prefix}_{name}")
        ]
        return "\n".join([f"{prefix}_up {int(self.state == 'running')}", *notes, *lines, *durations, ""])


class _Durations:
    """A histogram as Prometheus counts it: buckets hold what is at most their end."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def take(self, seconds: float) -> None:
        self._counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        ends = [*(f"{end:g}" for end in BUCKETS), "+Inf"]
        totals = list(itertools.accumulate(self._counts))
        yield from (f'{name}_bucket{{le="{end}"}} {total}' for end, total in zip(ends, totals, strict=True))
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {totals[-1]}"


def _resident_bytes() -> int:
    """Source: proc_pid_statm(5), second field, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _labelled(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{_labels(labels)}" if labels else name


def _labels(labels: Mapping[str, str]) -> str:
    quoted = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, value in labels.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in sorted(quoted.items())) + "}"


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
