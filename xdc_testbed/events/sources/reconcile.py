"""The safety net below the other sources: list the storage now and then, and tell files that no event has named.

Each round reads what the topic says of this endpoint since the last one, looks through the folders, and remembers the
files that it does not know. A file that is still unnamed after the grace time is looked at once more and told as
written, with the id that its event would have had (dCache; see `listing` for others); one that an event has named by
another path, as moved. Folders of dCache whose time has not changed are not listed again. Only files changed since the
first start are told, and none older than the horizon: the memory stays small. A partial file of a cut upload is known
by dCache's billing records (`[billing]`), without which it looks whole.

On SIGUSR1 (`systemctl reload event-reconcile`) it looks at once, and grants no grace: for whoever knows that events are
missing.

    python -m xdc_testbed.events.sources.reconcile --config /etc/xdc-testbed/event-source.toml
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from xdc_testbed.errors import XdcError
from xdc_testbed.events import service
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import EVENTS, BrokerUnavailable, read_config
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import EventType, StorageEvent
from xdc_testbed.events.sources.facts import TEMPORARY, Facts, clean
from xdc_testbed.events.sources.frontend import FrontendTable, WebDavTable
from xdc_testbed.events.sources.listing import DcacheListing, Listing, Seen, WebDavListing
from xdc_testbed.events.sources.named import Names, Waiting
from xdc_testbed.events.sources.outlet import Outlet, SourceFile, SourceTable
from xdc_testbed.events.sources.uploads import BillingTable, Uploads

log = logging.getLogger(__name__)

_DAY = 86400.0
_OVERLAP = 60.0  # seconds of the topic that are read again: records are stamped by their producers
_SLACK = 2.0  # seconds within which a folder may change again without another time
_CLOCKS = 5.0  # seconds by which the storage's clock may differ
_ACKNOWLEDGED = 30.0  # seconds for the broker to take what a round has told
_STEP = 0.2  # seconds after which a signal is noticed
_NAMING = frozenset({EventType.WRITTEN, EventType.MOVED})


class ReconcileTable(SourceTable):
    """The `[source]` table. folders: what to look through, with all that is below; state_file: where the memory is
    kept (SQLite); every: seconds between two rounds; grace: seconds that an event may take; horizon: days after which
    a file is of no interest; announce_existing: tell also what was there before the first start.
    """

    folders: tuple[str, ...] = Field(min_length=1)
    state_file: Path
    every: float = Field(default=60.0, gt=0)
    grace: float = Field(default=60.0, ge=0)
    horizon: float = Field(default=7.0, gt=0)
    announce_existing: bool = False


class ReconcileConfig(SourceFile):
    """The file given with --config: of dCache with `[frontend]`, of another storage with `[webdav]`."""

    source: ReconcileTable
    frontend: FrontendTable | None = None
    webdav: WebDavTable | None = None
    billing: BillingTable | None = None

    @model_validator(mode="after")
    def _one_storage(self) -> Self:
        if (self.frontend is None) == (self.webdav is None):
            raise ValueError("give one of [frontend] and [webdav]")
        return self


class Reconciler:
    """One storage. announced: events since a moment (epoch seconds); tell: gives events to the broker and returns once
    it has them; failed: whether the upload that made an id is known to have failed.
    """

    def __init__(
        self,
        table: ReconcileTable,
        storage: Listing,
        counters: Counters,
        *,
        announced: Callable[[float], Iterable[StorageEvent]],
        tell: Callable[[list[StorageEvent]], None],
        failed: Callable[[str], bool] = lambda _: False,
        parallel: int = 8,
    ) -> None:
        self._table = table
        self._storage = storage
        self._counters = counters
        self._announced = announced
        self._tell = tell
        self._failed = failed
        self._names = Names(table.state_file)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="listing")

    def close(self) -> None:
        """Let go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._names.close()

    def round(self, now: float, *, grace: float | None = None) -> None:
        """Read, look, and tell. now: epoch seconds; grace: in seconds, when it is not the table's. Raises XdcError
        when storage or broker do not answer."""
        start = self._names.get("start", now)
        self._names.set("start", start)
        self._read(now)
        since = now - self._table.horizon * _DAY
        if not self._table.announce_existing:
            since = max(since, start - _CLOCKS)
        for seen in self._look(now):
            if not seen.is_directory and self._missing(seen, since):
                self._names.wait(seen.path, seen.storage_id, seen.modified, now)
        self._announce(now, self._table.grace if grace is None else grace)
        self._names.prune(now - self._table.horizon * _DAY)
        self._names.commit()
        self._counters.add("rounds")
        for table, count in self._names.counts().items():
            self._counters.set(f"rows_{table}", count)

    def _read(self, now: float) -> None:
        """Take note of what events have named."""
        read = self._names.get("read", now - self._table.horizon * _DAY)
        for event in self._announced(read - _OVERLAP):
            data = event.data
            if data.endpoint != self._table.endpoint:
                continue
            if event.type in _NAMING:
                if data.old_path is not None:
                    self._names.gone(data.old_path, data.storage_id)
                self._names.name(event.subject, data.storage_id, data.closed_at)
            elif event.type == EventType.DELETED:
                self._names.gone(event.subject, data.storage_id)
        self._names.set("read", now)

    def _missing(self, seen: Seen, since: float) -> bool:
        return (
            seen.modified >= since
            and not TEMPORARY.search(seen.path)
            and not self._names.is_named(seen.path, seen.storage_id, seen.modified)
        )

    def _look(self, now: float) -> list[Seen]:
        """Everything in folders that have changed since they were listed, in parallel, level by level."""
        found: list[Seen] = []
        level = [clean(folder) for folder in self._table.folders]
        while level:
            known = [self._names.folder(path) for path in level]
            below: list[str] = []
            times = [None if before is None else before[0] for before in known]
            listings = self._threads.map(self._storage.folder, level, times)
            for path, before, listed in zip(level, known, listings, strict=True):
                if listed is None:
                    self._names.forget_folder(path)
                    continue
                modified, children = listed
                if children is None:
                    below += before[1] if before is not None else []
                    continue
                folders = [each.path for each in children if each.is_directory]
                self._counters.add("listings")
                if modified is not None and modified < now - _SLACK:
                    self._names.listed(path, modified, folders)
                found += children
                below += folders
            level = below
        return found

    def _announce(self, now: float, grace: float) -> None:
        """Tell what has waited for longer than the grace time."""
        ripe = self._names.ripe(now - grace)
        events: list[StorageEvent] = []
        for waiting, seen in zip(
            ripe, self._threads.map(lambda each: self._storage.file(each.path), ripe), strict=True
        ):
            event = self._event(waiting, seen)
            if event is not None:
                events.append(event)
        if events:
            self._tell(events)
        for event in events:
            self._counters.add(f"missed_{event.type.word}")
            if event.data.old_path is not None:
                self._names.gone(event.data.old_path, event.data.storage_id)
            self._names.name(event.subject, event.data.storage_id, now)

    def _event(self, waiting: Waiting, seen: Seen | None) -> StorageEvent | None:
        if seen is None or seen.storage_id != waiting.storage_id:
            self._names.drop(waiting.path)  # gone or replaced: the new one waits on its own
            return None
        if seen.size is None:
            return None  # still being written
        if waiting.storage_id is None and abs(seen.modified - waiting.modified) > _SLACK:
            self._names.drop(waiting.path)
            return None
        if seen.storage_id is not None and self._failed(seen.storage_id):
            self._counters.add("failed_uploads")
            self._names.name(waiting.path, seen.storage_id, time.time())
            return None
        self._names.drop(waiting.path)
        former = self._names.former(seen.storage_id)
        if former == seen.path:
            former = None
        log.info("no event has named %s%s", seen.path, "" if former is None else f", formerly {former}")
        return self._storage.event(seen, former)


class _Broker:
    """The broker's side: what was announced, and what is told."""

    def __init__(self, config: ReconcileConfig, counters: Counters, stop: threading.Event) -> None:
        section = config.source
        self._connection = config.kafka.as_user(section.user, section.password_file)
        self._outlet = Outlet(config.kafka, section, counters, stop)

    def announced(self, since: float) -> Iterable[StorageEvent]:
        """Events since a moment; what is none is the router's business."""
        with Feed(self._connection, EVENTS) as feed:
            for entry in feed.until_now(since):
                try:
                    yield StorageEvent.model_validate_json(entry.value)
                except ValidationError:
                    continue

    def tell(self, events: list[StorageEvent]) -> None:
        """Raises BrokerUnavailable when they are not acknowledged in time: they are told again in the next round."""
        left = threading.Semaphore(0)
        for event in events:
            self._outlet.send(event, left.release)
        deadline = time.monotonic() + _ACKNOWLEDGED
        for _ in events:
            self._outlet.check()
            if not left.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise BrokerUnavailable("the broker does not take events", remedy="look at the broker's log")

    def close(self) -> None:
        """Wait for what is on its way."""
        self._outlet.close()


def _storage(config: ReconcileConfig) -> Listing:
    section = config.source
    if config.frontend is not None:
        return DcacheListing(config.frontend.open(), Facts(section.testbed, section.endpoint))
    assert config.webdav is not None  # noqa: S101 - the model has seen to it
    return WebDavListing(config.webdav.open(), section.testbed, section.endpoint)


def _start(path: Path) -> int:
    config = read_config(path, ReconcileConfig)
    section = config.source
    counters = Counters("event-source")
    stop, hurry = service.stop_on_signals(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: hurry.set())
    serve(counters, section.metrics)
    uploads = None
    if config.billing is not None:
        uploads = Uploads(config.kafka.as_user(section.user, section.password_file), config.billing)
    elif config.frontend is not None:
        log.warning("no [billing] table: the partial file of a cut upload cannot be told from a whole one")
    broker = _Broker(config, counters, stop)
    reconciler = Reconciler(
        section,
        _storage(config),
        counters,
        announced=broker.announced,
        tell=broker.tell,
        failed=lambda storage_id: uploads is not None and uploads.fate(storage_id) == "failed",
    )
    while not stop.is_set():
        grace = 0.0 if hurry.is_set() else None
        hurry.clear()
        try:
            reconciler.round(time.time(), grace=grace)
            if counters.state != "running":
                log.info("%s looked through", ", ".join(section.folders))
            counters.state = "running"
        except XdcError as error:
            log.warning("round not finished: %s", error.message)
            counters.add("unfinished_rounds")
            counters.state = "away"
        due = time.monotonic() + section.every
        while not hurry.is_set() and time.monotonic() < due and not stop.wait(_STEP):
            pass
    broker.close()
    reconciler.close()
    if uploads is not None:
        uploads.close()
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-source", "files that no event has named to StorageEvents", _start))
