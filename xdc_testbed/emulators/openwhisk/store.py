"""Keep entities and activation records in one SQLite file, so that a killed emulator comes back with them.

Entities are on disk before their request is answered (write-ahead log, synchronous FULL); records are
written in batches behind the answers, and may lack the last half second after a kill. All access is on one
thread of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import orjson

from .entities import COLLECTION, Entity, restored, stored

_T = TypeVar("_T")
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS entity (name TEXT PRIMARY KEY, collection TEXT NOT NULL, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS code (name TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, body BLOB NOT NULL);
"""


class Change(NamedTuple):
    """One entity to write, with its code if that is new; or to delete, if `entity` is None."""

    name: str
    entity: Entity | None
    code: str | None = None


class Store:
    """The file. Raises sqlite3.Error when it cannot be read or written."""

    def __init__(self, file: Path) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._file = file
        self._connection = self._thread.submit(self._open).result()

    def _open(self) -> sqlite3.Connection:
        self._file.touch(mode=0o600)
        connection = sqlite3.connect(self._file, isolation_level=None)
        connection.executescript(_SCHEMA)
        return connection

    async def _do(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transaction(self, work: Callable[[], None]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            work()
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    async def entities(self) -> list[Entity]:
        """All that were stored."""

        def read() -> list[Entity]:
            rows = self._connection.execute("SELECT collection, document FROM entity")
            return [restored(collection, orjson.loads(document)) for collection, document in rows]

        return await self._do(read)

    async def apply(self, changes: Iterable[Change]) -> None:
        """Write all or none; they are on disk afterwards."""

        def write() -> None:
            for name, entity, code in changes:
                if entity is None:
                    self._connection.execute("DELETE FROM entity WHERE name = ?", (name,))
                    self._connection.execute("DELETE FROM code WHERE name = ?", (name,))
                    continue
                row = name, COLLECTION[type(entity)], orjson.dumps(stored(entity))
                self._connection.execute("INSERT OR REPLACE INTO entity VALUES (?, ?, ?)", row)
                if code is not None:
                    self._connection.execute("INSERT OR REPLACE INTO code VALUES (?, ?)", (name, code))

        await self._do(lambda: self._transaction(write))

    async def code(self, name: str) -> str:
        """The code of an action; empty when it has none."""

        def read() -> str:
            row = self._connection.execute("SELECT text FROM code WHERE name = ?", (name,)).fetchone()
            return str(row[0]) if row else ""

        return await self._do(read)

    async def records(self) -> list[tuple[int, str, bytes]]:
        """All activation records, oldest first: number, id, JSON."""
        query = "SELECT number, id, body FROM record ORDER BY number"
        return await self._do(lambda: self._connection.execute(query).fetchall())

    async def append(self, records: list[tuple[int, str, bytes]], keep_from: int) -> None:
        """Add records and drop those with a number below `keep_from`."""

        def write() -> None:
            self._connection.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", records)
            self._connection.execute("DELETE FROM record WHERE number < ?", (keep_from,))

        await self._do(lambda: self._transaction(write))

    async def close(self) -> None:
        """Close the file and end its thread."""
        await self._do(self._connection.close)
        self._thread.shutdown()
