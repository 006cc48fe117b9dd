"""Turn dCache's billing records into StorageEvents. Knows dCache; knows nothing of rules or actions.

A record of an upload has no checksum, so the event is completed through the frontend: look-ups run side by side, and
the events of one path are told in the order of their records. Without a `[frontend]` table, or when the frontend does
not answer within its patience, the event has the size only and says so (`raw.namespace`). An offset is committed when
the broker has the event; what is told twice after a crash has the same id twice. A record that cannot be read becomes
a dead letter.

Announced are uploads, removals through a door, and with a frontend: copies to tape (`store`, as qos-changed) and back
(`restore`, as staged; its path is told administrators only). Renames, removals by REST and changes of class that move
no data leave no record: `dcache_sse` sees those.

    python -m xdc_testbed.events.sources.dcache_kafka --config /etc/xdc-testbed/event-source.toml
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from pydantic import Field, ValidationError

from xdc_testbed.events import service
from xdc_testbed.events.intake import Intake, Record
from xdc_testbed.events.kafka import BrokerUnavailable, read_config
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import EventType, StorageEvent, fault
from xdc_testbed.events.sources import billing
from xdc_testbed.events.sources.facts import TEMPORARY, Facts, clean
from xdc_testbed.events.sources.frontend import FrontendTable
from xdc_testbed.events.sources.lookup import Lookup
from xdc_testbed.events.sources.outlet import Outlet, SourceFile, SourceTable
from xdc_testbed.events.sources.recent import Recent

log = logging.getLogger(__name__)

_DRAIN = 5.0  # seconds at the end for what is on its way
_LOOK = 0.2  # seconds between two looks at the producer's health


class KafkaSourceTable(SourceTable):
    """The `[source]` table. topic: of the billing records; group and instance: of this consumer, all instances of one
    endpoint in one group; folders: only what lies below them, everything when empty; kinds: words of the events to
    tell; limit: records at work at a time.
    """

    topic: str = "billing"
    group: str = "event-source"
    instance: str = "event-source-1"
    folders: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset({"written", "deleted", "staged", "qos-changed"})
    limit: int = Field(default=2000, ge=1, le=50_000)


class KafkaSourceConfig(SourceFile):
    """The file given with --config."""

    source: KafkaSourceTable
    frontend: FrontendTable | None = None


class Teller:
    """Records in, events out: each record ends once what it means has been told.

    send, bury: those of an Outlet; ended: called in the event loop when a record has ended.
    """

    def __init__(
        self,
        table: KafkaSourceTable,
        lookup: Lookup | None,
        outlet: Outlet,
        counters: Counters,
        ended: Callable[[Record], None],
    ) -> None:
        self._kinds = {EventType.from_word(word) for word in table.kinds}
        self._folders = tuple(clean(folder).rstrip("/") + "/" for folder in table.folders)
        self._facts = Facts(table.testbed, table.endpoint)
        self._lookup = lookup
        self._outlet = outlet
        self._counters = counters
        self._ended = ended
        self._told = Recent()
        self._last: dict[str, asyncio.Task[None]] = {}  # by path: the event told last is the one to wait for
        self._loop = asyncio.get_running_loop()
        self.failure: asyncio.Future[None] = self._loop.create_future()
        self.outstanding = 0

    def accept(self, batch: list[Record]) -> None:
        """Take records, in their order."""
        for record in batch:
            self.outstanding += 1
            self._counters.add("records")
            try:
                self._take(record, billing.parse(record.value))
            except ValueError as error:
                self._counters.add("garbage")
                why = fault(error) if isinstance(error, ValidationError) else error
                self._outlet.bury(record.value, f"dCache record: {why}", self._done(record))

    async def drain(self, seconds: float) -> None:
        """Wait for what is at work."""
        if self._last:
            await asyncio.wait(list(self._last.values()), timeout=seconds)

    def _take(self, record: Record, fact: billing.Record) -> None:
        if isinstance(fact, billing.Nothing):
            self._skip(record, f"nothing_{fact.why}")
        elif isinstance(fact, billing.Failed):
            log.info("upload of %s has failed: %d %s", fact.path, fact.code, fact.message)
            self._skip(record, "failed_uploads")
        elif isinstance(fact, billing.Tape):
            kind = EventType.QOS_CHANGED if fact.stored else EventType.STAGED
            if kind not in self._kinds or self._lookup is None:
                self._skip(record, f"nothing_{'store' if fact.stored else 'restore'}")
            else:
                self._start(record, fact.path or fact.pnfsid, self._tape(self._lookup, fact))
        else:
            self._file(record, fact)

    def _file(self, record: Record, fact: billing.Written | billing.Read | billing.Deleted) -> None:
        draft = self._draft(fact)
        if draft.type not in self._kinds or not self._wanted(draft.subject):
            self._skip(record, "unwanted")
        elif not self._told.add(draft.id):
            self._skip(record, "repeated")  # both publishing paths, or doors and pools, told of it
        else:
            self._start(record, draft.subject, self._complete(draft, fact))

    def _draft(self, fact: billing.Written | billing.Read | billing.Deleted) -> StorageEvent:
        match fact:
            case billing.Written():
                return self._facts.written(
                    fact.path, fact.pnfsid, at=fact.at, size=fact.size, user=fact.user, raw=fact.raw
                )
            case billing.Deleted():
                return self._facts.deleted(fact.path, fact.pnfsid, at=fact.at, user=fact.user, raw=fact.raw)
            case billing.Read():
                return self._facts.read(
                    fact.path,
                    fact.pnfsid,
                    session=fact.session,
                    at=fact.at,
                    size=fact.size,
                    user=fact.user,
                    raw=fact.raw,
                )

    async def _complete(
        self, draft: StorageEvent, fact: billing.Written | billing.Read | billing.Deleted
    ) -> StorageEvent | None:
        if not isinstance(fact, billing.Written) or self._lookup is None:
            return draft
        found = await self._lookup.file(draft.subject)
        if found.info is None:
            self._counters.add("unchecked" if found.unanswered else "gone")
        elif found.info.pnfsid != fact.pnfsid:
            self._counters.add("replaced")
        else:
            return self._facts.written(
                fact.path,
                fact.pnfsid,
                at=fact.at,
                size=fact.size if found.info.size is None else found.info.size,
                checksums=found.info.checksums,
                user=fact.user,
                raw=fact.raw,
            )
        raw = {**fact.raw, "namespace": found.reason or "another file has this name"}
        return self._facts.written(fact.path, fact.pnfsid, at=fact.at, size=fact.size, user=fact.user, raw=raw)

    async def _tape(self, lookup: Lookup, fact: billing.Tape) -> StorageEvent | None:
        found = await (lookup.by_id(fact.pnfsid) if fact.path is None else lookup.file(fact.path, qos=True))
        if found.info is None or found.info.pnfsid != fact.pnfsid:
            self._counters.add("unnamed_restore" if fact.path is None else "gone")
            return None
        if not self._wanted(found.info.path) or found.info.target_qos is not None:
            return None
        make = self._facts.qos_changed if fact.stored else self._facts.staged
        event = make(found.info, at=fact.at, raw=fact.raw)
        return event if self._told.add(event.id) else None

    def _start(self, record: Record, path: str, work: Any) -> None:
        before, began = self._last.get(path), time.perf_counter()

        async def tell() -> None:
            event: StorageEvent | None = await work
            if before is not None:
                await asyncio.wait([before])
            if event is None:
                self._end(record)
            else:
                self._counters.add(event.type.word.replace("-", "_"))
                self._outlet.send(event, self._done(record, began))

        task = self._loop.create_task(tell())
        self._last[path] = task
        task.add_done_callback(lambda done: self._settle(path, done))

    def _settle(self, path: str, task: asyncio.Task[None]) -> None:
        if self._last.get(path) is task:
            del self._last[path]
        if not task.cancelled() and (error := task.exception()) is not None and not self.failure.done():
            self.failure.set_exception(error)

    def _wanted(self, path: str) -> bool:
        return not TEMPORARY.search(path) and (not self._folders or path.startswith(self._folders))

    def _skip(self, record: Record, counter: str) -> None:
        self._counters.add(counter)
        self._end(record)

    def _end(self, record: Record, began: float | None = None) -> None:
        if began is not None:
            self._counters.observe("record_to_acknowledgement_seconds", time.perf_counter() - began)
        self.outstanding -= 1
        self._counters.set("outstanding", self.outstanding)
        self._ended(record)

    def _done(self, record: Record, began: float | None = None) -> Callable[[], None]:
        def back_in_loop() -> None:
            try:
                self._loop.call_soon_threadsafe(self._end, record, began)
            except RuntimeError:  # the loop has ended: the record is read again at the next start
                log.debug("acknowledged after the end")

        return back_in_loop


async def run(config: KafkaSourceConfig, counters: Counters) -> None:
    """Run until SIGTERM or SIGINT. Raises BrokerUnavailable when events can no longer be told."""
    section = config.source
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    closed = threading.Event()
    outlet = Outlet(config.kafka, section, counters, closed)
    lookup = None if config.frontend is None else Lookup(config.frontend, counters)
    teller = Teller(section, lookup, outlet, counters, lambda record: intake.end(record))
    intake = Intake(
        config.kafka.as_user(section.user, section.password_file),
        section.topic,
        section.group,
        section.instance,
        before=lambda _: None,
        assigned=lambda: None,
        deliver=teller.accept,
        outstanding=lambda: teller.outstanding,
        limit=section.limit,
    )
    reading = intake.start()
    tasks = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(_watch(outlet))]
    counters.state = "running"
    try:
        ways_out: list[asyncio.Future[Any]] = [reading, teller.failure, *tasks]
        first, _ = await asyncio.wait(ways_out, return_when=asyncio.FIRST_COMPLETED)
        counters.state = "stopping"
        intake.stop()
        await teller.drain(_DRAIN if tasks[0] in first else 0)
        await asyncio.to_thread(outlet.close)
        for future in first - {tasks[0]}:
            future.result()
    finally:
        for task in tasks:
            task.cancel()
        closed.set()
        await intake.close()
        if lookup is not None:
            lookup.close()


async def _watch(outlet: Outlet) -> None:
    while True:
        outlet.check()
        await asyncio.sleep(_LOOK)


def _start(path: Path) -> int:
    config = read_config(path, KafkaSourceConfig)
    counters = Counters("event-source")
    serve(counters, config.source.metrics)
    try:
        asyncio.run(run(config, counters))
    except KafkaException as error:
        raise BrokerUnavailable(
            f"source stopped: {error.args[0]}", remedy="the next start goes on from the last commit"
        ) from error
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-source", "dCache billing records to StorageEvents", _start))
