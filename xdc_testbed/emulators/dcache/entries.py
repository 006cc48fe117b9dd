"""What the namespace knows of one file or directory, and what can go wrong with a name."""

from __future__ import annotations

import functools
import json
import posixpath
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class NamespaceError(Exception):
    """Something that the namespace refuses; path: the name it is about."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{type(self).__name__}: {path}")
        self.path = path


class NotFound(NamespaceError):
    """There is no such file or directory."""


class AlreadyExists(NamespaceError):
    """There is a file or directory of that name."""


class NotADirectory(NamespaceError):
    """A part of the path that must be a directory is a file."""


class NotEmpty(NamespaceError):
    """A directory that is to be removed holds something."""


class BadName(NamespaceError):
    """A path that no entry can have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or directory. size: bytes, None while the first upload is running; times: seconds since 1970;
    checksums: lower-case name of the algorithm -> lower-case hexadecimal; storage: `<store>:<group>@<hsm>`."""

    pnfsid: str
    parent: str | None
    path: str
    is_dir: bool
    size: int | None
    uid: int
    gid: int
    mode: int
    created: float
    modified: float
    accessed: float
    changed: float
    checksums: Mapping[str, str]
    latency: str
    retention: str
    pools: tuple[str, ...]
    on_tape: bool
    target_qos: str | None
    policy: str | None
    policy_state: int | None
    labels: frozenset[str]
    xattrs: Mapping[str, str]
    storage: str

    @property
    def name(self) -> str:
        """The last part of the path; `/` for the root."""
        return posixpath.basename(self.path) or "/"


PLAIN = (
    "pnfsid", "parent", "path", "is_dir", "size", "uid", "gid", "mode", "created", "modified", "accessed", "changed",
    "latency", "retention", "on_tape", "target_qos", "policy", "policy_state", "storage",
)  # fmt: skip
"""Columns that hold the value itself."""
CODED = ("checksums", "pools", "labels", "xattrs")
"""Columns that hold JSON."""
COLUMNS = (*PLAIN, *CODED)

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    pnfsid TEXT PRIMARY KEY, parent TEXT, path TEXT NOT NULL UNIQUE, is_dir INTEGER NOT NULL, size INTEGER,
    uid INTEGER NOT NULL, gid INTEGER NOT NULL, mode INTEGER NOT NULL,
    created REAL NOT NULL, modified REAL NOT NULL, accessed REAL NOT NULL, changed REAL NOT NULL,
    latency TEXT NOT NULL, retention TEXT NOT NULL, on_tape INTEGER NOT NULL, target_qos TEXT, policy TEXT,
    policy_state INTEGER, storage TEXT NOT NULL,
    checksums TEXT NOT NULL, pools TEXT NOT NULL, labels TEXT NOT NULL, xattrs TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_parent ON entry (parent);
"""


@functools.lru_cache(4096)
def _decoded(text: str) -> Any:
    """What a coded column holds; shared by all entries that hold the same, so nobody may change it."""
    value = json.loads(text)
    return tuple(value) if isinstance(value, list) else value


def column_value(name: str, value: object) -> object:
    """A field as the database holds it."""
    if name in CODED:
        if not value:
            return "{}" if isinstance(value, Mapping) else "[]"
        return json.dumps(sorted(value) if isinstance(value, frozenset) else value)
    return int(value) if isinstance(value, bool) else value


def entry_of(row: sqlite3.Row) -> Entry:
    """A row as an Entry."""
    fields = {name: row[name] for name in PLAIN}
    fields["is_dir"] = bool(row["is_dir"])
    fields["on_tape"] = bool(row["on_tape"])
    return Entry(
        **fields,
        checksums=_decoded(row["checksums"]),
        pools=_decoded(row["pools"]),
        labels=frozenset(_decoded(row["labels"])),
        xattrs=_decoded(row["xattrs"]),
    )


def clean(path: str) -> str:
    """An absolute path without double or trailing slashes. Raises BadName for `..`, NUL and broken characters."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in path or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        raise BadName(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BadName(path) from None
    return "/" + "/".join(parts)
