"""Clients of the REST interface for tests: requests with a user's password, and the raw event stream."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from dcache_rig import DcacheUnderTest
from dcache_wire import Answer, Wire

_PATIENCE = 20.0
MASKS_OF_LISTING = ({"IN_OPEN", "IN_ISDIR"}, {"IN_CLOSE_NOWRITE", "IN_ISDIR"})


@dataclass(frozen=True)
class Client:
    """One user of one instance."""

    dcache: DcacheUnderTest
    user: str
    role: str = ""

    @classmethod
    def of(cls, dcache: DcacheUnderTest, number: int = 0) -> Client:
        """The first user of an instance, who owns the directory of the cases, or a further one."""
        return cls(dcache, list(dcache.users)[number])

    @classmethod
    def administrator(cls, dcache: DcacheUnderTest) -> Client:
        """Who may take the role admin, in that role."""
        return cls(dcache, dcache.admin, "admin")

    @property
    def headers(self) -> dict[str, str]:
        """The credentials."""
        name = f"{self.user}#{self.role}" if self.role else self.user
        plain = f"{name}:{self.dcache.users[self.user]}"
        return {"Authorization": f"Basic {base64.b64encode(plain.encode()).decode()}"}

    def ask(self, method: str, path: str, document: Any = None, **headers: str) -> Answer:
        """A request below /api/v1, or to a whole URL, with a JSON body."""
        url = path if path.startswith("https://") else f"{self.dcache.frontend}/api/v1{path}"
        body = b"" if document is None else json.dumps(document).encode()
        media = {"Content-Type": "application/json"} if body else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Wire(self.dcache.ca).ask(method, url, {**self.headers, **media, **named}, body)

    def json(self, method: str, path: str, document: Any = None) -> Any:
        """The JSON answer of a request that succeeds."""
        answer = self.ask(method, path, document)
        assert answer.code < 300, answer
        return json.loads(answer.body)

    def names(self, path: str, **wanted: str) -> Any:
        """GET of an entry with parameters."""
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        return self.json("GET", f"/namespace{path}?{query}")

    def act(self, path: str, action: str, **arguments: Any) -> Answer:
        """POST of an action."""
        return self.ask("POST", f"/namespace{path}", {"action": action, **arguments})

    def put(self, path: str, body: bytes = b"x" * 1000) -> None:
        """Upload a file by the WebDAV door, without being redirected."""
        answer = Wire(self.dcache.ca).ask("PUT", self.dcache.webdav + path, self.headers, body)
        assert answer.code == 201, answer

    def webdav(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Some other request to the door."""
        return Wire(self.dcache.ca).ask(method, self.dcache.webdav + path, {**self.headers, **(headers or {})})

    def read(self, path: str) -> bytes:
        """Download a file: the door, then the pool."""
        answer = self.webdav("GET", path)
        if answer.code == 302:
            answer = Wire(self.dcache.ca).ask("GET", answer.header("location"), {})
        assert answer.code == 200, answer
        return answer.body

    def channel(self) -> str:
        """The URL of a new channel."""
        answer = self.ask("POST", "/events/channels")
        assert answer.code == 201, answer
        return answer.header("location")

    def watch(self, channel: str, path: str, *flags: str) -> Answer:
        """Subscribe to a path; all events without flags."""
        selector = {"path": path} | ({"flags": list(flags)} if flags else {})
        return self.ask("POST", f"{channel}/subscriptions/inotify", selector)

    def stream(self, channel: str, last_id: str | None = None) -> EventStream:
        """Connect to a channel."""
        return EventStream(self, channel, last_id)


@dataclass
class Event:
    """One event: its kind, its id (None for SYSTEM) and its data."""

    kind: str
    number: int | None
    data: dict[str, Any]

    @property
    def payload(self) -> Any:
        """What it says, without the URL of its subscription."""
        return self.data.get("type") or self.data.get("event")

    @property
    def noise(self) -> bool:
        """Whether it is of a directory that somebody listed."""
        return self.kind == "inotify" and set(self.data["event"]["mask"]) in MASKS_OF_LISTING


@dataclass
class EventStream:
    """The events of one connection, read in a thread; ended: `chunk` after the last chunk, `cut` without one."""

    client: Client
    channel: str
    last_id: str | None = None
    events: list[Event] = field(default_factory=list)
    ended: str = ""
    status: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.channel)
        context = ssl.create_default_context(cafile=str(self.client.dcache.ca))
        plain = socket.create_connection((parts.hostname or "", parts.port or 443), _PATIENCE)
        self._socket = context.wrap_socket(plain, server_hostname=parts.hostname)
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in self.client.headers.items()]
        lines += [] if self.last_id is None else [f"Last-Event-ID: {self.last_id}"]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._file = self._socket.makefile("rb")
        self.status = self._file.readline().decode().strip()
        while self._file.readline().strip():
            pass
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def until(self, count: int, *, noise: bool = False, patience: float = _PATIENCE) -> list[Event]:
        """The events, once there are that many; noise: those of listings, too."""
        deadline = time.monotonic() + patience
        with self._changed:
            while len(found := self.seen(noise=noise)) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(found)} of {count} events: {[event.payload for event in found]}"
                self._changed.wait(left)
        return found

    def seen(self, *, noise: bool = False) -> list[Event]:
        """The events so far."""
        return [event for event in self.events if noise or not event.noise]

    def end(self) -> str:
        """How the stream ended, once it has."""
        self._thread.join(_PATIENCE)
        assert self.ended, "the stream did not end"
        return self.ended

    def close(self) -> None:
        """Go away."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        text = ""
        try:
            while True:
                size = self._file.readline()
                if not size.strip():
                    self._finish("cut")
                    return
                if int(size, 16) == 0:
                    self._finish("chunk")
                    return
                chunk = self._file.read(int(size, 16))
                self._file.readline()
                text += chunk.decode()
                while "\n\n" in text:
                    block, _, text = text.partition("\n\n")
                    self._add(block)
        except (OSError, ValueError):
            self._finish("cut")

    def _add(self, block: str) -> None:
        event = read_event(block)
        with self._changed:
            self.text += block + "\n\n"
            self.events.append(event)
            self._changed.notify_all()

    def _finish(self, how: str) -> None:
        with self._changed:
            self.ended = how
            self._changed.notify_all()


def read_event(block: str) -> Event:
    """An event of its lines."""
    fields = dict(line.split(": ", 1) for line in block.splitlines())
    number = int(fields["id"]) if "id" in fields else None
    return Event(fields["event"], number, json.loads(fields["data"]))
