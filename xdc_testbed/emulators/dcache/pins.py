"""Who keeps the disk copy of which file, until when: in SQLite, as the product's pin manager has a database."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pin (pnfsid TEXT, owner TEXT, until REAL, PRIMARY KEY (pnfsid, owner)) WITHOUT ROWID;
"""


class Pins:
    """The pins of one folder. Every method may be called from any thread; times are seconds since 1970."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_SCHEMA)
        self._closed = False

    def add(self, pnfsid: str, owner: str, lifetime: float) -> None:
        """Keep a file for a time in seconds, below 0 for ever; a former pin of the same owner ends."""
        until = time.time() + lifetime if lifetime >= 0 else None
        self._do("INSERT OR REPLACE INTO pin VALUES (?, ?, ?)", pnfsid, owner, until)

    def remove(self, pnfsid: str, owner: str | None) -> None:
        """Give up a pin, or all pins of a file."""
        self._do("DELETE FROM pin WHERE pnfsid = ? AND owner = ifnull(?, owner)", pnfsid, owner)

    def left(self, pnfsid: str) -> float | None:
        """For how many seconds the first of the pins of a file still lasts, infinite for ever; None without any."""
        now = time.time()
        self._do("DELETE FROM pin WHERE pnfsid = ? AND until <= ?", pnfsid, now)
        rows = self._do("SELECT until FROM pin WHERE pnfsid = ?", pnfsid)
        return min((float("inf") if until is None else until - now for (until,) in rows), default=None)

    def close(self) -> None:
        """Take no more."""
        with self._lock:
            self._closed = True
            self._database.close()

    def _do(self, statement: str, *values: object) -> list[tuple[float | None]]:
        with self._lock:
            return [] if self._closed else self._database.execute(statement, values).fetchall()
