"""When files go on to the next state of their policy: in SQLite, so that a restart forgets none."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..transitions import Transitions

_SCHEMA = "CREATE TABLE IF NOT EXISTS due (pnfsid TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID"


class PolicyClock:
    """Calls arrived(pnfsid) when the state of a file has lasted long enough."""

    def __init__(self, file: Path, transitions: Transitions, arrived: Callable[[str], None]) -> None:
        self._transitions = transitions
        self._arrived = arrived
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_SCHEMA)
        for pnfsid, at in self._database.execute("SELECT pnfsid, at FROM due").fetchall():
            self._wait(pnfsid, at)

    def set(self, pnfsid: str, seconds: float | None) -> None:
        """A file has come into a state that lasts so long, None for ever."""
        with self._lock:
            if seconds is None:
                self._database.execute("DELETE FROM due WHERE pnfsid = ?", (pnfsid,))
                return
            at = time.time() + seconds
            self._database.execute("INSERT OR REPLACE INTO due VALUES (?, ?)", (pnfsid, at))
        self._wait(pnfsid, at)

    def _wait(self, pnfsid: str, at: float) -> None:
        self._transitions.later(max(0.0, at - time.time()), lambda: self._ring(pnfsid, at))

    def _ring(self, pnfsid: str, at: float) -> None:
        with self._lock:
            found = self._database.execute("SELECT at FROM due WHERE pnfsid = ?", (pnfsid,)).fetchone()
        if found == (at,):  # else another state was set meanwhile
            self._arrived(pnfsid)
