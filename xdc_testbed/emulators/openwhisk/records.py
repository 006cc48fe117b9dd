"""Activation records: the newest of all namespaces, bounded by number and bytes; on disk a moment later."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from . import jsontext
from .store import Store

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 0.5
_STATUS_CODES = {"success": 0, "application error": 1, "action developer error": 2, "whisk internal error": 3}
STATUS_WORDS = tuple(_STATUS_CODES)


class Kept(NamedTuple):
    """A record with what lists filter by. name: `action` or `package/action` or the trigger's; start: epoch
    ms."""

    number: int
    id: str
    namespace: str
    name: str
    start: int
    body: bytes


class Records:
    """The records. Written behind: `close` writes the rest."""

    def __init__(self, store: Store, most: int, most_bytes: int) -> None:
        self._store, self._most, self._most_bytes = store, most, most_bytes
        self._order: deque[Kept] = deque()
        self._by_id: dict[str, Kept] = {}
        self._bytes = 0
        self._next = 1
        self._pending: list[tuple[int, str, bytes]] = []
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Read what the store has kept, and start writing behind."""
        for number, _, body in await self._store.records():
            self._keep(number, orjson.loads(body), body)
            self._next = number + 1
        self._writer = asyncio.get_running_loop().create_task(self._write_behind())

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record from now on."""
        body = jsontext.dumps(record)
        self._keep(self._next, record, body)
        self._pending.append((self._next, record["activationId"], body))
        self._next += 1

    def get(self, namespace: str, activation: str) -> bytes | None:
        """The JSON of one record of a namespace."""
        kept = self._by_id.get(activation)
        return kept.body if kept and kept.namespace == namespace else None

    def select(self, namespace: str, name: str | None, since: int, upto: int) -> list[Kept]:
        """Records whose start lies in [since, upto], newest first."""
        return sorted(self._matching(namespace, name, since, upto), key=lambda kept: kept.start, reverse=True)

    async def close(self) -> None:
        """Write what is not yet on disk."""
        if self._writer is not None:
            self._writer.cancel()
        await self._flush()

    def _matching(self, namespace: str, name: str | None, since: int, upto: int) -> Iterator[Kept]:
        for kept in reversed(self._order):
            if kept.namespace == namespace and since <= kept.start <= upto and (name is None or kept.name == name):
                yield kept

    def _keep(self, number: int, record: dict[str, Any], body: bytes) -> None:
        path = next((entry["value"] for entry in record["annotations"] if entry["key"] == "path"), None)
        name = path.partition("/")[2] if path else record["name"]
        kept = Kept(number, record["activationId"], record["namespace"], name, record["start"], body)
        self._order.append(kept)
        self._by_id[kept.id] = kept
        self._bytes += len(body)
        while len(self._order) > self._most or self._bytes > self._most_bytes:
            oldest = self._order.popleft()
            self._by_id.pop(oldest.id, None)
            self._bytes -= len(oldest.body)

    async def _write_behind(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self._flush()
            except sqlite3.Error:
                _log.exception("activation records could not be written; they are kept in memory")

    async def _flush(self) -> None:
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        oldest = self._order[0].number if self._order else self._next
        await self._store.append([record for record in batch if record[0] >= oldest], oldest)


def summary(body: bytes) -> dict[str, Any]:
    """A record as lists show it."""
    record = orjson.loads(body)
    shown: dict[str, Any] = {"statusCode": _STATUS_CODES[record["response"]["status"]]}
    for key in (
        "duration",
        "name",
        "activationId",
        "end",
        "start",
        "namespace",
        "publish",
        "annotations",
        "version",
    ):
        if key in record:
            shown[key] = record[key]
    if "cause" in record:
        shown["cause"] = record["cause"]
    return shown
