"""Where bulk requests are kept, so that they go on after a restart: SQLite in write-ahead mode, one row per target.

Numbers of requests and targets are never given twice, and every request takes one number among the targets for itself,
as in the product.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path

from pydantic import TypeAdapter

from .bulk_request import Bulk, Target

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (number INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, state TEXT);
CREATE TABLE IF NOT EXISTS target (number INTEGER PRIMARY KEY AUTOINCREMENT, request INTEGER NOT NULL, state TEXT);
CREATE INDEX IF NOT EXISTS target_of_request ON target (request);
"""
_REQUEST = TypeAdapter(Bulk)
_TARGET = TypeAdapter(Target)


class BulkDatabase:
    """The database of one folder. Every method may be called from any thread; after close none does anything."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_SCHEMA)
        self._closed = False

    def load(self) -> list[Bulk]:
        """All requests, the oldest first, with their targets."""
        with self._lock:
            rows = self._database.execute("SELECT state FROM request ORDER BY number").fetchall()
            found = [_REQUEST.validate_json(state) for (state,) in rows]
            for bulk in found:
                rows = self._database.execute(
                    "SELECT state FROM target WHERE request = ? AND state IS NOT NULL ORDER BY number", (bulk.number,)
                ).fetchall()
                bulk.targets = [_TARGET.validate_json(state) for (state,) in rows]
        return found

    def add(self, bulk: Bulk) -> None:
        """Keep a new request and its targets, and number them."""
        with self._lock:
            if self._closed:
                return
            self._database.execute("BEGIN")
            bulk.number = self._number("INSERT INTO request (uid) VALUES (?)", bulk.uid)
            self._number("INSERT INTO target (request) VALUES (?)", bulk.number)
            self._add_targets(bulk, bulk.targets)
            self._save(bulk)
            self._database.execute("COMMIT")

    def expand(self, bulk: Bulk, targets: list[Target]) -> None:
        """Keep and number further targets of a request."""
        with self._lock:
            if self._closed:
                return
            self._database.execute("BEGIN")
            self._add_targets(bulk, targets)
            self._save(bulk)
            self._database.execute("COMMIT")

    def save(self, bulk: Bulk, *targets: Target) -> None:
        """Keep the state of a request, and of some of its targets."""
        with self._lock:
            if self._closed:
                return
            self._database.execute("BEGIN")
            self._save(bulk)
            for target in targets:
                self._save_target(target)
            self._database.execute("COMMIT")

    def remove(self, bulk: Bulk) -> None:
        """Forget a request."""
        with self._lock:
            if self._closed:
                return
            self._database.execute("BEGIN")
            self._database.execute("DELETE FROM target WHERE request = ?", (bulk.number,))
            self._database.execute("DELETE FROM request WHERE number = ?", (bulk.number,))
            self._database.execute("COMMIT")

    def close(self) -> None:
        """Keep nothing more: what happens to a request from now on happens again after the next start."""
        with self._lock:
            self._closed = True
            self._database.close()

    def _number(self, statement: str, value: object) -> int:
        return int(self._database.execute(statement, (value,)).lastrowid or 0)

    def _add_targets(self, bulk: Bulk, targets: list[Target]) -> None:
        for target in targets:
            target.number = self._number("INSERT INTO target (request) VALUES (?)", bulk.number)
            self._save_target(target)

    def _save(self, bulk: Bulk) -> None:
        bare = dataclasses.replace(bulk, targets=[])
        self._database.execute("UPDATE request SET state = ? WHERE number = ?", (_REQUEST.dump_json(bare), bulk.number))

    def _save_target(self, target: Target) -> None:
        state = _TARGET.dump_json(target)
        self._database.execute("UPDATE target SET state = ? WHERE number = ?", (state, target.number))
