"""The forms of billing records: a record without what belongs to one moment, one file or one instance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from dcache_captures import FOLDER

_INSTANT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
_DURATION = re.compile(r"PT-?\d+(\.\d{1,9})?S")
_PNFSID = re.compile(r"\b0000[0-9A-F]{32}\b")
_SESSIONS = (
    (re.compile(r"door:(WebDAV(-S)?)-[\w-]+@dCacheDomain:[A-Za-z0-9+/]{11}:\d{16}"), r"door:\1@<transfer>"),
    (re.compile(r"door:(WebDAV(-S)?)-[\w-]+@dCacheDomain:\d{13}-\d+"), r"door:\1@<cell>"),
    (re.compile(r"door:(RemoteTransferManager)@dCacheDomain:\d{13}-\d+"), r"door:\1@<cell>"),
    (re.compile(r"pool:(pool\d)@dCacheDomain:\d{13}-\d+"), r"pool:\1@<cell>"),
)
_TEXTS = (
    (re.compile(r"after [\d.]+ seconds"), "after <n> seconds"),
    (re.compile(r"(Https?-1\.1):127\.0\.0\.1:\d+:(WebDAV(-S)?)-[\w-]+:dCacheDomain:/.*"), r"\1:<client>:\2:<path>"),
    (re.compile(r"(https?)://(localhost|127\.0\.0\.1):\d+/[\w.-]+(/[\w.-]+)?"), r"\1://<peer>"),
)
Form = dict[str, Any]


def form(record: dict[str, Any]) -> Form:
    """What remains of a record."""
    found = {key: _form(key, value) for key, value in record.items()}
    size, moved = record.get("fileSize"), record.get("transferSize")
    if size is not None:
        found["fileSize"] = "<n>" if size else 0
    if moved is not None:
        found["transferSize"] = _relation(moved, size)
    return found


def captured() -> dict[str, list[tuple[str, Form]]]:
    """Capture -> (path A or B, form) of each of its records."""
    return {path.stem: list(_read(path.read_text())) for path in sorted((FOLDER / "kafka").glob("*.jsonl"))}


def by_other_protocols(record: Form) -> bool:
    """Whether it is of FTP or dCap, which the emulator does not speak."""
    words = f"{record['cellName']} {record.get('protocol', '')} {record.get('protocolInfo', {}).get('protocol', '')}"
    return re.search(r"\b(FTP|DCap|GFtp)", words) is not None


def _read(text: str) -> Iterator[tuple[str, Form]]:
    for line in text.splitlines():
        entry = json.loads(line)
        assert entry["key"] is None
        assert entry["headers"] == []
        yield entry["topic"][-1].upper(), form(json.loads(entry["value"]))


def _relation(moved: int, size: int | None) -> object:
    if not moved:
        return 0
    if size is None or moved not in {size, size - 1}:
        return "<n>"
    return "fileSize" if moved == size else "fileSize - 1"


def _form(key: str, value: Any) -> Any:
    match key:
        case "date":
            return "<instant>" if _INSTANT.fullmatch(value) else value
        case "writeActive" | "writeIdle" | "readActive" | "readIdle":
            return "<duration>" if _DURATION.fullmatch(value) else value
        case "meanWriteBandwidth" | "meanReadBandwidth":
            return "<bytes per second>" if isinstance(value, float) and value > 0 else value
        case "queuingTime" | "sessionDuration" | "transferTime":
            return "<ms>" if isinstance(value, int) and value >= 0 else value
        case "filesize":
            return "<n>" if value else 0
        case "transferPath" | "billingPath":
            return value if value == "Unknown" else "<path>"
        case "cellName":
            return re.sub(r"^(WebDAV(-S)?|FTP|DCap)-.*", r"\1-<host>", value)
        case "port":
            return "<port>" if value else 0
        case "localEndpoint":
            return re.sub(r":\d+$", ":<port>", value)
        case "subject":
            return sorted(_principal(each) for each in value)
        case "owner":
            return _principal(value)
        case "storageInfo":
            return re.sub(r"^test:(default|tape)@osm$", "test:<group>@osm", value)
        case "locations":
            return [_PNFSID.sub("<pnfsid>", each) for each in value]
        case "moverInfo":
            return form(value)
    if isinstance(value, dict):
        return {inner: _form(inner, each) for inner, each in value.items()}
    if not isinstance(value, str):
        return value
    for pattern, short in (*_SESSIONS, *_TEXTS):
        value = pattern.sub(short, value)
    return _PNFSID.sub("<pnfsid>", value)


def _principal(text: str) -> str:
    text = re.sub(r"^MacaroonPrincipal\[[\w-]{8}:[\w-]{8}\]$", "MacaroonPrincipal[<id>]", text)
    return re.sub(r"^RolePrincipal\[-?\d+\]$", "RolePrincipal[<hash>]", "<dn>" if text.startswith("/") else text)
