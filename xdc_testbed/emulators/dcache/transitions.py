"""Storage classes and the tape behind the pools: what a file's class is, how it changes, and how long that takes.

A class is not stored: it follows from access latency, retention policy, and where the bytes lie.

    ONLINE   + REPLICA    disk          NEARLINE + CUSTODIAL  tape
    ONLINE   + CUSTODIAL  disk+tape     NEARLINE + REPLICA    volatile

A change sets the first two at once; what then is missing on tape or disk is made later, and until then the file has a
target class beside its current one. So what was pending when the process was killed is found again at the next start.
Tape is a folder of whole files, each written beside its place, synced and renamed. Source of the classes: dCache user
guide, QoS; of the states in between: a running 11.2.5 and 12.0.1.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path

from .billing import Billing
from .changes import Change
from .config import Config
from .entries import Entry, NotFound
from .namespace import Namespace
from .pins import Pins

_log = logging.getLogger(__name__)
CLASSES = ("disk", "tape", "disk+tape", "volatile")
_WANTED = {
    "disk": ("ONLINE", "REPLICA"),
    "tape": ("NEARLINE", "CUSTODIAL"),
    "disk+tape": ("ONLINE", "CUSTODIAL"),
    "tape+disk": ("ONLINE", "CUSTODIAL"),
}
_VOLATILE = ("NEARLINE", "REPLICA")
_PATIENCE = 300.0
_READING = 60.0
_AGAIN = 5.0
_COPIES = 2
_BLOCK = 1 << 20


class Unsupported(Exception):
    """A change of class that is refused; the text is the product's."""


class StageFailed(Exception):
    """A file could not be brought back from tape."""


def locality(entry: Entry) -> str:
    """Where the bytes of a file lie: ONLINE, NEARLINE, ONLINE_AND_NEARLINE, or NONE before its upload has ended."""
    if entry.pools:
        return "ONLINE_AND_NEARLINE" if entry.on_tape else "ONLINE"
    return "NEARLINE" if entry.on_tape else "NONE"


def current_and_target(entry: Entry) -> tuple[str, str | None]:
    """The class of a file or directory, and the one that it is on its way to."""
    wanted = next((name for name, pair in _WANTED.items() if pair == (entry.latency, entry.retention)), "volatile")
    if entry.is_dir or wanted == "disk":
        return wanted, None
    if wanted == "volatile":
        return ("tape", None) if entry.on_tape else (wanted, entry.target_qos)
    if not entry.on_tape:
        return ("volatile" if wanted == "tape" else "disk"), wanted
    if wanted == "disk+tape" and not entry.pools:
        return "tape", wanted
    return wanted, None


class Transitions:
    """Makes what is pending, in the background. Delays are those of the configuration's [qos].

    copies: on how many pools a file is to lie.
    """

    def __init__(self, config: Config, namespace: Namespace, billing: Billing) -> None:
        self._config = config.qos
        self._pool = config.pool.name
        self._pools = config.pools
        self.copies: Callable[[Entry], int] = lambda _: 1
        self._namespace = namespace
        self._billing = billing
        self._tape = config.root / "tape"
        self._tape.mkdir(parents=True, exist_ok=True)
        self._condition = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._flushing: set[str] = set()
        self._copying: set[str] = set()
        self._staging: dict[str, Future[Entry]] = {}
        self._pins = Pins(config.root / "pins.sqlite")
        self._closed = False
        self._copiers = ThreadPoolExecutor(_COPIES, "tape")
        self._unlisten = namespace.changes.listen(self._told)
        namespace.removed.append(self._removed)
        self._resume()
        self._thread = threading.Thread(target=self._run, name="transitions", daemon=True)
        self._thread.start()

    def change(self, entry: Entry, target: str) -> Entry:
        """Give a file or directory another class. An unknown target means volatile, as in the product.

        Returns the entry as it is then. Raises Unsupported when the target has no tape and the file is on one.
        """
        latency, retention = _WANTED.get(target, _VOLATILE)
        if not entry.is_dir and entry.on_tape and retention == "REPLICA":
            raise Unsupported(
                f"Unsupported transition from {current_and_target(entry)[0]} to {target}: "
                "QoS currently does not support removal of tape locations."
            )
        changed = self._namespace.update(entry.pnfsid, latency=latency, retention=retention, target_qos=None)
        if not changed.is_dir:
            self.later(self._config.transition_s, lambda: self._settle(changed.pnfsid))
        return changed

    def follow(self, entry: Entry, policy: str, state: int, *, tape: bool) -> Entry:
        """Put a file into a state of a policy; tape: whether the state has a copy on tape. Returns it as it is then."""
        target = "tape" if tape and not entry.is_dir and not entry.on_tape else None
        changed = self._namespace.update(
            entry.pnfsid,
            latency="NEARLINE",
            retention="REPLICA",
            policy=policy,
            policy_state=state,
            target_qos=target,
        )
        if not changed.is_dir:
            self.later(self._config.transition_s, lambda: self._settle(changed.pnfsid))
        return changed

    def stage(self, entry: Entry) -> Future[Entry]:
        """Bring a file back from tape; done at once for one that is on disk. Fails with StageFailed."""
        with self._condition:
            known = self._staging.get(entry.pnfsid)
            if known is not None:
                return known
            future: Future[Entry] = Future()
            if entry.pools:
                future.set_result(entry)
                return future
            if not entry.on_tape:
                future.set_exception(StageFailed(f"{entry.path} is neither on disk nor on tape"))
                return future
            self._staging[entry.pnfsid] = future
        asked = time.monotonic()
        self.later(self._config.stage_s, lambda: self._work(lambda: self._restore(entry.pnfsid, asked)))
        return future

    def stage_and_wait(self, entry: Entry) -> Entry:
        """Bring a file back from tape for a reader, and keep it for a while. Raises StageFailed, also when it takes
        too long."""
        self.pin(entry.pnfsid, "reader", _READING)
        try:
            return self.stage(entry).result(_PATIENCE + self._config.stage_s)
        except TooLate:
            raise StageFailed(f"{entry.path} did not come back from tape in time") from None

    def pin(self, pnfsid: str, owner: str, lifetime: float) -> None:
        """Keep the disk copy of a file for a time in seconds; below 0: until it is unpinned."""
        self._pins.add(pnfsid, owner, lifetime)

    def unpin(self, pnfsid: str, owner: str | None = None) -> None:
        """Give up a pin, or all pins of a file."""
        self._pins.remove(pnfsid, owner)
        self.later(0, lambda: self._evict_later(pnfsid))

    def settle(self, pnfsid: str) -> None:
        """Make what a file lacks, soon."""
        self.later(0, lambda: self._settle(pnfsid))

    def later(self, seconds: float, job: Callable[[], None]) -> None:
        """Do something after a time."""
        with self._condition:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), job))
            self._condition.notify()

    def close(self) -> None:
        """Stop; what is pending is found again at the next start."""
        self._unlisten()
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(_AGAIN)
        self._copiers.shutdown(cancel_futures=True)
        for future in self._staging.values():
            if not future.done():
                future.set_exception(StageFailed("the service stops"))
        self._pins.close()

    def _resume(self) -> None:
        known = set()
        for entry in _files(self._namespace):
            known.add(entry.pnfsid)
            self.later(0, lambda pnfsid=entry.pnfsid: self._settle(pnfsid))  # type: ignore[misc]
        for file in self._tape.iterdir():
            if file.name not in known:
                file.unlink()

    def _removed(self, entry: Entry) -> None:
        self._file(entry.pnfsid).unlink(missing_ok=True)
        self._pins.remove(entry.pnfsid, None)

    def _told(self, change: Change) -> None:
        if change.mask == "IN_CLOSE_WRITE" and not change.is_dir:
            self.settle(change.pnfsid)

    def _settle(self, pnfsid: str) -> None:
        """Start what a file lacks for its class."""
        entry = self._entry(pnfsid)
        if entry is None or entry.size is None:
            return
        if entry.pools and len(entry.pools) < min(self.copies(entry), len(self._pools)) and pnfsid not in self._copying:
            self._copying.add(pnfsid)
            self._work(lambda: self._copy_to_pools(pnfsid))
        if not self._config.tape:
            return
        if _wants_tape(entry) and entry.pools:
            if pnfsid not in self._flushing:
                self._flushing.add(pnfsid)
                asked = time.monotonic()
                self.later(self._config.flush_s, lambda: self._work(lambda: self._flush(pnfsid, asked)))
        elif entry.latency == "ONLINE" and entry.on_tape and not entry.pools:
            self.stage(entry)
        else:
            self._evict_later(pnfsid)

    def _flush(self, pnfsid: str, asked: float) -> None:
        """Write a file to tape."""
        try:
            entry = self._entry(pnfsid)
            if entry is None or not _wants_tape(entry) or not entry.pools:
                return
            began = time.monotonic()
            _copy(self._namespace.data_file(pnfsid, entry.pools[0]), self._file(pnfsid))
            stored = self._namespace.update(pnfsid, on_tape=True, target_qos=None)
            ended = time.monotonic()
            self._billing.stored(stored, entry.pools[0], seconds=ended - began, queued=began - asked)
            self._evict_later(pnfsid)
        except NotFound:
            self._file(pnfsid).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s is not written to tape, which is tried again: %s", pnfsid, error)
            self.later(_AGAIN, lambda: self._settle(pnfsid))
        finally:
            self._flushing.discard(pnfsid)

    def _copy_to_pools(self, pnfsid: str) -> None:
        """Copy a file from its pool to as many others as are wanted."""
        try:
            entry = self._namespace.by_id(pnfsid)
            for pool in [each for each in self._pools if each not in entry.pools]:
                if not 0 < len(entry.pools) < self.copies(entry):
                    return
                began = time.monotonic()
                _copy(self._namespace.data_file(pnfsid, entry.pools[0]), self._namespace.data_file(pnfsid, pool))
                source, entry = entry.pools[0], self._namespace.update(pnfsid, pools=(*entry.pools, pool))
                seconds = time.monotonic() - began
                self._billing.copied(entry, source, pool, address="127.0.0.1", seconds=seconds)
        except NotFound:
            for pool in self._pools:
                self._namespace.data_file(pnfsid, pool).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s is not copied, which is tried again: %s", pnfsid, error)
            self.later(_AGAIN, lambda: self._settle(pnfsid))
        finally:
            self._copying.discard(pnfsid)

    def _restore(self, pnfsid: str, asked: float) -> None:
        """Read a file back from tape."""
        future = self._staging[pnfsid]
        try:
            entry = self._namespace.by_id(pnfsid)
            began = time.monotonic()
            _copy(self._file(pnfsid), self._namespace.data_file(pnfsid, self._pool))
            restored = self._namespace.update(pnfsid, pools=(self._pool,))
            self._namespace.tell(restored, "IN_ATTRIB", "IN_ATTRIB")
            ended = time.monotonic()
            self._billing.restored(entry, self._pool, seconds=ended - began, queued=began - asked)
        except (NotFound, OSError) as error:
            self._namespace.data_file(pnfsid, self._pool).unlink(missing_ok=True)
            failure = StageFailed(f"{pnfsid} does not come back from tape: {error}")
            with self._condition:
                self._staging.pop(pnfsid, None)
            future.set_exception(failure)
            return
        with self._condition:
            self._staging.pop(pnfsid, None)
        future.set_result(restored)
        self._evict_later(pnfsid)

    def _evict_later(self, pnfsid: str) -> None:
        """Plan the removal of the disk copy of a tape file, where the configuration asks for that."""
        if self._config.evict_s is not None:
            self.later(self._config.evict_s, lambda: self._evict(pnfsid))

    def _evict(self, pnfsid: str) -> None:
        entry = self._entry(pnfsid)
        if entry is None or entry.latency != "NEARLINE" or not (entry.on_tape and entry.pools):
            return
        left = self._pins.left(pnfsid)
        if left is not None:
            if left < float("inf"):
                self.later(left, lambda: self._evict(pnfsid))
            return
        self._namespace.update(pnfsid, pools=())
        for pool in entry.pools:
            self._namespace.data_file(pnfsid, pool).unlink(missing_ok=True)

    def _entry(self, pnfsid: str) -> Entry | None:
        try:
            return self._namespace.by_id(pnfsid)
        except NotFound:
            return None

    def _file(self, pnfsid: str) -> Path:
        return self._tape / pnfsid

    def _work(self, job: Callable[[], None]) -> None:
        if not self._closed:
            self._copiers.submit(_logged, job)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._closed and (not self._due or self._due[0][0] > time.monotonic()):
                    self._condition.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._closed:
                    return
                job = heapq.heappop(self._due)[2]
            _logged(job)


def _logged(job: Callable[[], None]) -> None:
    try:
        job()
    except Exception:
        _log.exception("a transition failed inside the emulator")


def _wants_tape(entry: Entry) -> bool:
    """Whether a copy on tape is missing."""
    return not entry.on_tape and (entry.retention == "CUSTODIAL" or entry.target_qos == "tape")


def _files(namespace: Namespace) -> Iterator[Entry]:
    folders = ["/"]
    while folders:
        for entry in namespace.children(folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                yield entry


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that the target is whole or not there. Raises OSError."""
    beside = target.with_name(target.name + ".part")
    with source.open("rb") as reading, beside.open("wb") as writing:
        shutil.copyfileobj(reading, writing, _BLOCK)
        writing.flush()
        os.fsync(writing.fileno())
    beside.rename(target)
