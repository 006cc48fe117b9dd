"""What EOS says of its files: notifications of its workflow engine and lines of its audit log. Pure.

Written after the documentation of EOS 5 (workflow action `notify`, AUDIT.md); no running EOS was there to compare with.
A notification is the JSON form of a protobuf message: bytes are base64, 64-bit numbers may be strings, the event's name
is an extended attribute. The audit log has one JSON record per line and names successful operations only.

Both tell a file's time of change to the nanosecond, and that is the session of an event's id: what is told by both has
one id. A file's number is in the notification alone and stays out of the id.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from xdc_testbed.events.model import LARGEST_SIZE, LONGEST_PATH, EventType, StorageData, StorageEvent
from xdc_testbed.events.sources.facts import TEMPORARY, clean

_OPERATIONS = {"WRITE": EventType.WRITTEN, "DELETE": EventType.DELETED, "RENAME": EventType.MOVED}
_SILENT_OPERATIONS = frozenset(
    {"CREATE", "TRUNCATE", "UPDATE", "READ", "LIST", "MKDIR", "RMDIR", "SYMLINK"}
    | {"SET_XATTR", "RM_XATTR", "SET_ACL", "CHMOD", "CHOWN"}
)
_EVENTS = {
    "closew": EventType.WRITTEN,
    "sync::closew": EventType.WRITTEN,
    "sync::delete": EventType.DELETED,
    "sync::recycle": EventType.DELETED,
}
_SILENT_EVENTS = frozenset(
    {"open", "closer", "sync::create", "sync::prepare", "sync::abort_prepare", "sync::offline"}
    | {"retrieve_failed", "archive_failed"}
)
_LATEST = 32503680000  # the year 3000


class NotOfEos(ValueError):
    """Something that EOS would not say, or would say of a thing unknown here."""


class Translator:
    """Records to events. checksum: algorithm of the audit log's checksums, whose lines do not name it."""

    def __init__(self, testbed: str, endpoint: str, *, checksum: str = "adler32") -> None:
        self._testbed = testbed
        self._endpoint = endpoint
        self._checksum = checksum

    def audit(self, line: bytes, *, seen: float) -> StorageEvent | None:
        """The event of an audit line; seen: epoch seconds. Raises NotOfEos."""
        told = _object(line)
        operation, path = _text(told, "operation"), _text(told, "path")
        if operation in _SILENT_OPERATIONS or path.endswith("/"):
            return None
        if operation not in _OPERATIONS:
            raise NotOfEos(f"unknown operation {operation!r}")
        kind = _OPERATIONS[operation]
        target = _text(told, "target") if kind == EventType.MOVED else None
        state = _sub(told, "before" if kind == EventType.DELETED else "after")
        moment = _audit_moment(state)
        user = told.get("account")
        return self._event(
            kind,
            path if target is None else target,
            session=moment if target is None else f"{path}:{told.get('timestamp')}",
            seen=seen,
            at=_number(told, "timestamp", _LATEST),
            size=_number(state, "size") if "size" in state else None,
            checksums={self._checksum: str(state["checksum"]).lower()} if state.get("checksum") else {},
            user=str(user) if user else None,
            old_path=None if target is None else path,
            raw={key: told[key] for key in ("operation", "app", "svc", "trace_id") if key in told},
        )

    def notification(self, body: bytes, *, seen: float) -> StorageEvent | None:
        """The event of a notification; seen: epoch seconds. Raises NotOfEos."""
        told = _object(body)
        state, role = _sub(told, "fmd"), told.get("role")
        event = _attribute(state, "notify::event")
        if event in _SILENT_EVENTS:
            return None
        if event not in _EVENTS:
            raise NotOfEos(f"unknown event {event!r}")
        checksum = state.get("checksum")
        user = role.get("username") if isinstance(role, dict) else None
        return self._event(
            _EVENTS[event],
            _decoded(_text(state, "path")),
            session=_notified_moment(state),
            seen=seen,
            at=None,
            size=_number(state, "size") if "size" in state else None,
            checksums=_checksum(checksum) if isinstance(checksum, dict) else {},
            user=str(user) if user else None,
            old_path=None,
            raw={"event": event, **({"id": state["id"]} if isinstance(state.get("id"), int | str) else {})},
        )

    def _event(
        self,
        kind: EventType,
        path: str,
        *,
        session: str,
        seen: float,
        at: int | None,
        size: int | None,
        checksums: Mapping[str, str],
        user: str | None,
        old_path: str | None,
        raw: Mapping[str, Any],
    ) -> StorageEvent | None:
        for each in (path, old_path or "/"):
            if not each.startswith("/") or "\0" in each or len(each) > LONGEST_PATH:
                raise NotOfEos(f"{each[:60]!r} is no path")
        if TEMPORARY.search(path):
            return None
        closed = seen if at is None else max(float(at), min(seen, at + 1.0))  # a whole second only: seen is better
        data = StorageData(
            endpoint=self._endpoint,
            size=size,
            checksums=dict(checksums),
            user=user,
            closed_at=closed,
            old_path=None if old_path is None else clean(old_path),
            raw=dict(raw),
        )
        try:
            event = StorageEvent.make(kind, clean(path), data, testbed=self._testbed, session=session)
            event.to_json()
        except ValueError:
            raise NotOfEos("it holds half a character") from None
        return event


def _object(text: bytes) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotOfEos(f"not JSON: {error}") from None
    if not isinstance(told, dict):
        raise NotOfEos("not a JSON object")
    return told


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    if not isinstance(value, str) or not value:
        raise NotOfEos(f"{key} is missing" if value is None else f"{key} is no text")
    return value


def _sub(told: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = told.get(key)
    if not isinstance(value, dict):
        raise NotOfEos(f"{key} is missing" if value is None else f"{key} is no object")
    return value


def _number(told: Mapping[str, Any], key: str, limit: int = LARGEST_SIZE) -> int:
    value = told.get(key)
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise NotOfEos(f"{key} {str(value)[:40]} is no number")
    return value


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise NotOfEos(f"{value[:60]!r} is no text in base64") from None


def _attribute(state: Mapping[str, Any], name: str) -> str:
    attributes = _sub(state, "xattrs")
    return _decoded(_text(attributes, name))


def _checksum(told: Mapping[str, Any]) -> dict[str, str]:
    name = {"adler": "adler32"}.get(_text(told, "type").lower(), _text(told, "type").lower())
    try:
        return {name: base64.b64decode(_text(told, "value"), validate=True).hex()}
    except binascii.Error:
        raise NotOfEos("checksum is no base64") from None


def _audit_moment(state: Mapping[str, Any]) -> str:
    """`1730985600.123456789` as it is: both records must write it alike."""
    second, separator, fraction = _text(state, "mtime_ns").partition(".")
    if not (second.isdecimal() and separator and fraction.isdecimal() and len(fraction) == 9):
        raise NotOfEos("mtime_ns is no time")
    return f"{int(second)}.{fraction}"


def _notified_moment(state: Mapping[str, Any]) -> str:
    moment = _sub(state, "mtime")
    return f"{_number(moment, 'sec')}.{_number(moment, 'nSec' if 'nSec' in moment else 'nsec', 1_000_000_000):09}"
