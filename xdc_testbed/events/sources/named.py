"""What a reconciler remembers: files that events have named, files that wait for theirs, and folders. SQLite, bounded.

Rows of files live for the horizon at most; folders are as many as there are.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS named (path TEXT PRIMARY KEY, storage_id TEXT, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS named_id ON named (storage_id);
CREATE TABLE IF NOT EXISTS waiting (path TEXT PRIMARY KEY, storage_id TEXT, modified REAL NOT NULL, seen REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folder (path TEXT PRIMARY KEY, modified REAL NOT NULL, folders TEXT NOT NULL) WITHOUT ROWID;
"""
_SAME_TIME = 2.0  # seconds: times of change have a resolution of one


@dataclass(frozen=True)
class Waiting:
    """A file that no event has named. modified, seen: epoch seconds of its change, and of its first sight."""

    path: str
    storage_id: str | None
    modified: float
    seen: float


class Names:
    """The memory in one file. Used by one thread; kept at `commit`."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def commit(self) -> None:
        """Keep what has changed."""
        self._db.commit()

    def close(self) -> None:
        """Let go."""
        self._db.close()

    def get(self, key: str, otherwise: float) -> float:
        """A number kept under a key."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return otherwise if row is None else float(row[0])

    def set(self, key: str, value: float) -> None:
        """Keep a number."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def name(self, path: str, storage_id: str | None, at: float) -> None:
        """An event has named a file; at: epoch seconds."""
        self._db.execute("INSERT OR REPLACE INTO named VALUES (?, ?, ?)", (path, storage_id, at))
        self._db.execute(
            "DELETE FROM waiting WHERE path = ? AND storage_id IS ? AND (storage_id IS NOT NULL OR modified <= ?)",
            (path, storage_id, at + _SAME_TIME),
        )

    def gone(self, path: str, storage_id: str | None) -> None:
        """An event has said that a file is gone."""
        self._db.execute("DELETE FROM named WHERE path = ? AND storage_id IS ?", (path, storage_id))

    def is_named(self, path: str, storage_id: str | None, modified: float) -> bool:
        """Whether an event has named this file; where it has no id, since its last change."""
        row = self._db.execute("SELECT storage_id, at FROM named WHERE path = ?", (path,)).fetchone()
        if row is None:
            return False
        return bool(row[0] == storage_id) if storage_id is not None else bool(row[1] + _SAME_TIME >= modified)

    def former(self, storage_id: str | None) -> str | None:
        """The path by which an event has named this id."""
        row = self._db.execute("SELECT path FROM named WHERE storage_id = ?", (storage_id,)).fetchone()
        return None if row is None or storage_id is None else str(row[0])

    def wait(self, path: str, storage_id: str | None, modified: float, now: float) -> None:
        """Note a file without an event; the first sight of it counts as long as it stays the same."""
        known = self._db.execute(
            "SELECT 1 FROM waiting WHERE path = ? AND storage_id IS ? AND modified = ?", (path, storage_id, modified)
        ).fetchone()
        if known is None:
            self._db.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", (path, storage_id, modified, now))

    def ripe(self, before: float) -> list[Waiting]:
        """Files seen first before a moment, that still wait."""
        rows = self._db.execute("SELECT * FROM waiting WHERE seen <= ? ORDER BY seen", (before,))
        return [Waiting(*row) for row in rows]

    def drop(self, path: str) -> None:
        """Wait for a file no more."""
        self._db.execute("DELETE FROM waiting WHERE path = ?", (path,))

    def folder(self, path: str) -> tuple[float, list[str]] | None:
        """A folder's time of change when it was listed last, and the folders in it."""
        row = self._db.execute("SELECT modified, folders FROM folder WHERE path = ?", (path,)).fetchone()
        return None if row is None else (float(row[0]), json.loads(row[1]))

    def listed(self, path: str, modified: float, folders: list[str]) -> None:
        """A folder was listed."""
        self._db.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?)", (path, modified, json.dumps(folders)))

    def forget_folder(self, path: str) -> None:
        """A folder is gone."""
        self._db.execute("DELETE FROM folder WHERE path = ?", (path,))

    def prune(self, before: float) -> None:
        """Forget what events named before a moment, and what has waited since before it."""
        self._db.execute("DELETE FROM named WHERE at < ?", (before,))
        self._db.execute("DELETE FROM waiting WHERE seen < ?", (before,))

    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        return {
            table: int(self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608 - own names
            for table in ("named", "waiting", "folder")
        }
