"""OpenWhisk's invocation endpoint on loopback, answering as a test says; it counts what it was asked to
run.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any


class Platform:
    """Actions by name: `noop` succeeds, `broken` fails for good, `flaky` fails once per file, `busy` is
    throttled until `idle` is set. calls: how often each (action, file) was run; url: for `api_host`."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.idle = threading.Event()
        self.throttled = 0
        self.first_calls: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = ThreadingTCPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def runs(self, action: str) -> dict[str, int]:
        """How often the action was run, by file."""
        with self._lock:
            return {path: count for (name, path), count in self.calls.items() if name == action}

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, action: str, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of one blocking invocation."""
        path = parameters["event"]["subject"]
        if action == "busy" and not self.idle.is_set():
            with self._lock:
                self.throttled += 1
            return 429, {"error": "Too many concurrent requests in flight (count: 2, allowed: 1)."}
        with self._lock:
            self.calls[action, path] += 1
            count = self.calls[action, path]
            self.first_calls.setdefault(path, time.time())
        match action:
            case "broken":
                return 502, _record("application error", {"error": {"reason": "input is no raw file", "retry": False}})
            case "flaky" if count == 1:
                return 502, _record("application error", {"error": {"reason": "try again", "retry": True}})
            case _:
                return 200, _record("success", {"status": "done", "started_at": time.time()})


def _record(status: str, result: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time() * 1000)
    return {
        "activationId": uuid.uuid4().hex,
        "annotations": [],
        "duration": 1,
        "end": now,
        "logs": [],
        "name": "action",
        "namespace": "guest",
        "publish": False,
        "response": {"result": result, "status": status, "success": status == "success"},
        "start": now,
        "subject": "guest",
        "version": "0.0.1",
    }


def _handler(platform: Platform) -> type[StreamRequestHandler]:
    """HTTP/1.1 as far as the client speaks it: http.server takes half as long as the dispatcher."""

    class Handler(StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while request := self.rfile.readline():
                length = 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                action = request.split()[1].decode().partition("?")[0].rpartition("/")[2]
                status, body = platform.answer(action, json.loads(self.rfile.read(length)))
                data = json.dumps(body).encode()
                head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data)

    return Handler
