"""StorageEvents of one endpoint, with ids that every source of that endpoint gives alike.

The id is made of endpoint, type, path, storage id and a session (`model.event_id`). For dCache the storage id is the
pnfsid, new with every write, so that it says most of what a session would. What each source sees, and the session:

| fact        | Kafka (billing)         | SSE                      | listing      | session                       |
| ----------- | ----------------------- | ------------------------ | ------------ | ----------------------------- |
| written     | pnfsid, path            | name, pnfsid looked up   | pnfsid, path | none: one write, one pnfsid   |
| deleted     | pnfsid, path            | name, pnfsid remembered  | -            | none: a pnfsid ends once      |
| moved       | -                       | both names by one cookie | -            | the old path                  |
| staged      | pnfsid, path looked up  | name, locality looked up | -            | the minute                    |
| qos-changed | `store`, class looked up| name, class looked up    | -            | class, on tape or not, minute |
| read        | pnfsid, path, initiator | -                        | -            | the door's session            |

Hence two limits. A file that is moved from A to B twice with the same pnfsid has one `moved` for both. And a class or
locality has no number of its own: the minute tells a second transition from the first, so two sources that learn of one
transition on both sides of a full minute tell it twice, and one file reaching one class twice within a minute is told
once. A source that repeats after a restart has kept the event as it was (see `outbox`), so it never tells it anew.

Paths are written one way: absolute, without doubled or trailing slashes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.events.model import EventType, StorageData, StorageEvent

TEMPORARY = re.compile(r"\.part-[^/]*$")
"""Names that are nobody's business until the file is moved to its final one."""

_SLASHES = re.compile(r"/{2,}")
_MINUTE = 60.0


def clean(path: str) -> str:
    """The one way in which a path is written."""
    return _SLASHES.sub("/", f"/{path}").rstrip("/") or "/"


class Facts:
    """Makes the events of one dCache endpoint.

    at: epoch seconds; size: bytes; raw: what the product said, without credentials.
    """

    def __init__(self, testbed: str, endpoint: str) -> None:
        self._testbed = testbed
        self._endpoint = endpoint

    def written(
        self,
        path: str,
        pnfsid: str,
        *,
        at: float,
        size: int | None = None,
        checksums: Mapping[str, str] | None = None,
        user: str | None = None,
        raw: Mapping[str, Any] | None = None,
    ) -> StorageEvent:
        """A file was written as a whole."""
        return self._make(EventType.WRITTEN, path, pnfsid, "", at, raw, size=size, checksums=checksums, user=user)

    def deleted(
        self, path: str, pnfsid: str, *, at: float, user: str | None = None, raw: Mapping[str, Any] | None = None
    ) -> StorageEvent:
        """A file is gone."""
        return self._make(EventType.DELETED, path, pnfsid, "", at, raw, user=user)

    def moved(self, old: str, info: FileInfo, *, at: float, raw: Mapping[str, Any] | None = None) -> StorageEvent:
        """A file has another name now, that of info."""
        old = clean(old)
        return self._make(
            EventType.MOVED,
            info.path,
            info.pnfsid,
            old,
            at,
            raw,
            size=info.size,
            checksums=info.checksums,
            old_path=old,
        )

    def staged(self, info: FileInfo, *, at: float, raw: Mapping[str, Any] | None = None) -> StorageEvent:
        """A file that was on tape only can be read at once."""
        return self._make(
            EventType.STAGED,
            info.path,
            info.pnfsid,
            _minute(at),
            at,
            {**_class(info), **(raw or {})},
            size=info.size,
            checksums=info.checksums,
        )

    def qos_changed(self, info: FileInfo, *, at: float, raw: Mapping[str, Any] | None = None) -> StorageEvent:
        """A file has reached a class, the one that info tells."""
        session = f"{info.qos}:{'tape' if info.on_tape else 'no-tape'}:{_minute(at)}"
        return self._make(
            EventType.QOS_CHANGED,
            info.path,
            info.pnfsid,
            session,
            at,
            {**_class(info), **(raw or {})},
            size=info.size,
            checksums=info.checksums,
        )

    def read(
        self,
        path: str,
        pnfsid: str,
        *,
        session: str,
        at: float,
        size: int | None = None,
        user: str | None = None,
        raw: Mapping[str, Any] | None = None,
    ) -> StorageEvent:
        """A client has read a file. session: the door's."""
        return self._make(EventType.READ, path, pnfsid, session, at, raw, size=size, user=user)

    def _make(
        self,
        kind: EventType,
        path: str,
        pnfsid: str,
        session: str,
        at: float,
        raw: Mapping[str, Any] | None,
        *,
        size: int | None = None,
        checksums: Mapping[str, str] | None = None,
        user: str | None = None,
        old_path: str | None = None,
    ) -> StorageEvent:
        data = StorageData(
            endpoint=self._endpoint,
            size=size,
            checksums=dict(checksums or {}),
            user=user,
            storage_id=pnfsid,
            closed_at=at,
            old_path=old_path,
            raw=dict(raw or {}),
        )
        return StorageEvent.make(kind, clean(path), data, testbed=self._testbed, session=session)


def _minute(at: float) -> str:
    return str(int(at // _MINUTE))


def _class(info: FileInfo) -> dict[str, Any]:
    return {"qos": info.qos, "locality": info.locality}
