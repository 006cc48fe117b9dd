"""Names, metadata and the places of the bytes: SQLite in write-ahead mode beside one folder of files per pool.

A file is in the namespace from the moment at which its upload begins, with size None; commit makes it whole. What was
not committed when the process ended, however it ended, is removed at the next start, together with its bytes.
Every method may be called from any thread; each tells its changes after they are in the database.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import posixpath
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from xdc_testbed.errors import WrongUsage

from .changes import Change, Changes
from .config import Config
from .entries import (
    COLUMNS,
    SCHEMA,
    AlreadyExists,
    Entry,
    NotADirectory,
    NotEmpty,
    NotFound,
    clean,
    column_value,
    entry_of,
)

_ROOT_ID = "000000000000000000000000000000000000"
_INSERT = f"INSERT INTO entry ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_FILE = "test:default@osm"


class Namespace:
    """The names below one root folder, which no other process may use meanwhile: WrongUsage is raised then. changes:
    who is told; removed: called with every file whose bytes have gone."""

    def __init__(self, config: Config) -> None:
        self.changes = Changes()
        self.removed: list[Callable[[Entry], None]] = []
        self._root = config.root
        self._pools = config.pools
        self._root.mkdir(parents=True, exist_ok=True)
        self._claim = _claimed(self._root / "lock")
        for pool in self._pools:
            (self._root / "pools" / pool / "data").mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(
            self._root / "names.sqlite", check_same_thread=False, isolation_level=None, cached_statements=256
        )
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(SCHEMA)
        self._start(config)

    def get(self, path: str) -> Entry:
        """The entry of a path. Raises NotFound, NotADirectory for a path through a file, BadName."""
        path = clean(path)
        found = self._row("SELECT * FROM entry WHERE path = ?", path)
        if found is None:
            parent = posixpath.dirname(path)
            while parent != "/" and (above := self._row("SELECT is_dir FROM entry WHERE path = ?", parent)) is None:
                parent = posixpath.dirname(parent)
            if parent != "/" and above is not None and not above["is_dir"]:
                raise NotADirectory(path)
            raise NotFound(path)
        return entry_of(found)

    def by_id(self, pnfsid: str) -> Entry:
        """The entry of an id. Raises NotFound."""
        found = self._row("SELECT * FROM entry WHERE pnfsid = ?", pnfsid)
        if found is None:
            raise NotFound(pnfsid)
        return entry_of(found)

    def children(self, path: str) -> list[Entry]:
        """What a directory holds, by name. Raises NotFound, NotADirectory."""
        directory = self.get(path)
        if not directory.is_dir:
            raise NotADirectory(directory.path)
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM entry WHERE parent = ? ORDER BY path", (directory.pnfsid,)
            ).fetchall()
        return [entry_of(row) for row in rows]

    def subdirectories(self, pnfsid: str) -> int:
        """How many directories a directory holds."""
        found = self._row("SELECT count(*) AS n FROM entry WHERE parent = ? AND is_dir = 1", pnfsid)
        return 0 if found is None else int(found["n"])

    def line(self, path: str) -> list[Entry]:
        """The entries from the root down to a path, ending with the last one that exists."""
        path = clean(path)
        parts = [part for part in path.split("/") if part]
        paths = ["/", *("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))]
        marks = ", ".join("?" * len(paths))
        with self._lock:
            rows = self._database.execute(
                f"SELECT * FROM entry WHERE path IN ({marks}) ORDER BY length(path)",  # noqa: S608  question marks
                paths,
            ).fetchall()
        return [entry_of(row) for row in rows]

    def mkdir(self, path: str, *, uid: int, gid: int, mode: int = 0o755) -> Entry:
        """Make a directory. Raises AlreadyExists, NotFound for the parent, NotADirectory."""
        made = self._insert(path, is_dir=True, uid=uid, gid=gid, mode=mode)
        self.tell(made, "IN_CREATE")
        return made

    def create(self, path: str, *, uid: int, gid: int, mode: int = 0o644) -> Entry:
        """Begin the upload of a file that does not exist yet. Raises AlreadyExists, NotFound, NotADirectory."""
        made = self._insert(path, is_dir=False, uid=uid, gid=gid, mode=mode)
        self.tell(made, "IN_CREATE")
        return made

    def commit(self, pnfsid: str, *, size: int, checksums: Mapping[str, str], pool: str, failed: bool = False) -> Entry:
        """End the upload of a file: from now on it survives, also what a failed one has left. Raises NotFound when it
        was removed.

        The product sets attributes twice more after a failed upload: the only trace of it among the changes.
        """
        now = time.time()
        with self._lock:
            entry = self._set(
                pnfsid,
                {"size": size, "checksums": dict(checksums), "pools": (pool,), "modified": now, "changed": now},
            )
        self.tell(entry, "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_ATTRIB", *(["IN_ATTRIB"] * 2 if failed else []))
        return entry

    def abandon(self, pnfsid: str) -> None:
        """Remove a file whose upload failed, with its bytes. A file that is gone already is no error."""
        with self._lock:
            found = self._row("SELECT * FROM entry WHERE pnfsid = ?", pnfsid)
            self._database.execute("DELETE FROM entry WHERE pnfsid = ?", (pnfsid,))
            self._unlink(pnfsid)
        if found is not None:
            self.tell(entry_of(found), "IN_CLOSE_WRITE")
            self._gone(entry_of(found))

    def remove(self, path: str, *, recursive: bool = False) -> list[Entry]:
        """Remove a file or directory, and give back what was removed, innermost first. Raises NotFound, NotEmpty."""
        with self._lock:
            top = self.get(path)
            rows = []
            if top.is_dir:
                low, high = top.path.rstrip("/") + "/", top.path.rstrip("/") + "0"
                rows = self._database.execute(
                    "SELECT * FROM entry WHERE path > ? AND path < ? ORDER BY path DESC", (low, high)
                ).fetchall()
                if rows and not recursive:
                    raise NotEmpty(top.path)
            gone = [*map(entry_of, rows), top]
            with self._transaction():
                for entry in gone:
                    self._database.execute("DELETE FROM entry WHERE pnfsid = ?", (entry.pnfsid,))
                self._touch(top.parent)
            for entry in gone:
                if not entry.is_dir:
                    self._unlink(entry.pnfsid)
        for entry in gone:
            self._gone(entry)
        return gone

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> Entry:
        """Rename a file or directory. Raises NotFound, NotADirectory, AlreadyExists (always for a directory)."""
        target = clean(target)
        replaced = None
        with self._lock:
            old = self.get(source)
            if old.path == target:
                return old
            parent = self._parent(target)
            if (target + "/").startswith(old.path + "/"):
                raise NotADirectory(target)
            occupied = self._row("SELECT * FROM entry WHERE path = ?", target)
            if occupied is not None:
                replaced = entry_of(occupied)
                if not overwrite or replaced.is_dir:
                    raise AlreadyExists(target)
            with self._transaction():
                if replaced is not None:
                    self._database.execute("DELETE FROM entry WHERE pnfsid = ?", (replaced.pnfsid,))
                self._database.execute(
                    "UPDATE entry SET path = ?, parent = ?, changed = ? WHERE pnfsid = ?",
                    (target, parent.pnfsid, time.time(), old.pnfsid),
                )
                if old.is_dir:
                    self._database.execute(
                        "UPDATE entry SET path = ? || substr(path, ?) WHERE path > ? AND path < ?",
                        (target, len(old.path) + 1, old.path + "/", old.path + "0"),
                    )
                self._touch(old.parent)
                self._touch(parent.pnfsid)
            if replaced is not None:
                self._unlink(replaced.pnfsid)
            new = self.by_id(old.pnfsid)
        if replaced is not None:
            self._gone(replaced)
        cookie = secrets.token_urlsafe(6)
        self.changes.tell(Change("IN_MOVED_FROM", old.pnfsid, old.path, old.is_dir, cookie))
        self.changes.tell(Change("IN_MOVED_TO", new.pnfsid, new.path, new.is_dir, cookie))
        self.changes.tell(Change("IN_MOVE_SELF", new.pnfsid, new.path, new.is_dir, cookie))
        return new

    def update(self, pnfsid: str, **fields: Any) -> Entry:
        """Set fields of Entry other than pnfsid, path and parent. Raises NotFound."""
        entry = self._set(pnfsid, {**fields, "changed": time.time()})
        self.tell(entry, "IN_ATTRIB")
        return entry

    def add_label(self, pnfsid: str, label: str) -> Entry:
        """Give a file a label; giving it again changes nothing."""
        with self._lock:
            return self.update(pnfsid, labels=self.by_id(pnfsid).labels | {label})

    def remove_label(self, pnfsid: str, label: str) -> Entry:
        """Take a label away. Raises NotFound when the file has no such label."""
        with self._lock:
            entry = self.by_id(pnfsid)
            if label not in entry.labels:
                raise NotFound(label)
            return self.update(pnfsid, labels=entry.labels - {label})

    def labelled(self, label: str) -> list[Entry]:
        """Every file with a label, by path."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM entry WHERE EXISTS (SELECT 1 FROM json_each(labels) WHERE value = ?) ORDER BY path",
                (label,),
            ).fetchall()
        return [entry_of(row) for row in rows]

    def set_xattr(self, pnfsid: str, name: str, value: str) -> Entry:
        """Set one extended attribute."""
        with self._lock:
            return self.update(pnfsid, xattrs={**self.by_id(pnfsid).xattrs, name: value})

    def remove_xattr(self, pnfsid: str, name: str) -> Entry:
        """Remove one extended attribute. Raises NotFound when there is none of that name."""
        with self._lock:
            left = dict(self.by_id(pnfsid).xattrs)
            if left.pop(name, None) is None:
                raise NotFound(name)
            return self.update(pnfsid, xattrs=left)

    def data_file(self, pnfsid: str, pool: str) -> Path:
        """Where the bytes of a file lie in a pool."""
        return self._root / "pools" / pool / "data" / pnfsid

    def tell(self, entry: Entry, *masks: str) -> None:
        """Tell changes of an entry that need nothing in the database, as IN_OPEN and IN_ACCESS."""
        for mask in masks:
            self.changes.tell(Change(mask, entry.pnfsid, entry.path, entry.is_dir))

    def close(self) -> None:
        """Close the database; nothing may be called afterwards."""
        with self._lock:
            self._database.close()
            self._claim.close()

    def _gone(self, entry: Entry) -> None:
        self.tell(entry, "IN_DELETE_SELF", "IN_DELETE")
        if not entry.is_dir:
            for listener in self.removed:
                listener(entry)

    def _start(self, config: Config) -> None:
        now = time.time()
        with self._transaction():
            if self._row("SELECT 1 FROM entry WHERE path = '/'") is None:
                self._store(_entry(_ROOT_ID, None, "/", True, 0, 0, 0o755, now))
            self._database.execute("DELETE FROM entry WHERE is_dir = 0 AND size IS NULL")
        known = {row["pnfsid"] for row in self._database.execute("SELECT pnfsid FROM entry WHERE is_dir = 0")}
        for pool in self._pools:
            with os.scandir(self._root / "pools" / pool / "data") as listing:
                for item in listing:
                    if item.name not in known:
                        Path(item.path).unlink()
        users = {user.name: user for user in config.users}
        for wanted in config.directories:
            owner = users.get(wanted.owner or "")
            uid, gid = (owner.uid, owner.gid) if owner else (0, 0)
            path = clean(wanted.path)
            parts = path.strip("/").split("/")
            for depth in range(1, len(parts)):
                above = "/" + "/".join(parts[:depth])
                if self._row("SELECT 1 FROM entry WHERE path = ?", above) is None:
                    self._insert(above, is_dir=True, uid=0, gid=0, mode=0o755)
            if path != "/" and self._row("SELECT 1 FROM entry WHERE path = ?", path) is None:
                made = self._insert(path, is_dir=True, uid=uid, gid=gid, mode=wanted.mode)
                self._set(
                    made.pnfsid,
                    {"latency": wanted.latency, "retention": wanted.retention, "storage": wanted.storage},
                )

    def _row(self, statement: str, *values: object) -> sqlite3.Row | None:
        with self._lock:
            rows: list[sqlite3.Row] = self._database.execute(statement, values).fetchall()
        return rows[0] if rows else None

    def _parent(self, path: str) -> Entry:
        """The directory that a new path lies in. Raises NotFound, NotADirectory."""
        parent = self.get(posixpath.dirname(path))
        if not parent.is_dir:
            raise NotADirectory(parent.path)
        return parent

    def _insert(self, path: str, *, is_dir: bool, uid: int, gid: int, mode: int) -> Entry:
        path = clean(path)
        with self._lock:
            parent = self._parent(path)
            entry = dataclasses.replace(
                _entry(
                    "0000" + secrets.token_hex(16).upper(), parent.pnfsid, path, is_dir, uid, gid, mode, time.time()
                ),
                latency=parent.latency,
                retention=parent.retention,
                storage=parent.storage,
                policy=parent.policy,
                policy_state=None if parent.policy is None else 0,
            )
            try:
                with self._transaction():
                    self._store(entry)
                    self._touch(parent.pnfsid)
            except sqlite3.IntegrityError:
                raise AlreadyExists(path) from None
        return entry

    def _store(self, entry: Entry) -> None:
        self._database.execute(_INSERT, [column_value(name, getattr(entry, name)) for name in COLUMNS])

    def _set(self, pnfsid: str, fields: Mapping[str, Any]) -> Entry:
        if unknown := set(fields) - set(COLUMNS) or set(fields) & {"pnfsid", "path", "parent"}:
            raise ValueError(f"not to be changed: {sorted(unknown)}")
        assignments = ", ".join(f"{name} = ?" for name in fields)
        values = [column_value(name, value) for name, value in fields.items()]
        with self._lock:
            found = self._row(
                f"UPDATE entry SET {assignments} WHERE pnfsid = ? RETURNING *",  # noqa: S608  names of COLUMNS
                *values,
                pnfsid,
            )
        if found is None:
            raise NotFound(pnfsid)
        return entry_of(found)

    def _touch(self, pnfsid: str | None) -> None:
        self._database.execute("UPDATE entry SET modified = ? WHERE pnfsid = ?", (time.time(), pnfsid))

    def _unlink(self, pnfsid: str) -> None:
        for pool in self._pools:
            self.data_file(pnfsid, pool).unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def _claimed(path: Path) -> TextIO:
    """The open file whose lock keeps other processes away. Raises WrongUsage when one of them has it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise WrongUsage(f"{path.parent} is in use by another process") from error
    return file


def _entry(
    pnfsid: str, parent: str | None, path: str, is_dir: bool, uid: int, gid: int, mode: int, now: float
) -> Entry:
    return Entry(
        pnfsid=pnfsid,
        parent=parent,
        path=path,
        is_dir=is_dir,
        size=None if not is_dir else 512,
        uid=uid,
        gid=gid,
        mode=mode,
        created=now,
        modified=now,
        accessed=now,
        changed=now,
        checksums={},
        latency="ONLINE",
        retention="REPLICA",
        pools=(),
        on_tape=False,
        target_qos=None,
        policy=None,
        policy_state=None,
        labels=frozenset(),
        xattrs={},
        storage=_FILE,
    )
