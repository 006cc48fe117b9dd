"""What a watcher of names remembers: known files, watched folders, uploads under way, and events not yet told. SQLite.

Everything that one batch of notices changes is committed together with its position in the stream, events included:
after kill -9 either all of it has happened, and the events wait in the outbox, or none, and the notices come again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.events.model import StorageEvent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, pnfsid TEXT NOT NULL, told INTEGER NOT NULL, size INTEGER,
    checksums TEXT NOT NULL, qos TEXT, locality TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_pnfsid ON file (pnfsid);
CREATE TABLE IF NOT EXISTS folder (path TEXT PRIMARY KEY, subscription TEXT NOT NULL, url TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS folder_subscription ON folder (subscription);
CREATE TABLE IF NOT EXISTS upload (path TEXT PRIMARY KEY, changes INTEGER NOT NULL, closed INTEGER NOT NULL, since REAL
    NOT NULL, due REAL, tries INTEGER NOT NULL, old TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL);
"""


class Told(IntEnum):
    """What was said of a known file. EXISTED: it was there before the watch began."""

    WRITTEN = 1
    FAILED = 2
    EXISTED = 3


@dataclass(frozen=True)
class Known:
    """A file as it was seen last. size: bytes; locality, qos: as FileInfo."""

    path: str
    pnfsid: str
    told: Told
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    qos: str | None = None
    locality: str | None = None

    @classmethod
    def of(cls, info: FileInfo, told: Told) -> Known:
        """The memory of a file as it is now."""
        return cls(info.path, info.pnfsid, told, info.size, dict(info.checksums), info.qos, info.locality)

    def info(self, path: str) -> FileInfo:
        """The file under a name, as far as it is remembered."""
        return FileInfo(
            path,
            self.pnfsid,
            False,
            self.size,
            0.0,
            0.0,
            checksums=self.checksums,
            locality=self.locality,
            qos=self.qos,
        )


@dataclass(frozen=True)
class Upload:
    """A name to look at. changes: IN_ATTRIB since its creation; closed: whether writing has ended; since: epoch seconds
    of the first notice; due: when to look, None before it is closed; old: its name before it was moved meanwhile.
    """

    path: str
    since: float
    changes: int = 0
    closed: bool = False
    due: float | None = None
    tries: int = 0
    old: str | None = None


class Tree:
    """The memory in one file. Used by one thread; nothing is kept before `commit`."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def commit(self) -> None:
        """Keep what has changed since the last commit."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Forget what was not committed, and let go."""
        self._db.execute("ROLLBACK")
        self._db.close()

    # -- position -------------------------------------------------------------------------------------------------

    def get(self, key: str) -> str | None:
        """A word kept under a key."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def set(self, key: str, value: str | None) -> None:
        """Keep a word; None forgets it."""
        if value is None:
            self._db.execute("DELETE FROM meta WHERE key = ?", (key,))
        else:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- files ----------------------------------------------------------------------------------------------------

    def file(self, path: str) -> Known | None:
        """The file known under a path."""
        row = self._db.execute("SELECT * FROM file WHERE path = ?", (path,)).fetchone()
        return None if row is None else _known(row)

    def by_id(self, pnfsid: str) -> Known | None:
        """The file known under an id."""
        row = self._db.execute("SELECT * FROM file WHERE pnfsid = ?", (pnfsid,)).fetchone()
        return None if row is None else _known(row)

    def files(self, folder: str = "") -> Iterator[Known]:
        """All files, or those below a folder, by path."""
        low, high = _below(folder)
        for row in self._db.execute("SELECT * FROM file WHERE path >= ? AND path < ? ORDER BY path", (low, high)):
            yield _known(row)

    def remember(self, known: Known) -> None:
        """Know a file, under its path only."""
        values = (known.path, known.pnfsid, int(known.told), known.size, json.dumps(dict(known.checksums)))
        self._db.execute(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, known.qos, known.locality)
        )

    def forget(self, path: str) -> None:
        """Know a file no more."""
        self._db.execute("DELETE FROM file WHERE path = ?", (path,))

    # -- folders --------------------------------------------------------------------------------------------------

    def folders(self, below: str | None = None) -> dict[str, str]:
        """Watched folders with the URLs of their subscriptions: all, or one with what is below it."""
        if below is None:
            rows = self._db.execute("SELECT * FROM folder")
        else:
            rows = self._db.execute(
                "SELECT * FROM folder WHERE path = ? OR (path >= ? AND path < ?)", (below, *_below(below))
            )
        return {row["path"]: row["url"] for row in rows}

    def watched(self, subscription: str) -> str | None:
        """The folder of a subscription."""
        row = self._db.execute("SELECT path FROM folder WHERE subscription = ?", (subscription,)).fetchone()
        return None if row is None else str(row["path"])

    def watch(self, path: str, subscription: str, url: str) -> None:
        """Note a folder as watched."""
        self._db.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?)", (path, subscription, url))

    def rename_folder(self, old: str, new: str) -> None:
        """A watched folder, with what is below it, has another name; its subscriptions stay."""
        rows = self._db.execute(
            "SELECT * FROM folder WHERE path = ? OR (path >= ? AND path < ?)", (old, *_below(old))
        ).fetchall()
        for row in rows:
            self.unwatch(row["path"])
            self.watch(new + row["path"][len(old) :], row["subscription"], row["url"])

    def unwatch(self, path: str) -> None:
        """Note a folder as no longer watched."""
        self._db.execute("DELETE FROM folder WHERE path = ?", (path,))

    # -- uploads --------------------------------------------------------------------------------------------------

    def upload(self, path: str) -> Upload | None:
        """The upload under way to a path."""
        row = self._db.execute("SELECT * FROM upload WHERE path = ?", (path,)).fetchone()
        return None if row is None else _upload(row)

    def uploads(self) -> list[Upload]:
        """All of them."""
        return [_upload(row) for row in self._db.execute("SELECT * FROM upload")]

    def expect(self, upload: Upload) -> None:
        """Note an upload."""
        values = (upload.path, upload.changes, upload.closed, upload.since, upload.due, upload.tries, upload.old)
        self._db.execute("INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def drop(self, path: str) -> None:
        """Expect nothing more of a path."""
        self._db.execute("DELETE FROM upload WHERE path = ?", (path,))

    def drop_before(self, since: float) -> None:
        """Expect nothing more of uploads that began before a moment and were never closed."""
        self._db.execute("DELETE FROM upload WHERE due IS NULL AND since < ?", (since,))

    def due(self, now: float) -> list[Upload]:
        """Names to look at by now, oldest first."""
        rows = self._db.execute("SELECT * FROM upload WHERE due <= ? ORDER BY due LIMIT 512", (now,))
        return [_upload(row) for row in rows]

    def next_due(self) -> float | None:
        """When to look next."""
        value = self._db.execute("SELECT MIN(due) FROM upload").fetchone()[0]
        return None if value is None else float(value)

    # -- outbox ---------------------------------------------------------------------------------------------------

    def tell(self, event: StorageEvent) -> None:
        """Put an event into the outbox."""
        self._db.execute("INSERT INTO outbox (event) VALUES (?)", (event.to_json().decode(),))

    def outbox(self, after: int) -> list[tuple[int, StorageEvent]]:
        """Events that wait, in the order in which they came, those behind a number."""
        rows = self._db.execute("SELECT * FROM outbox WHERE number > ? ORDER BY number", (after,)).fetchall()
        return [(row["number"], StorageEvent.model_validate_json(row["event"])) for row in rows]

    def sent(self, number: int) -> None:
        """The broker has this event."""
        self._db.execute("DELETE FROM outbox WHERE number = ?", (number,))


def _below(folder: str) -> tuple[str, str]:
    """The range of all paths below a folder: `0` is the character behind `/`."""
    return folder.rstrip("/") + "/", folder.rstrip("/") + "0"


def _known(row: Any) -> Known:
    return Known(
        row["path"],
        row["pnfsid"],
        Told(row["told"]),
        row["size"],
        json.loads(row["checksums"]),
        row["qos"],
        row["locality"],
    )


def _upload(row: Any) -> Upload:
    return Upload(row["path"], row["since"], row["changes"], bool(row["closed"]), row["due"], row["tries"], row["old"])
