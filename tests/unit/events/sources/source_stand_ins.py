"""A way into Kafka that remembers, and a frontend made of a dictionary, for the tests of the sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import unquote

import httpx2

from xdc_testbed.clients.dcache import Dcache
from xdc_testbed.events.model import StorageEvent


class Told:
    """In place of an Outlet: acknowledges at once, or not before `release`."""

    def __init__(self, *, hold: bool = False) -> None:
        self.events: list[StorageEvent] = []
        self.dead: list[tuple[bytes, str]] = []
        self._held: list[Callable[[], None]] | None = [] if hold else None

    def send(self, event: StorageEvent, done: Callable[[], None]) -> None:
        """Take an event."""
        self.events.append(StorageEvent.model_validate_json(event.to_json()))
        self._acknowledge(done)

    def bury(self, raw: bytes, reason: str, done: Callable[[], None]) -> None:
        """Take a dead letter."""
        self.dead.append((raw, reason))
        self._acknowledge(done)

    def release(self) -> None:
        """Acknowledge what is held."""
        held, self._held = self._held or [], None
        for done in held:
            done()

    def check(self) -> None:
        """Always well."""

    def close(self) -> None:
        """Nothing is on its way."""

    def _acknowledge(self, done: Callable[[], None]) -> None:
        if self._held is None:
            done()
        else:
            self._held.append(done)


class Namespace:
    """The frontend's namespace: files by path, each with what the product tells of it. delay: seconds per answer."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, object]] = {}
        self.delay: dict[str, float] = {}
        self.status = 200
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def put(
        self, path: str, pnfsid: str, size: int | None = 7, checksum: str | None = "00000001", **more: object
    ) -> None:
        """A file, of a moment ago."""
        now = time.time() * 1000
        told: dict[str, object] = {"pnfsId": pnfsid, "fileType": "REGULAR", "mtime": now, "creationTime": now, **more}
        if size is not None:
            told["size"] = size
        told["checksums"] = [{"type": "ADLER32", "value": checksum}] if checksum else []
        self.files[path] = told

    def client(self) -> Dcache:
        """A client that asks this namespace."""
        return Dcache("https://frontend.test", transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = unquote(request.url.raw_path.decode().partition("?")[0]).removeprefix("/api/v1/namespace")
        with self._lock:
            self.asked.append(path)
        time.sleep(self.delay.get(path, 0))
        if self.status != 200:
            return httpx2.Response(self.status, json={"detail": "no", "status": str(self.status)})
        if path.startswith("/api/v1/id/"):
            found = [{**told, "path": name} for name, told in self.files.items() if told["pnfsId"] == path[11:]]
            return httpx2.Response(200, json=found[0]) if found else httpx2.Response(403, json={"detail": "Forbidden"})
        if path not in self.files:
            return httpx2.Response(404, json={"detail": f"No such file or directory {path}", "status": "404"})
        return httpx2.Response(200, json=self.files[path])
