"""dCache's billing records, as doors, pools and the billing cell send them to Kafka. Pure.

Both publishing paths (`dcache.enable.kafka`, `dcache.billing.enable.kafka`) are read, also out of one topic. Oddities
seen on the wire (11.2.5, 12.0.1): `VERSION` in records of doors and `version` in all others; `isWrite` is a word; a
`date` has zero to nine digits after the second; a copy between pools is a `transfer` without a path; `restore` has none
either; a third-party push tells one byte less than it sent; a failed upload is a `transfer` whose status code is not 0,
and its file may stay in the namespace; a `remove` of a pool concerns a replica, not the file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from xdc_testbed.events.model import LARGEST_SIZE, LONGEST_PATH

_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
_PNFSID = re.compile(r"[0-9A-F]{36}|[0-9A-F]{24}")
_USER = re.compile(r"UserNamePrincipal\[(.*)\]", re.DOTALL)
_UNKNOWN = "Unknown"
_LATEST = 32503680000.0  # the year 3000
_SILENT = frozenset({"hit", "warning", "check"})


class NotARecord(ValueError):
    """Something that dCache would not send, or would send for a thing unknown here."""


@dataclass(frozen=True)
class Written:
    """An upload, a third-party pull among them, that has ended well."""

    pnfsid: str
    path: str
    size: int
    at: float
    user: str | None
    raw: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """An upload that has not."""

    pnfsid: str
    path: str
    code: int
    message: str


@dataclass(frozen=True)
class Read:
    """A download, a third-party push among them, that has ended well. session: the door's."""

    pnfsid: str
    path: str
    size: int
    session: str
    at: float
    user: str | None
    raw: dict[str, Any]


@dataclass(frozen=True)
class Deleted:
    """A file removed through a door."""

    pnfsid: str
    path: str
    at: float
    user: str | None
    raw: dict[str, Any]


@dataclass(frozen=True)
class Tape:
    """A copy was written to tape (stored) or fetched from it; the path of a fetched file is not told."""

    pnfsid: str
    path: str | None
    stored: bool
    at: float
    raw: dict[str, Any]


@dataclass(frozen=True)
class Nothing:
    """A record that says nothing of a file. why: for the counters."""

    why: str


Record: TypeAlias = Written | Failed | Read | Deleted | Tape | Nothing


def parse(value: bytes | None) -> Record:
    """Read one record. Raises NotARecord with the reason."""
    try:
        told = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        raise NotARecord(f"not JSON: {error}") from None
    if not isinstance(told, dict):
        raise NotARecord("not a JSON object")
    if b"\\u" in (value or b"") and not _is_text(told):
        raise NotARecord("it holds half a character")
    kind = told.get("msgType")
    version = told.get("version", told.get("VERSION"))
    if not isinstance(kind, str):
        raise NotARecord("no msgType")
    if version != "1.0":
        raise NotARecord(f"{kind} of unknown version {version!r}" if version is not None else f"{kind} without version")
    match kind:
        case "transfer":
            return _transfer(_Fields(told))
        case "request":
            return _request(_Fields(told))
        case "remove":
            return _remove(_Fields(told))
        case "store" | "restore":
            return _tape(_Fields(told), stored=kind == "store")
        case _ if kind in _SILENT:
            return Nothing(kind)
        case _:
            raise NotARecord(f"unknown msgType {kind!r}")


class _Fields:
    """The keys of a record, each read with its type."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told
        self.kind = str(told.get("msgType"))

    def has(self, key: str) -> bool:
        return key in self._told

    def text(self, key: str) -> str:
        value = self._told.get(key)
        if not isinstance(value, str) or not value:
            raise NotARecord(f"{self.kind}: {key} is missing" if value is None else f"{self.kind}: {key} is no text")
        return value

    def sub(self, key: str) -> _Fields:
        value = self._told.get(key)
        if not isinstance(value, dict):
            raise NotARecord(f"{self.kind}: {key} is missing" if value is None else f"{self.kind}: {key} is no object")
        return _Fields({"msgType": f"{self.kind}: {key}", **value})

    def size(self) -> int:
        value = self._told.get("fileSize")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LARGEST_SIZE:
            raise NotARecord(f"{self.kind}: fileSize {str(value)[:40]} is no size")
        return value

    def pnfsid(self) -> str:
        value = self.text("pnfsid")
        if not _PNFSID.fullmatch(value):
            raise NotARecord(f"{self.kind}: pnfsid {value[:60]!r} is none")
        return value

    def path(self) -> str:
        value = self.text("billingPath")
        if not value.startswith("/") or "\0" in value or len(value) > LONGEST_PATH:
            raise NotARecord(f"{self.kind}: billingPath {value[:60]!r} is no path")
        return value

    def flag(self, key: str) -> bool:
        value = self._told.get(key)
        if not isinstance(value, bool):
            raise NotARecord(f"{self.kind}: {key} is no boolean")
        return value

    def writes(self) -> bool:
        value = self._told.get("isWrite")
        if value not in ("write", "read"):
            raise NotARecord(f"{self.kind}: isWrite is {value!r}")
        return bool(value == "write")

    def status(self) -> tuple[int, str]:
        status = self.sub("status")
        code = status._told.get("code")
        if not isinstance(code, int) or isinstance(code, bool):
            raise NotARecord(f"{self.kind}: status without code")
        return code, str(status._told.get("msg", ""))[:300]

    def at(self) -> float:
        return moment(self.text("date"))

    def user(self) -> str | None:
        """The mapped name; the owner, which may be a certificate's subject, only when there is none."""
        principals = self._told.get("subject")
        for each in principals if isinstance(principals, list) else ():
            if isinstance(each, str) and (found := _USER.fullmatch(each)):
                return found[1]
        owner = self._told.get("owner")
        return owner if isinstance(owner, str) and owner else None

    def raw(self) -> dict[str, Any]:
        kept = ("msgType", "cellName", "session", "initiator", "storageInfo", "transferTime")
        return {key: self._told[key] for key in kept if key in self._told}


def _transfer(told: _Fields) -> Record:
    if told.flag("isP2p"):
        return Nothing("copy_between_pools")
    (code, message), writes = told.status(), told.writes()
    if writes and code:
        return Failed(told.pnfsid(), told.path(), code, message)
    if code:
        return Nothing("failed_read")
    if writes:
        return Written(told.pnfsid(), told.path(), told.size(), told.at(), told.user(), told.raw())
    return Read(told.pnfsid(), told.path(), told.size(), told.text("initiator"), told.at(), told.user(), told.raw())


def _request(told: _Fields) -> Record:
    """Path A puts the pool's word into the door's record; elsewhere the pool's own record says what happened."""
    code, message = told.status()
    if not told.has("moverInfo"):
        return Nothing("request")
    mover = told.sub("moverInfo")
    if not mover.writes() or mover.flag("isP2p"):
        return Nothing("request")
    if code or mover.status()[0]:
        return Failed(told.pnfsid(), told.path(), code or mover.status()[0], message)
    return Written(told.pnfsid(), told.path(), told.size(), mover.at(), told.user(), told.raw())


def _remove(told: _Fields) -> Record:
    code, _ = told.status()
    if told.text("cellType") != "door":
        return Nothing("remove_of_a_replica")
    if code:
        return Nothing("failed_remove")
    return Deleted(told.pnfsid(), told.path(), told.at(), told.user(), told.raw())


def _tape(told: _Fields, *, stored: bool) -> Record:
    code, _ = told.status()
    if code:
        return Nothing("failed_store" if stored else "failed_restore")
    path = None if told.text("billingPath") == _UNKNOWN else told.path()
    return Tape(told.pnfsid(), path, stored, told.at(), told.raw())


def moment(date: str) -> float:
    """ISO 8601 with zone as epoch seconds. Raises NotARecord."""
    found = _DATE.fullmatch(date)
    if found is None:
        raise NotARecord(f"date {date[:60]!r} is none")
    second, fraction, zone = found.groups()
    try:
        whole = datetime.fromisoformat(second + ("+00:00" if zone == "Z" else zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise NotARecord(f"date {date!r}: {error}") from None
    if not 0 <= whole < _LATEST:
        raise NotARecord(f"date {date!r} is absurd")
    return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


def _is_text(told: dict[str, Any]) -> bool:
    """Whether it can be written as UTF-8: JSON may escape one half of a surrogate pair."""
    try:
        json.dumps(told, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
