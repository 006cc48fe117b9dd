"""One third-party copy in the pool: pull from, or push to, the other side, and verify.

The rules of verification are those of dCache 11.2.5, see oddities.py: a pull whose GET comes with a checksum is
compared with it; one without asks by HEAD, and then fails if there is one and succeeds if there is none. A push
compares what a HEAD of the written file says, and removes it when that is wrong.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from .. import checksums
from ..entries import Entry, NotFound
from ..pool.mover import Pool
from ..pool.replica import PoolFull, TooLarge, writing
from ..records import CLEANED, GOOD, VANISHED, Status, Transfer
from .peer import Answer, Peer, PeerFailed

_log = logging.getLogger(__name__)
_WANTED = "sha-512,sha-256;q=0.8,sha;q=0.6,md5;q=0.4,adler32;q=0.2"
_PIECE = 1 << 20
_POST_PROCESSING = 30.0
CANCELLED = Status(24, "java.io.IOException: transfer cancelled: client went away")
INTERRUPTED = Status(10027, "java.nio.channels.ClosedByInterruptException")


class CopyFailed(Exception):
    """The copy has failed; pool: how the pool's record puts it."""

    def __init__(self, text: str, pool: Status | None = None) -> None:
        super().__init__(text)
        self.pool = Status(10027, text) if pool is None else pool


@dataclass(slots=True)
class Copy:
    """One copy. url: of the other side; headers: to send there; verify: RequireChecksumVerification; wake: written to
    when it has ended, so that its client's thread can wait for both; outcome: None while it runs, "" when it went
    well, else why not."""

    pool: Pool
    transfer: Transfer
    entry: Entry
    url: str
    headers: Mapping[str, str]
    verify: bool
    context: ssl.SSLContext
    agent: str
    wake: socket.socket
    started: float = field(default_factory=time.time)
    last: float | None = None
    outcome: str | None = None
    peer: Peer = field(init=False)
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.peer = Peer(self.context, self.agent, self.headers)

    def run(self) -> None:
        """Do it, and tell how it ended."""
        transfer, namespace = self.transfer, self.pool.namespace
        door = pool = GOOD
        try:
            if transfer.is_write:
                self._pull()
            else:
                self._push()
            outcome = ""
        except (CopyFailed, PeerFailed) as error:
            outcome = str(error)
            door = Status(10027, outcome)
            pool = error.pool if isinstance(error, CopyFailed) else door
        except Exception:
            _log.exception("a third-party copy failed inside the emulator")
            outcome = "Internal problem with server"
            door = pool = Status(10011, outcome)
        if self._cancelled.is_set():
            outcome, door, pool = "transfer cancelled: client went away", CANCELLED, INTERRUPTED
            transfer.size = 0
        transfer.mover_ended = time.time()
        self.peer.close()
        if not transfer.is_write:
            namespace.tell(self.entry, "IN_CLOSE_NOWRITE")
        self.pool.billing.transferred(transfer, door, pool)
        if transfer.is_write and outcome:
            self.pool.abandon(transfer, self.entry, VANISHED if self._cancelled.is_set() else CLEANED)
        self.outcome = outcome
        with contextlib.suppress(OSError):
            self.wake.send(b".")

    def cancel(self) -> None:
        """Break off: the client has gone."""
        self._cancelled.set()
        self.peer.close()

    def _pull(self) -> None:
        transfer, entry, pool = self.transfer, self.entry, self.pool
        answer = self.peer.ask("GET", self.url, {"Want-Digest": _WANTED})
        self._met()
        if answer.status != 200:
            raise CopyFailed(f"rejected GET: {answer.line}")
        expected = checksums.of_answer(answer.headers)
        path = pool.namespace.data_file(entry.pnfsid, transfer.pool)
        pool.namespace.tell(entry, "IN_OPEN")
        with writing(path, expected, pool.config.pool.largest_file) as replica:
            try:
                for piece in self.peer.body():
                    if not replica.size:
                        pool.namespace.tell(entry, "IN_MODIFY")
                    replica.write(piece)
                    transfer.moved, transfer.busy, self.last = replica.size, replica.busy, replica.last
            except PoolFull:
                raise CopyFailed("No space left on the pool", Status(10006, "No space left on the pool")) from None
            except TooLarge:
                raise CopyFailed("File is too large", Status(10006, "File is too large")) from None
            finally:
                transfer.size = replica.size
            found = replica.close()
        problem = checksums.mismatch(expected, found)
        if problem is not None:
            text = f"Post-processing failed: {problem}"
            raise CopyFailed(text, Status(10004, text))
        if not expected and self.verify:
            self._ask_for_checksum()
        if self._cancelled.is_set():
            raise CopyFailed("transfer cancelled")
        try:
            committed = pool.namespace.commit(entry.pnfsid, size=replica.size, checksums=found, pool=transfer.pool)
        except NotFound:
            raise CopyFailed("File was removed during the transfer") from None
        transfer.entry = committed

    def _ask_for_checksum(self) -> None:
        """The product's inverted test: a checksum on HEAD that was not on GET is taken for a missing one."""
        answer = self.peer.ask("HEAD", self.url, {"Want-Digest": _WANTED})
        if answer.status != 200:
            raise CopyFailed(f"rejected HEAD: {answer.line}")
        if checksums.of_answer(answer.headers):
            raise CopyFailed("no checksum in HEAD response")

    def _push(self) -> None:
        transfer, entry = self.transfer, self.entry
        size = transfer.size = entry.size or 0
        self.pool.namespace.tell(entry, "IN_OPEN")
        with self.pool.namespace.data_file(entry.pnfsid, transfer.pool).open("rb") as file:
            answer = self.peer.ask("PUT", self.url, length=size)
            self._met()
            if answer.status == 100:
                try:
                    answer = self.peer.send_body(_pieces(file), self._sent, size, answer.url)
                finally:
                    transfer.moved = max(0, transfer.moved - 1)
        if answer.status not in {200, 201, 202, 204}:
            raise CopyFailed(f"rejected PUT: {answer.line}")
        if not self.url.startswith("https:"):
            transfer.local = None
        self._verify_pushed(entry)

    def _verify_pushed(self, entry: Entry) -> None:
        answer = self._head_when_ready(",".join(sorted(entry.checksums)))
        if answer.status != 200:
            self._take_back(f"verification failed: HEAD request failed: {answer.line}")
        found = checksums.of_answer(answer.headers)
        common = [name for name in entry.checksums if name in found]
        for name in common:
            if found[name] != entry.checksums[name]:
                kind = name.replace("-", "").upper()
                self._take_back(f"verification failed: {kind} {found[name]} != {entry.checksums[name]}")
        if not common and self.verify:
            listed = ", ".join(f"{name}={value}" for name, value in found.items())
            self._take_back(f"verification failed: no useful checksum in HEAD response: {{{listed}}}")

    def _head_when_ready(self, wanted: str) -> Answer:
        """The answer to HEAD; a server that is still busy with the file says 202."""
        deadline = time.monotonic() + _POST_PROCESSING
        while True:
            answer = self.peer.ask("HEAD", self.url, {"Want-Digest": wanted})
            if answer.status != 202 or time.monotonic() > deadline or self._cancelled.wait(0.5):
                return answer

    def _take_back(self, reason: str) -> None:
        """Remove what was written on the other side. Raises CopyFailed with the reason."""
        try:
            self.peer.ask("DELETE", self.url)
        except PeerFailed as error:
            reason = f"{reason}; and DELETE failed: {error}"
        raise CopyFailed(reason)

    def _met(self) -> None:
        """The other side is known now."""
        if self.peer.remote is not None:
            self.transfer.host = self.peer.remote[0]
        self.transfer.local = self.peer.local

    def _sent(self, count: int) -> None:
        self.transfer.moved += count
        self.transfer.busy = time.time() - (self.transfer.mover_begun or self.started)
        self.last = time.time()
        if self._cancelled.is_set():
            raise PeerFailed("transfer cancelled")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
