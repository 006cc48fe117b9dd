"""Follow a journal line by line into Kafka, and keep the place before the first line that the broker does not have."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.journal import Journal, Line, Place
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import StorageEvent, fault
from xdc_testbed.events.sources.outlet import Outlet, PlaceFile, SourceTable

log = logging.getLogger(__name__)

_STORE_INTERVAL = 0.2

Read: TypeAlias = Callable[[Line, float], StorageEvent | None]
"""What a line means, seen at a moment (epoch seconds); None for nothing. Raises ValueError for a line that is none."""


class JournalTable(SourceTable):
    """The `[source]` table. journal: file to follow; state_file: where the acknowledged place is kept."""

    journal: Path
    state_file: Path

    def check(self) -> None:
        """Raises WrongUsage when the journal's folder is not there."""
        if not self.journal.parent.is_dir():
            raise WrongUsage(f"no folder {self.journal.parent}", remedy="set source.journal to the storage's journal")


class _Sent:
    """One journal line on its way: where to go on after it, and whether the broker has it."""

    __slots__ = ("done", "resume")

    def __init__(self, resume: Place, *, done: bool) -> None:
        self.resume = resume
        self.done = done

    def end(self) -> None:
        """The broker has it."""
        self.done = True


class Follower:
    """One journal. what: how dead letters call it."""

    def __init__(
        self, table: JournalTable, what: str, read: Read, outlet: Outlet, counters: Counters, stop: threading.Event
    ) -> None:
        self._journal_path = table.journal
        self._what = what
        self._read = read
        self._outlet = outlet
        self._counters = counters
        self._stop = stop
        self._places = PlaceFile(table.state_file)
        self._acknowledged = self._places.load(Place())
        self._sent: deque[_Sent] = deque()

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
        self._counters.add("lines")
        try:
            event = self._read(line, time.time())
        except ValueError as error:
            self._counters.add("garbage")
            self._sent.append(sent := _Sent(line.resume, done=False))
            why = fault(error) if isinstance(error, ValidationError) else error
            self._outlet.bury(line.text, f"{self._what} at {line.start.position}: {why}", sent.end)
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
