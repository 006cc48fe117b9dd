"""A storage in memory with the methods of WebDav that actions use, and switches for what can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xdc_testbed.clients.digests import Content, adler32
from xdc_testbed.clients.errors import NotFound, StorageError, storage_error
from xdc_testbed.clients.multistatus import Entry
from xdc_testbed.clients.thirdparty import TransferResult
from xdc_testbed.clients.webdav import Stat

Fault = Callable[[str, str], None]


def _no_fault(method: str, path: str) -> None:
    """Everything succeeds."""


@dataclass
class Store:
    """The content of one storage, by path. calls: (method, path) in order; fault: raises for the calls it dislikes;
    digests: whether checksums are told; replaces: whether MOVE replaces what is there."""

    files: dict[str, bytes] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    fault: Fault = _no_fault
    copies: list[MemoryCopy] = field(default_factory=list)
    digests: bool = True
    replaces: bool = True


class Stores:
    """All storages, by URL; opens them as WebDav is opened."""

    def __init__(self) -> None:
        self.by_url: dict[str, Store] = {}
        self.tokens = 0

    def add(self, url: str) -> Store:
        return self.by_url.setdefault(url, Store())

    def open(self, base_url: str) -> MemoryDav:
        return MemoryDav(base_url, self)


class MemoryDav:
    def __init__(self, base_url: str, stores: Stores) -> None:
        self._url, self._stores, self._store = base_url, stores, stores.by_url[base_url]

    def url(self, path: str) -> str:
        return self._url + path

    def head(self, path: str) -> Stat:
        data = self._read("HEAD", path)
        return Stat(len(data), {"adler32": adler32(data)} if self._store.digests else {})

    def exists(self, path: str) -> bool:
        return path in self._store.files

    def list(self, path: str) -> list[Entry]:
        self._call("PROPFIND", path)
        inside = [known for known in self._store.files if known.rpartition("/")[0] == path]
        if not inside:
            raise NotFound(f"PROPFIND {path}: HTTP 404", status=404)
        return [Entry(known.rpartition("/")[2], known, False, len(self._store.files[known]), None) for known in inside]

    def get(self, path: str) -> bytes:
        return self._read("GET", path)

    def read_into(self, path: str, at: int, room: memoryview) -> None:
        room[:] = self._read("GET", path)[at : at + len(room)]

    def upload(self, path: str, size: int, parts: Iterator[bytes | memoryview]) -> None:
        self._call("PUT", path)
        for part in parts:
            self._store.files[path] = self._store.files.get(path, b"") + part
        self._call("PUT-ended", path)
        assert len(self._store.files[path]) == size

    def receive(self, path: str, file: Path) -> Content:
        data = self._read("GET", path)
        file.write_bytes(data)
        return Content(len(data), adler32(data))

    def put(self, path: str, data: bytes | Path) -> Content:
        self._call("PUT", path)
        content = data if isinstance(data, bytes) else data.read_bytes()
        self._store.files[path] = content
        self._call("PUT-ended", path)
        return Content(len(content), adler32(content))

    def move(self, src: str, dst: str) -> None:
        self._call("MOVE", dst)
        if dst in self._store.files and not self._store.replaces:
            raise StorageError(f"MOVE {dst}: HTTP 409", status=409)
        self._store.files[dst] = self._store.files.pop(src)

    def delete(self, path: str) -> None:
        self._read("DELETE", path)
        del self._store.files[path]

    def mkcol(self, path: str) -> None:
        self._store.folders.append(path)

    def start_pull(self, source_url: str, path: str, *, source_token: str, timeout: float) -> MemoryCopy:
        self._call("COPY", path)
        assert source_token
        assert timeout > 0
        copy = MemoryCopy(lambda: self._copied(source_url, path))
        self._store.copies.append(copy)
        return copy

    def _copied(self, source_url: str, path: str) -> TransferResult:
        base = next(url for url in self._stores.by_url if source_url.startswith(url))
        self._store.files[path] = self._stores.by_url[base].files[source_url.removeprefix(base)]
        try:
            self._call("COPY-ended", path)
        except StorageError as error:  # XRootD 5.5 leaves what it has, and says it in the body
            return TransferResult(False, 201, error.body, (), 0.1)
        return TransferResult(True, 201, "Created", (), 0.1)

    def _read(self, method: str, path: str) -> bytes:
        self._call(method, path)
        if path not in self._store.files:
            raise NotFound(f"{method} {path}: HTTP 404", status=404)
        return self._store.files[path]

    def _call(self, method: str, path: str) -> None:
        self._store.calls.append((method, path))
        self._store.fault(method, path)


@dataclass
class MemoryCopy:
    """A third-party copy that ends when it is asked about for the second time."""

    carry_out: Callable[[], TransferResult]
    polls: int = 0
    cancelled: bool = False

    def poll(self) -> TransferResult | None:
        self.polls += 1
        return self.carry_out() if self.polls > 1 else None

    def cancel(self) -> None:
        self.cancelled = True


def failing(method: str, part: str, status: int, body: str = "", *, times: int = 10**9) -> Fault:
    """A fault for `times` calls of `method` on paths that contain `part`."""
    left = [times]

    def fault(called: str, path: str) -> None:
        if called == method and part in path and left[0]:
            left[0] -= 1
            raise storage_error(f"{method} {path}", status, body)

    return fault
