"""What travels through the event pipeline: StorageEvent, WorkItem, Result, DeadLetter. Knows JSON; knows no
broker and no product.

A StorageEvent is a CloudEvent 1.0 in JSON format (structured mode). Its id is a function of the fact alone,
so the same fact seen twice (a replayed journal, a second stream) has the same id and collapses behind the
router.

Everything here is bounded where it comes in, so that what is made of it fits into a record of Kafka (1,000,000 bytes
by librdkafka's default) and into an invocation of OpenWhisk (1 MiB). What is larger stays where it is, and is named
with size and checksum: files, manifests of runs, results.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xdc_testbed import redaction

LARGEST_EVENT = 256 * 1024
"""Bytes of a StorageEvent as JSON."""
LONGEST_PATH = 8192
"""Characters."""
LARGEST_SIZE = 1 << 53
"""Bytes of a file, exclusive: beyond it JSON numbers are no longer exact everywhere."""
LONGEST_REASON = 2000
"""Characters of a reason, in results and dead letters."""

_LARGEST_RAW = 64 * 1024
_LONGEST_GARBAGE = 4096
_LATEST = 32_503_680_000.0  # the year 3000
_ID_DIGITS = 32


class EventType(StrEnum):
    """What happened to a file: the `type` of the CloudEvent."""

    WRITTEN = "org.xdc.storage.file.written.v1"
    READ = "org.xdc.storage.file.read.v1"
    DELETED = "org.xdc.storage.file.deleted.v1"
    MOVED = "org.xdc.storage.file.moved.v1"
    STAGED = "org.xdc.storage.file.staged.v1"
    QOS_CHANGED = "org.xdc.storage.file.qos-changed.v1"
    RUN_COMPLETE = "org.xdc.storage.run.complete.v1"

    @property
    def word(self) -> str:
        """The short word used in rules: `written`, `moved`, ..., `run-complete`."""
        subject, word = self.value.split(".")[-3:-1]
        return word if subject == "file" else f"{subject}-{word}"

    @classmethod
    def from_word(cls, word: str) -> EventType:
        """The type for a short word. Raises ValueError naming the known words."""
        for kind in cls:
            if kind.word == word:
                return kind
        raise ValueError(f"unknown event type {word!r}; known: {', '.join(kind.word for kind in cls)}")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> bytes:
        """This record as compact UTF-8 JSON, absent fields left out."""
        return self.model_dump_json(exclude_none=True).encode()


class FileReference(_Record):
    """A file that is too large to go along, by what its storage said of it. Read it on the event's endpoint."""

    path: str = Field(max_length=LONGEST_PATH)
    size: int | None = None
    checksums: dict[str, str] = Field(default_factory=dict)


class RunData(_Record):
    """What is known of a run that is complete.

    table: the `[[run]]` of the rules that says when it is; by: what made it complete; files: distinct ones that
    have arrived; modules: their names, the first 256; sequences: how many distinct ones; revision: 1, and one more
    each time something arrives after completeness; late: paths that led to this revision, the first 20; manifest: the
    file that lists the run's files, of a run that has one. Otherwise the event's subject, a folder, is the list.
    """

    table: str
    run: str
    by: Literal["count", "manifest", "quiet"]
    files: int
    modules: tuple[str, ...] = ()
    sequences: int = 0
    revision: int
    late: tuple[str, ...] = ()
    manifest: FileReference | None = None


class StorageData(_Record):
    """The `data` of a StorageEvent.

    size: bytes, of a run those of its files; closed_at: epoch seconds at which the storage's notification was seen;
    old_path: of a moved file; checksums: algorithm name to lower-case hexadecimal; run: of a complete run, whose
    folder is the event's subject; raw: what the product said, without credentials.
    """

    endpoint: str
    size: int | None = Field(default=None, ge=0, lt=LARGEST_SIZE)
    checksums: dict[str, str] = Field(default_factory=dict)
    user: str | None = None
    storage_id: str | None = None
    closed_at: float = Field(ge=0, lt=_LATEST, allow_inf_nan=False)
    old_path: str | None = Field(default=None, max_length=LONGEST_PATH)
    run: RunData | None = None
    raw: dict[str, Any] = Field(default_factory=dict)


class StorageEvent(_Record):
    """One change of one file, as a CloudEvent 1.0 (https://github.com/cloudevents/spec, JSON event format
    1.0).

    source: `xdc://<testbed>/<endpoint id>`; subject: the file's path; time: RFC 3339.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1)
    type: EventType
    source: str = Field(min_length=1)
    subject: str = Field(min_length=1, max_length=LONGEST_PATH)
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: StorageData

    @classmethod
    def read(cls, value: bytes) -> StorageEvent:
        """An event out of a record. Raises ValueError with the reason in one line."""
        if len(value) > LARGEST_EVENT:
            raise ValueError(f"it has {len(value)} bytes, more than {LARGEST_EVENT}")
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise ValueError(fault(error)) from None

    @classmethod
    def make(cls, kind: EventType, path: str, data: StorageData, *, testbed: str, session: str) -> StorageEvent:
        """A StorageEvent with its deterministic id; session: what tells this fact from an equal later one."""
        return cls.of_source(kind, path, data, source=f"xdc://{testbed}/{data.endpoint}", session=session)

    @classmethod
    def of_source(cls, kind: EventType, path: str, data: StorageData, *, source: str, session: str) -> StorageEvent:
        """The same, of a source that is known already."""
        return cls(
            id=event_id(data.endpoint, kind, path, data.storage_id, session),
            type=kind,
            source=source,
            subject=path,
            time=datetime.fromtimestamp(data.closed_at, UTC),
            data=data,
        )

    @property
    def key(self) -> str:
        """The Kafka key: all events of one file stay in order."""
        return f"{self.data.endpoint}:{self.subject}"

    def to_json(self) -> bytes:
        """As of every record; what the product said is left out with its size when it is too large."""
        said = super().to_json()
        if len(said) <= _LARGEST_RAW or len(raw := self.data.model_dump_json(include={"raw"})) <= _LARGEST_RAW:
            return said
        short = self.data.model_copy(update={"raw": {"left_out": len(raw)}})
        return super(StorageEvent, self.model_copy(update={"data": short})).to_json()


class WorkItem(_Record):
    """One action to run because of one event.

    rules: version of the rules that asked for it; retries: how often a person took it out of the dead letters.
    """

    id: str
    event: StorageEvent
    rule: str
    action: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    created_at: float
    rules: str | None = None
    retries: int = 0

    @classmethod
    def make(
        cls,
        event: StorageEvent,
        rule: str,
        action: str,
        parameters: dict[str, Any],
        *,
        created_at: float,
        rules: str | None = None,
    ) -> WorkItem:
        """A work item with its deterministic id; created_at: epoch seconds."""
        return cls(
            id=_digest(event.id, rule, action),
            event=event,
            rule=rule,
            action=action,
            parameters=parameters,
            created_at=created_at,
            rules=rules,
        )

    @property
    def key(self) -> str:
        """The Kafka key: that of the event."""
        return self.event.key

    def retried(self, *, created_at: float) -> WorkItem:
        """The same work under the next id, so that the ended first try does not hide it."""
        return self.model_copy(
            update={"id": _digest(self.id, "retry"), "retries": self.retries + 1, "created_at": created_at}
        )


class Times(_Record):
    """Epoch seconds along the way of one work item."""

    closed: float
    event: float
    routed: float
    invoked: float | None = None
    action_started: float | None = None
    ended: float


class Result(_Record):
    """How one work item ended. reason: of a failure; attempts: invocations that were counted (429 is not)."""

    id: str
    event_id: str
    subject: str
    endpoint: str
    rule: str
    action: str
    status: Literal["ok", "failed"]
    reason: str | None = None
    activation_id: str | None = None
    attempts: int
    result: dict[str, Any] = Field(default_factory=dict)
    times: Times

    @property
    def key(self) -> str:
        """The Kafka key: that of the event."""
        return f"{self.endpoint}:{self.subject}"


class DeadLetter(_Record):
    """What could not be done: a failed result with its work item, or a record that is no StorageEvent
    (`raw`).
    """

    id: str
    reason: str
    at: float
    result: Result | None = None
    item: WorkItem | None = None
    raw: str | None = None

    @classmethod
    def of(cls, item: WorkItem, result: Result) -> DeadLetter:
        """The dead letter of a work item that ended as failed."""
        return cls(id=item.id, reason=result.reason or "unknown", at=result.times.ended, result=result, item=item)

    @classmethod
    def of_garbage(cls, raw: bytes, reason: str, *, at: float) -> DeadLetter:
        """The dead letter of a record that could not be read; at most 4 KiB of it are kept, without credentials."""
        said = redaction.shortened(raw.decode(errors="replace"), _LONGEST_GARBAGE)
        return cls(id=_digest(raw.hex()), reason=short_reason(reason), at=at, raw=said)


def fault(error: ValidationError) -> str:
    """The first thing that is wrong with a record: its key and why, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"


def short_reason(reason: str) -> str:
    """A reason as it is kept: one line, without credentials, and not longer than anybody reads."""
    return " ".join(line.strip() for line in redaction.shortened(reason, LONGEST_REASON).splitlines()).strip()


def event_id(endpoint: str, kind: EventType, path: str, storage_id: str | None, session: str) -> str:
    """The deterministic id of a fact: 32 hexadecimal digits."""
    return _digest(endpoint, kind.value, path, storage_id or "", session)


def _digest(*parts: str) -> str:
    """SHA-256 over length-prefixed parts, so that no two lists of parts are written alike."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()[:_ID_DIGITS]
