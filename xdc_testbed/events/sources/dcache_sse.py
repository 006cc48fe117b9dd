"""Turn the storage events of dCache's frontend into StorageEvents: all folders below some, by channel and stream.

dCache watches folders one by one, so every folder that appears is subscribed to and then listed: what was written
before the subscription is found there. The position in the stream is kept with everything that it led to (`tree`); a
connection that breaks goes on from it. A channel that is gone is made anew, and after that, after EVENT_LOSS and after
IN_Q_OVERFLOW the whole tree is listed and compared with what is known: nothing is missed. What the notices mean is in
`watching`. Files that were there before the first start are not told unless `announce_existing` says so.

    python -m xdc_testbed.events.sources.dcache_sse --config /etc/xdc-testbed/event-source.toml
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pydantic import Field

from xdc_testbed.clients.dcache import Busy, Dcache, FileInfo
from xdc_testbed.clients.dcache_events import GARBAGE, EventChannels, Notice
from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError, TokenNotValid, Unreachable
from xdc_testbed.errors import XdcError
from xdc_testbed.events import service
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import EventType
from xdc_testbed.events.sources.facts import Facts, clean
from xdc_testbed.events.sources.frontend import FrontendTable
from xdc_testbed.events.sources.outlet import Outlet, SourceFile, SourceTable
from xdc_testbed.events.sources.stream import ENDED, Stream
from xdc_testbed.events.sources.tree import Tree
from xdc_testbed.events.sources.uploads import BillingTable, Uploads
from xdc_testbed.events.sources.watches import Watches
from xdc_testbed.events.sources.watching import Watching

log = logging.getLogger(__name__)

_BATCH = 500  # notices dealt with at a time
_OPENING = 2.0  # seconds for a stream to answer; a frontend may keep its headers back until there is a notice
_HISTORY = 30.0  # seconds for the billing records to be read at the start
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between two tries
_STEADY = 5.0  # seconds after which a connection counts as one that held


class SseSourceTable(SourceTable):
    """The `[source]` table.

    folders: what to watch, with all that is below; state_file: where the memory is kept (SQLite); kinds: words of the
    events to tell; settle: seconds of quiet after which a written file is looked at; silence: seconds without a byte
    after which the connection is made anew; channel_timeout: seconds that the channel outlives this source.
    """

    folders: tuple[str, ...] = Field(min_length=1)
    state_file: Path
    kinds: frozenset[str] = frozenset({"written", "deleted", "moved", "staged", "qos-changed"})
    settle: float = Field(default=0.25, ge=0)
    silence: float = Field(default=120.0, gt=0)
    channel_timeout: int = Field(default=3600, ge=1)
    announce_existing: bool = False


class SseSourceConfig(SourceFile):
    """The file given with --config. Without `[billing]`, failed uploads are known by their notices only."""

    source: SseSourceTable
    frontend: FrontendTable
    billing: BillingTable | None = None


class Source:
    """The service: stream in, memory kept, Kafka out."""

    def __init__(
        self,
        table: SseSourceTable,
        dcache: Dcache,
        outlet: Outlet,
        counters: Counters,
        stop: threading.Event,
        *,
        parallel: int = 16,
        uploads: Uploads | None = None,
        patience: float = 0.0,
    ) -> None:
        self._table = table
        self._dcache = dcache
        self._channels = EventChannels(dcache)
        self._outlet = outlet
        self._counters = counters
        self._stop = stop
        self._uploads = uploads
        self._tree = Tree(table.state_file)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="lookup")
        roots = tuple(clean(folder) for folder in table.folders)
        self._watches = Watches(self._tree, dcache, counters, self._threads, roots)
        self._sent = 0  # number of the event that was handed to the producer last
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._watching = Watching(
            self._tree,
            Facts(table.testbed, table.endpoint),
            counters,
            settle=table.settle,
            kinds=frozenset(EventType.from_word(word) for word in table.kinds),
            verdict=lambda pnfsid: None if uploads is None else uploads.fate(pnfsid),
            patience=patience,
        )

    def run(self) -> None:
        """Watch until stopped. Raises BrokerUnavailable when the producer can no longer keep its promises."""
        pause = _FIRST_PAUSE
        try:
            while not self._stop.is_set():
                self._outlet.check()
                began = time.monotonic()
                try:
                    self._session()
                except Busy as error:
                    pause = max(pause, error.retry_after)
                    self._trouble(error)
                except (Unreachable, StorageError) as error:
                    self._trouble(error)
                self._deliver()
                if time.monotonic() - began > _STEADY:
                    pause = _FIRST_PAUSE
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._outlet.close()
            self._deliver()
            self._tree.close()
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._outlet.check()

    def _trouble(self, error: XdcError) -> None:
        self._counters.add("connection_errors")
        self._counters.state = "away"
        log.warning("%s", error.message)

    # -- one connection -------------------------------------------------------------------------------------------

    def _session(self) -> None:
        """From connecting to the end of the stream."""
        channel, last = self._tree.get("channel"), self._tree.get("last")
        if channel is None:
            channel, last = self._new_channel(), None
        stream = Stream(self._channels, channel, None if last is None else int(last), self._table.silence)
        try:
            first = stream.get(_OPENING)
            if isinstance(first, Exception):
                self._lost(first)
            if first == ENDED:
                return
            self._watches.open(channel)
            if last is None or self._tree.get("complete") is None or not self._watches.intact():
                self._catch_up()
            self._counters.state = "running"
            log.info("watching %d folders from notice %s", len(self._tree.folders()), self._tree.get("last"))
            self._read(stream)
        finally:
            stream.close()

    def _new_channel(self) -> str:
        """A channel on which nothing is watched yet; former ones of this source are given back."""
        client_id = f"xdc-{self._table.testbed}-{self._table.endpoint}"
        for former in self._channels.find(client_id):
            self._channels.delete(former)
        channel = self._channels.create(client_id, timeout=self._table.channel_timeout)
        self._counters.add("channels")
        for path in self._tree.folders():
            self._tree.unwatch(path)
        self._tree.set("channel", channel)
        self._tree.set("last", None)
        self._tree.set("complete", None)
        self._tree.commit()
        return channel

    def _lost(self, error: Exception) -> None:
        """A stream that did not open. A channel that is gone, or another user's, is given up."""
        if isinstance(error, NotFound | StorageDenied) and not isinstance(error, TokenNotValid):
            log.warning("the channel is gone; making another one")
            self._tree.set("channel", None)
            self._tree.commit()
        raise error

    def _read(self, stream: Stream) -> None:
        while not self._stop.is_set():
            self._outlet.check()
            batch = stream.batch(self._wait(), _BATCH)
            ended = self._take([each for each in batch if isinstance(each, Notice)])
            self._look_up()
            self._grow()
            self._deliver()
            for each in batch:
                if isinstance(each, Exception):
                    self._lost(each)
            if ended or ENDED in batch:
                return

    def _wait(self) -> float:
        due = self._tree.next_due()
        return 0.5 if due is None else min(0.5, max(0.0, due - time.time()))

    def _take(self, notices: list[Notice]) -> bool:
        """Deal with notices; whether the frontend has said that the stream ends."""
        now, ended = time.time(), False
        for notice in notices:
            self._counters.add("notices")
            if notice.kind == "SYSTEM":
                ended |= self._system(notice)
            elif notice.kind == GARBAGE:
                self._counters.add("garbage")
                self._outlet.bury(notice.what.encode(errors="replace"), "dCache notice: cannot be read", lambda: None)
            elif (folder := self._watches.path(notice.subscription)) is not None:
                self._watching.notice(folder, notice, now)
            if notice.id is not None:
                self._tree.set("last", str(notice.id))
        self._watching.overdue(now)
        return ended

    def _system(self, notice: Notice) -> bool:
        match notice.what:
            case "EVENT_LOSS":
                self._counters.add("losses")
                self._watching.relist = True
            case "SUBSCRIPTION_CLOSED":
                self._watching.relist |= self._watches.closed(notice.subscription) in self._watches.roots
            case "COMPETING_CLIENT":
                self._counters.add("competing")
                log.warning("another client reads this channel; two sources of one user need two endpoint names")
                return True
            case "SHUTDOWN":
                return True
        return False

    # -- the tree -------------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Watch and list everything, and tell what has changed since it was seen last."""
        self._counters.add("listings")
        self._watching.relist = False
        self._watching.watch.clear()
        self._tree.set("complete", None)
        found = self._watches.walk(self._stop)
        if self._stop.is_set():
            return
        if self._tree.get("baseline") is None and not self._table.announce_existing:
            self._watching.first_listing(found, time.time())
        else:
            if self._uploads is not None:
                self._uploads.wait(_HISTORY)
            self._watching.caught_up(found, time.time())
        self._tree.set("complete", "yes")
        self._tree.set("baseline", "yes")
        self._deliver()

    def _grow(self) -> None:
        """Watch and list folders that have appeared; leave those that went out of sight; catch up after a loss."""
        try:
            while self._watching.watch:
                entered = self._watches.enter(self._watching.watch[0])
                del self._watching.watch[0]
                if entered is not None:
                    self._watching.listed_folder(entered.children, time.time())
            while self._watching.unwatch:
                self._watches.leave(self._watching.unwatch.pop(0))
        except XdcError:
            self._tree.set("complete", None)  # the next connection begins with a listing
            raise
        if self._watching.relist or self._watches.root_is_missing():
            self._catch_up()

    # -- look-ups and events --------------------------------------------------------------------------------------

    def _look_up(self) -> None:
        ready = self._tree.due(time.time())
        for upload, info in zip(ready, self._threads.map(self._look, [each.path for each in ready]), strict=True):
            self._counters.add("lookups")
            self._watching.looked_up(upload, info, time.time())
        for doubt in self._watching.doubts:
            raw = json.dumps({"path": doubt.path, "pnfsid": doubt.pnfsid}).encode()
            self._outlet.bury(raw, f"not told as written: {doubt.reason}", lambda: None)
        self._watching.doubts.clear()

    def _look(self, path: str) -> FileInfo | None:
        try:
            return self._dcache.stat(path, checksum=True, qos=True)
        except NotFound:
            return None

    def _deliver(self) -> None:
        """Keep what has changed, then hand its events on; those that the broker has are dropped."""
        while not self._acknowledged.empty():
            self._tree.sent(self._acknowledged.get())
        self._tree.commit()
        for number, event in self._tree.outbox(self._sent):
            self._sent = number
            self._outlet.send(event, partial(self._acknowledged.put, number))


def _start(path: Path) -> int:
    config = read_config(path, SseSourceConfig)
    counters = Counters("event-source")
    stop = service.stop_on_signals()
    serve(counters, config.source.metrics)
    section = config.source
    uploads = None
    if config.billing is not None:
        uploads = Uploads(config.kafka.as_user(section.user, section.password_file), config.billing)
    outlet = Outlet(config.kafka, section, counters, stop)
    with config.frontend.open() as dcache:
        source = Source(
            section,
            dcache,
            outlet,
            counters,
            stop,
            parallel=config.frontend.parallel,
            uploads=uploads,
            patience=0.0 if config.billing is None else config.billing.patience,
        )
        source.run()
    if uploads is not None:
        uploads.close()
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-source", "dCache storage events to StorageEvents", _start))
