"""The movers: a client that a door has redirected here brings an id, and gets or gives the bytes of one file."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlsplit

from ..billing import Billing
from ..config import Config
from ..entries import Entry
from ..http1 import Request, Response
from ..namespace import Namespace
from ..records import CLEANED, Status, Transfer, cell_session
from ..web import answer, server_name
from . import download, upload

_log = logging.getLogger(__name__)
_REUSE = 60.0


@dataclass(slots=True)
class Mover:
    """What a door has arranged. expected: checksums that the client has announced; algorithms: which to compute; door:
    `scheme://host` by which the client called the door; deadline: until then its client must have come."""

    transfer: Transfer
    entry: Entry
    door: str
    algorithms: tuple[str, ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    deadline: float = 0.0
    started: bool = False
    partial: Mapping[str, str] = field(default_factory=dict)
    """Checksums of what came of an upload that broke off."""
    told: bool = False
    """Whether the records of its transfer have been sent."""


class Pool:
    """All movers, and the handler of the pool's ports. endpoints: secure -> `address:port` of the movers."""

    def __init__(self, config: Config, namespace: Namespace, billing: Billing) -> None:
        self.config = config
        self.namespace = namespace
        self.billing = billing
        self.server = server_name(config)
        self.endpoints: dict[bool, str] = {}
        self._movers: dict[str, Mover] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._expire, name="mover timeouts", daemon=True)
        self._thread.start()

    def expect(self, mover: Mover) -> str:
        """Wait for the client of a mover. Returns the query of its URL."""
        mover.deadline = time.monotonic() + self.config.webdav.mover_timeout
        with self._lock:
            self._movers[mover.id] = mover
        return f"dcache-http-uuid={mover.id}&dcache-http-ref={quote(mover.door, safe='')}"

    def begin(self, transfer: Transfer, pool: str) -> None:
        """A mover of transfer starts in a pool."""
        if not transfer.pool:
            transfer.pool, transfer.pool_session = pool, cell_session("pool", pool, self.config.domain)
            transfer.mover_begun = time.time()

    def abandon(self, transfer: Transfer, entry: Entry, why: str = CLEANED) -> None:
        """Remove a file whose upload failed, and tell of what had come of it."""
        left = dataclasses.replace(entry, size=transfer.moved)
        self.namespace.abandon(entry.pnfsid)
        self.billing.replica_removed(left, transfer.pool or self.config.pool.name, why)

    def handle(self, request: Request) -> bool:
        """Answer a request to a port of the pool."""
        parts = urlsplit(request.target)
        query = parse_qs(parts.query)
        mover = self._claim(query.get("dcache-http-uuid", [""])[0], request.method)
        if mover is None:
            return answer(request, self._unknown(request, query, parts.path), self.server, pool=True)
        mover.transfer.local = "{}:{}".format(*request.connection.local)
        work: Callable[[Pool, Request, Mover], bool] = upload.serve if request.method == "PUT" else download.serve
        try:
            return work(self, request, mover)
        finally:
            mover.deadline = time.monotonic() + _REUSE

    def stop(self) -> None:
        """Forget all movers; their clients come too late."""
        self._stop.set()
        self._thread.join()

    def _claim(self, id_: str, method: str) -> Mover | None:
        """The mover of an id: an upload is served once, a download again for a while."""
        with self._lock:
            mover = self._movers.get(id_)
            if mover is None or mover.transfer.is_write != (method == "PUT") or method not in {"GET", "HEAD", "PUT"}:
                return None
            if mover.transfer.is_write:
                del self._movers[id_]
            mover.started = True
            mover.deadline = float("inf")
            return mover

    def _expire(self) -> None:
        while not self._stop.wait(0.25):
            now = time.monotonic()
            with self._lock:
                late = [mover for mover in self._movers.values() if mover.deadline < now]
                for mover in late:
                    del self._movers[mover.id]
            for mover in late:
                if not mover.started:
                    self._give_up(mover)

    def _give_up(self, mover: Mover) -> None:
        transfer = mover.transfer
        timeout = self.config.webdav.mover_timeout
        status = Status(10006, f"No connection from client after {timeout:g} seconds. Giving up.")
        self.begin(transfer, self.config.pool.name)
        transfer.local = transfer.local or self.endpoints.get(mover.door.startswith("https:"))
        self.billing.transferred(transfer, status)
        if transfer.is_write:
            self.namespace.abandon(mover.entry.pnfsid)

    def _unknown(self, request: Request, query: Mapping[str, list[str]], path: str) -> Response:
        """A mover that is no longer there: back to the door that the URL names, if it is on this host."""
        door = query.get("dcache-http-ref", [""])[0]
        hosts = {self.config.host, urlsplit(f"//{request.headers.get('host', '')}").hostname}
        if urlsplit(door).scheme in {"http", "https"} and urlsplit(door).hostname in hosts:
            return Response(307, headers=[("Location", door + path)], reason="Request is no longer valid")
        return Response(400, reason="Request lacks the id of a mover")
