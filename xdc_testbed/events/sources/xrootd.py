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
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.events import service
from xdc_testbed.events.journal import Line, Place
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.events.sources.facts import TEMPORARY
from xdc_testbed.events.sources.follower import Follower, JournalTable
from xdc_testbed.events.sources.outlet import Outlet, SourceFile

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


def _start(path: Path) -> int:
    config = read_config(path, SourceConfig)
    counters = Counters("event-source")
    stop = service.stop_on_signals()
    serve(counters, config.source.metrics)
    config.source.check()
    translator = Translator(config.source.testbed, config.source.endpoint)

    def read(line: Line, seen: float) -> StorageEvent | None:
        return translator.translate(Notice.parse(line.text), line.start, seen=seen)

    outlet = Outlet(config.kafka, config.source, counters, stop)
    Follower(config.source, "XRootD journal", read, outlet, counters, stop).run()
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-source", "XRootD change notifications to StorageEvents", _start))
