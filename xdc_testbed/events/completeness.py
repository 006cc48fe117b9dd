"""When a run is complete: what the router remembers of each run, and what it says.

Pure but for the state that is handed in: quixstreams' state of one run (the key of `run-arrivals`), in which each
file has its own entry, so that an arrival costs the same in a run of ten files and of a million. What follows is a
function of the records in their order; after a crash the same records lead to the same event ids.

A run that is complete says so as an event of `run-events`; whatever arrives later leads to one more, with the next
revision. A run that waits for quiet, or for its manifest to be read, asks to be woken by a record of `run-timers`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from xdc_testbed.events.kafka import DEAD_LETTERS, INVOCATIONS, RUN_EVENTS, RUN_TIMERS
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import (
    LARGEST_SIZE,
    DeadLetter,
    EventType,
    FileReference,
    RunData,
    StorageData,
    StorageEvent,
)
from xdc_testbed.events.rules import Rules
from xdc_testbed.events.runs import Arrival, RunTable

log = logging.getLogger(__name__)

_MODULES_NAMED = 256
_LATE_NAMED = 20
_LONGEST_MODULE, _LONGEST_LATE = 255, 1024  # characters: a longer one is not told in the event


@dataclass(frozen=True)
class Output:
    """One record to produce; payload None takes the key out of a compacted topic."""

    topic: str
    key: str
    payload: bytes | None


class Memory(Protocol):
    """The part of a quixstreams State that is used here."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any, ttl: timedelta) -> None: ...

    def delete(self, key: str) -> None: ...


class Timer(BaseModel):
    """A wish to be woken: to ask at `due` (epoch seconds) whether it has been quiet, or to read a manifest then."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arrival: Arrival
    due: float
    manifest: str | None = None


class Head(BaseModel):
    """What is known of a run as a whole. expected and matched: names of the manifest, and those that are there."""

    model_config = ConfigDict(extra="forbid")

    files: int = 0
    size: int = 0
    modules: list[str] = []
    sequences: int = 0
    revision: int = 0
    complete: bool = False
    last_at: float = 0
    waking: bool = False
    manifests: int = 0
    manifest_event: str = ""
    manifest: FileReference | None = None
    expected: int | None = None
    matched: int = 0
    late: list[str] = []


class RunKeeping:
    """What is decided for one record of `run-arrivals`."""

    def __init__(self, rules: Callable[[], Rules], counters: Counters, remember: timedelta) -> None:
        self._rules = rules
        self._counters = counters
        self._remember = remember

    def decide(self, value: bytes, memory: Memory, *, now: float) -> list[Output]:
        """The records that follow: a run event with its work items, a timer, a dead letter, or nothing."""
        try:
            arrival = Arrival.model_validate_json(value)
        except ValidationError as error:
            letter = DeadLetter.of_garbage(value, f"not an arrival: {error.errors()[0]['msg']}", at=now)
            return [Output(DEAD_LETTERS, letter.id, letter.to_json())]
        rules = self._rules()
        table = rules.table(arrival.table)
        if table is None:  # the rules have changed since
            return [Output(RUN_TIMERS, arrival.key, None)]
        run = _Run(table, arrival, memory, self._remember)
        outputs = run.take()
        for event in run.events:
            self._counters.add("runs_complete")
            log.info("run %s is complete, revision %d", arrival.key, event.data.run.revision if event.data.run else 0)
            outputs.append(Output(RUN_EVENTS, event.key, event.to_json()))
            outputs += [Output(INVOCATIONS, item.key, item.to_json()) for item in rules.work(event, now=now)]
        return outputs


class _Run:
    """One record of one run against its memory. events: what it says about the run as a whole."""

    def __init__(self, table: RunTable, arrival: Arrival, memory: Memory, remember: timedelta) -> None:
        self._table = table
        self._arrival = arrival
        self._memory = memory
        self._remember = remember
        self._head = Head.model_validate(memory.get("head") or {})
        self.events: list[StorageEvent] = []

    def take(self) -> list[Output]:
        """Take the record in; what follows besides `events`."""
        match self._arrival.kind:
            case "file":
                outputs = self._file()
            case "gone":
                outputs = self._gone()
            case "manifest":
                outputs = self._manifest()
            case "listed":
                outputs = self._listed()
            case "unlisted":
                outputs = self._unlisted()
            case "ask":
                outputs = self._asked()
        self._keep("head", self._head.model_dump(exclude_defaults=True))
        return outputs

    def _file(self) -> list[Output]:
        head, arrival, name = self._head, self._arrival, _file_key(self._arrival.path)
        known = self._memory.get(name)
        if known is not None and known[0] == arrival.event_id:
            return []
        size = arrival.size or 0
        self._keep(name, [arrival.event_id, size])
        head.size += size - (known[1] if known else 0)
        if known is None:
            head.files += 1
            head.matched += self._is_listed(arrival.path)
            self._name_parts()
        head.last_at = arrival.at
        late = head.revision > 0
        if late:
            _note(head.late, arrival.path, _LATE_NAMED, _LONGEST_LATE)
        expect = self._table.expect
        if expect.quiet_seconds is not None:
            head.complete = False
            return self._wake(arrival.at + expect.quiet_seconds)
        if (late and head.complete) or self._has_all():
            self._say_complete()
        return []

    def _gone(self) -> list[Output]:
        """A file that goes before its run is complete is missing; afterwards it is somebody's tidying up."""
        name = _file_key(self._arrival.path)
        known = self._memory.get(name)
        if known is not None:
            self._memory.delete(name)
            self._head.files -= 1
            self._head.size -= known[1]
            self._head.matched -= self._is_listed(self._arrival.path)
        return []

    def _manifest(self) -> list[Output]:
        if self._arrival.event_id == self._head.manifest_event:
            return []
        arrival = self._arrival
        self._head.manifest_event = arrival.event_id
        self._head.manifest = FileReference(path=arrival.path, size=arrival.size, checksums=arrival.checksums)
        return [self._timer(self._arrival.at, manifest=self._arrival.path)]

    def _listed(self) -> list[Output]:
        head = self._head
        if self._arrival.event_id == head.manifest_event:  # else a newer manifest is about to be read
            head.manifests += 1
            names = {_in_folder(self._arrival.folder, name) for name in self._arrival.names}
            for path in names:
                self._keep(self._listing_key(path), 1)
            head.expected = len(names)
            head.matched = sum(self._memory.get(_file_key(path)) is not None for path in names)
            if head.revision > 0:
                _note(head.late, self._arrival.path, _LATE_NAMED, _LONGEST_LATE)
            head.complete = False
            if self._has_all():
                self._say_complete()
        return [Output(RUN_TIMERS, self._arrival.key, None)]

    def _unlisted(self) -> list[Output]:
        arrival = self._arrival
        reason = f"manifest {arrival.path} of run {arrival.key} could not be read: {arrival.reason}"
        letter = DeadLetter.of_garbage(arrival.to_json(), reason, at=arrival.at)
        return [
            Output(DEAD_LETTERS, letter.id, letter.to_json()),
            Output(RUN_TIMERS, arrival.key, None),
        ]

    def _asked(self) -> list[Output]:
        head, quiet = self._head, self._table.expect.quiet_seconds
        head.waking = False
        if quiet is None or head.complete or head.files == 0:
            return [Output(RUN_TIMERS, self._arrival.key, None)]
        if self._arrival.at < head.last_at + quiet:
            return self._wake(head.last_at + quiet)
        self._say_complete()
        return [Output(RUN_TIMERS, self._arrival.key, None)]

    def _wake(self, due: float) -> list[Output]:
        """One timer at a time: that of the first file is asked first, and then learns of the later ones."""
        if self._head.waking:
            return []
        self._head.waking = True
        return [self._timer(due)]

    def _timer(self, due: float, *, manifest: str | None = None) -> Output:
        timer = Timer(arrival=self._arrival, due=due, manifest=manifest)
        return Output(RUN_TIMERS, self._arrival.key, timer.model_dump_json(exclude_defaults=True).encode())

    def _has_all(self) -> bool:
        head, count = self._head, self._table.expect.count
        if head.complete:
            return False
        return head.files >= count if count is not None else head.expected is not None and head.matched >= head.expected

    def _say_complete(self) -> None:
        head, arrival = self._head, self._arrival
        head.revision += 1
        head.complete = True
        data = StorageData(
            endpoint=arrival.endpoint,
            size=min(head.size, LARGEST_SIZE - 1),
            closed_at=head.last_at or arrival.at,
            run=RunData(
                table=self._table.name,
                run=arrival.run,
                by=self._table.expect.by,
                files=head.files,
                modules=tuple(sorted(head.modules)),
                sequences=head.sequences,
                revision=head.revision,
                late=tuple(head.late),
                manifest=head.manifest,
            ),
        )
        head.late = []
        session = f"{self._table.name}:{head.revision}"
        self.events.append(
            StorageEvent.of_source(EventType.RUN_COMPLETE, arrival.folder, data, source=arrival.source, session=session)
        )

    def _name_parts(self) -> None:
        module, sequence = self._arrival.module, self._arrival.sequence
        if module is not None and module not in self._head.modules:
            _note(self._head.modules, module, _MODULES_NAMED, _LONGEST_MODULE)
        if sequence is not None and self._memory.get(f"s/{sequence}") is None:
            self._keep(f"s/{sequence}", 1)
            self._head.sequences += 1

    def _is_listed(self, path: str) -> bool:
        return self._head.expected is not None and self._memory.get(self._listing_key(path)) is not None

    def _listing_key(self, path: str) -> str:
        return f"m{self._head.manifests}/{_short(path)}"

    def _keep(self, key: str, value: Any) -> None:
        self._memory.set(key, value, ttl=self._remember)


def _note(names: list[str], name: str, most: int, longest: int) -> None:
    """Add a name to a list that goes along in the event, which must stay small."""
    if len(names) < most and len(name) <= longest:
        names.append(name)


def _file_key(path: str) -> str:
    return f"f/{_short(path)}"


def _short(path: str) -> str:
    return hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:24]


def _in_folder(folder: str, name: str) -> str:
    return name if name.startswith("/") else f"{folder}/{name}"
