"""Turn XRootD's change notifications into StorageEvents in Kafka. Knows XRootD's oddities; knows nothing of
rules or actions.

XRootD gives one JSON line per change (`ofs.notify`, `ofs.notifymsg`) to a program that appends it to a
journal file. This service follows the journal, produces the events, and stores how far the broker has
acknowledged them: a restart goes on from there, and what is produced twice has the same id twice.

    python -m xdc_testbed.events.sources.xrootd --config /etc/xdc-testbed/event-source.toml
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import service
from xdc_testbed.events.journal import Journal, Line, Place
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.events.sources.facts import TEMPORARY
from xdc_testbed.events.sources.outlet import Outlet, PlaceFile, SourceFile, SourceTable

log = logging.getLogger(__name__)

# XRootD puts names between the quotes as they are, without JSON escapes: a name may hold quotes and
# backslashes.
_NOTICE = re.compile(
    r'\{"ev":"(?P<ev>[a-z]+)"'
    r'(?:,"tid":"(?P<tid>[^"]*)")?'
    r'(?:,"lfn":"(?P<lfn>/.*?)")?'
    r'(?:,"lfn2":"(?P<lfn2>/.*?)")?'
    r'(?:,"size":"(?P<size>\d*)")?'
    r'(?:,"at":(?P<at>\d+\.\d+))?\}'
)
_UNINTERESTING = frozenset({"create", "mkdir", "rmdir", "trunc", "chmod", "openr", "openw", "closer", "fwrite"})
_KEPT_SIZES = 10_000
_STORE_INTERVAL = 0.2


class JournalTable(SourceTable):
    """The `[source]` table. journal: file to follow; state_file: where the acknowledged place is kept."""

    journal: Path
    state_file: Path


class SourceConfig(SourceFile):
    """The file given with --config."""

    source: JournalTable


class NotANotice(ValueError):
    """A journal line that XRootD would not write."""


@dataclass(frozen=True)
class Notice:
    """One XRootD notification.

    tid: `user.pid:fd@host` of the client; lfn2: new name of a moved file; size: bytes; at: epoch seconds at
    which the storage said it, added by the program that writes the journal.
    """

    ev: str
    lfn: str
    tid: str = ""
    lfn2: str | None = None
    size: int | None = None
    at: float | None = None

    @classmethod
    def parse(cls, line: bytes) -> Notice:
        """Read a journal line. Raises NotANotice."""
        found = _NOTICE.fullmatch(line.decode(errors="backslashreplace"))
        if found is None or (found["lfn"] is None and found["ev"] not in _UNINTERESTING):
            raise NotANotice(f"not a notification: {line[:200]!r}")
        size = int(found["size"]) if found["size"] else None
        return cls(
            ev=found["ev"],
            lfn=found["lfn"] or "",
            tid=found["tid"] or "",
            lfn2=found["lfn2"],
            size=size,
            at=float(found["at"]) if found["at"] else None,
        )


class Translator:
    """Notices to events. Remembers the sizes of written files, so that a file moved to its final name has
    one.
    """

    def __init__(self, testbed: str, endpoint: str) -> None:
        self._testbed = testbed
        self._endpoint = endpoint
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def translate(self, notice: Notice, place: Place, *, seen: float) -> StorageEvent | None:
        """The event that a notice at a place of the journal means, or None; seen: epoch seconds.

        Temporary names (`*.part-*`) are nobody's business until they are moved to their final name. An
        aborted upload is a closew and then an rm of the same file: the rm says that it is gone.
        """
        match notice.ev:
            case "closew":
                self._remember(notice.lfn, notice.size)
                return self._event(EventType.WRITTEN, notice.lfn, notice, place, seen, size=notice.size)
            case "mv" if notice.lfn2 is not None:
                size = self._sizes.pop(notice.lfn, None)
                self._remember(notice.lfn2, size)
                return self._event(EventType.MOVED, notice.lfn2, notice, place, seen, size=size, old_path=notice.lfn)
            case "rm":
                self._sizes.pop(notice.lfn, None)
                return self._event(EventType.DELETED, notice.lfn, notice, place, seen)
            case _:
                return None

    def _remember(self, path: str, size: int | None) -> None:
        if size is not None:
            self._sizes[path] = size
            self._sizes.move_to_end(path)
            if len(self._sizes) > _KEPT_SIZES:
                self._sizes.popitem(last=False)

    def _event(
        self,
        kind: EventType,
        path: str,
        notice: Notice,
        place: Place,
        seen: float,
        *,
        size: int | None = None,
        old_path: str | None = None,
    ) -> StorageEvent | None:
        if TEMPORARY.search(path):
            return None
        user = notice.tid.partition(".")[0]
        data = StorageData(
            endpoint=self._endpoint,
            size=size,
            user=user if user not in ("", "unknown") else None,
            closed_at=notice.at or seen,
            old_path=old_path,
            raw={"ev": notice.ev, "tid": notice.tid},
        )
        session = f"{place.inode}:{place.generation}:{place.position}"
        return StorageEvent.make(kind, path, data, testbed=self._testbed, session=session)


class _Sent:
    """One journal line on its way: where to go on after it, and whether the broker has it."""

    __slots__ = ("done", "resume")

    def __init__(self, resume: Place, *, done: bool) -> None:
        self.resume = resume
        self.done = done

    def end(self) -> None:
        """The broker has it."""
        self.done = True


class Source:
    """The service: journal in, Kafka out, acknowledged place kept."""

    def __init__(self, config: SourceConfig, counters: Counters, stop: threading.Event) -> None:
        section = config.source
        self._counters = counters
        self._stop = stop
        self._translator = Translator(section.testbed, section.endpoint)
        self._places = PlaceFile(section.state_file)
        self._acknowledged = self._places.load(Place())
        self._journal_path = section.journal
        self._sent: deque[_Sent] = deque()
        self._outlet = Outlet(config.kafka, section, counters, stop)

    def run(self) -> None:
        """Follow until stopped. Raises BrokerUnavailable when the producer can no longer keep its
        promises.
        """
        stored_at = time.monotonic()
        with Journal(self._journal_path, self._acknowledged) as journal:
            self._counters.state = "running"
            log.info("following %s from %s", self._journal_path, self._acknowledged)
            while not self._stop.is_set() and not self._outlet.failed:
                for line in journal.lines(timeout=_STORE_INTERVAL if self._sent else 1.0):
                    self._send(line)
                if time.monotonic() - stored_at >= _STORE_INTERVAL:
                    self._store()
                    stored_at = time.monotonic()
            self._outlet.close()
            self._store()
        self._outlet.check()

    def _send(self, line: Line) -> None:
        seen = time.time()
        self._counters.add("lines")
        try:
            event = self._translator.translate(Notice.parse(line.text), line.start, seen=seen)
        except NotANotice as error:
            self._counters.add("garbage")
            self._sent.append(sent := _Sent(line.resume, done=False))
            self._outlet.bury(line.text, f"XRootD journal at {line.start.position}: {error}", sent.end)
            return
        self._sent.append(sent := _Sent(line.resume, done=event is None))
        if event is not None:
            self._outlet.send(event, sent.end)

    def _store(self) -> None:
        """Keep the place before the first line that the broker has not acknowledged."""
        place = self._acknowledged
        while self._sent and self._sent[0].done:
            place = self._sent.popleft().resume
        if place != self._acknowledged:
            self._places.store(place)
            self._acknowledged = place


def _start(path: Path) -> int:
    config = read_config(path, SourceConfig)
    counters = Counters("event-source")
    stop = service.stop_on_signals()
    serve(counters, config.source.metrics)
    if not config.source.journal.parent.is_dir():
        raise WrongUsage(f"no folder {config.source.journal.parent}", remedy="set source.journal to XRootD's journal")
    Source(config, counters, stop).run()
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-source", "XRootD change notifications to StorageEvents", _start))
