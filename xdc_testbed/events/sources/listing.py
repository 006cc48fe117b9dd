"""Files as a listing shows them, and the events that they would have had: dCache by its frontend, others by WebDAV."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xdc_testbed.clients.dcache import Dcache, FileInfo
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.multistatus import Entry
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.events.sources.facts import Facts, clean
from xdc_testbed.events.sources.watching import finished

_RAW = {"seen": "listing"}


@dataclass(frozen=True)
class Seen:
    """One name. size: bytes, None while it is being written; modified: epoch seconds; storage_id: None where the
    storage has none.
    """

    path: str
    is_directory: bool
    size: int | None
    modified: float
    storage_id: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)


class Listing(Protocol):
    """A storage that can be listed. Errors are those of the clients."""

    def folder(self, path: str, known: float | None) -> tuple[float | None, list[Seen] | None] | None:
        """A folder's time of change and what is in it; None when it is not there.

        The time says that nothing in it has appeared, gone or been written anew; None where it says too little. What
        is in it is None when the time is still the known one.
        """

    def file(self, path: str) -> Seen | None:
        """One file now, with its checksums; None when it is not there."""

    def event(self, seen: Seen, former: str | None) -> StorageEvent:
        """The event of a file that no event has named; former: the path by which one has named it."""


class DcacheListing:
    """dCache. A folder's time changes with every name in it that is made, removed, renamed or overwritten."""

    def __init__(self, client: Dcache, facts: Facts) -> None:
        self._client = client
        self._facts = facts

    def folder(self, path: str, known: float | None) -> tuple[float | None, list[Seen] | None] | None:
        """As Listing."""
        try:
            if known is not None and self._client.stat(path).modified == known:
                return known, None
            own, children = self._client.listing(path, qos=True)
        except NotFound:
            return None
        return own.modified, [_seen(info) for info in children]

    def file(self, path: str) -> Seen | None:
        """As Listing."""
        try:
            return _seen(self._client.stat(path, checksum=True, qos=True))
        except NotFound:
            return None

    def event(self, seen: Seen, former: str | None) -> StorageEvent:
        """With the id that every source of dCache gives."""
        at, pnfsid = time.time(), seen.storage_id or ""
        if former is None:
            return self._facts.written(seen.path, pnfsid, at=at, size=seen.size, checksums=seen.checksums, raw=_RAW)
        info = FileInfo(seen.path, pnfsid, False, seen.size, 0.0, 0.0, checksums=seen.checksums)
        return self._facts.moved(former, info, at=at, raw=_RAW)


class WebDavListing:
    """A storage seen by PROPFIND, XRootD for example. Files may be rewritten in place, so every folder is listed.

    Such a storage gives a file no id, and the id of XRootD's own events is made of the place in its journal: an event
    that comes after the grace time has another id than this one.
    """

    def __init__(self, client: WebDav, testbed: str, endpoint: str) -> None:
        self._client = client
        self._testbed = testbed
        self._endpoint = endpoint

    def folder(self, path: str, known: float | None) -> tuple[float | None, list[Seen] | None] | None:  # noqa: ARG002
        """As Listing."""
        try:
            return None, [_entry(entry) for entry in self._client.list(path)]
        except NotFound:
            return None

    def file(self, path: str) -> Seen | None:
        """As Listing."""
        try:
            found = self._client.head(path)
        except NotFound:
            return None
        return Seen(path, False, found.size, found.mtime or 0.0, checksums=found.checksums)

    def event(self, seen: Seen, former: str | None) -> StorageEvent:  # noqa: ARG002 - no id, so never known
        """One event for one size and time of change."""
        data = StorageData(
            endpoint=self._endpoint,
            size=seen.size,
            checksums=dict(seen.checksums),
            closed_at=time.time(),
            raw=dict(_RAW),
        )
        session = f"listing:{int(seen.modified)}:{seen.size}"
        return StorageEvent.make(EventType.WRITTEN, seen.path, data, testbed=self._testbed, session=session)


def _seen(info: FileInfo) -> Seen:
    size = info.size if info.is_directory or finished(info) else None
    return Seen(info.path, info.is_directory, size, info.modified, info.pnfsid, info.checksums)


def _entry(entry: Entry) -> Seen:
    return Seen(clean(entry.path), entry.is_directory, entry.size, entry.mtime or 0.0)
