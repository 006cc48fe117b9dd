"""Endpoints, records and a storage in memory, for tests of the interoperability suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xdc_testbed.clients.digests import adler32
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.multistatus import Entry
from xdc_testbed.clients.webdav import Stat
from xdc_testbed.endpoints import Credentials, Endpoint
from xdc_testbed.interop.record import CaseRecord, Party, Timings
from xdc_testbed.interop.registry import Case, Scope

HELD = Credentials(
    issuer="https://issuer.test:8444",
    client_id="interop",
    client_secret_file=Path("/nowhere/interop.secret"),
    certificate=Path("/nowhere/usercert.pem"),
    private_key=Path("/nowhere/userkey.pem"),
)
STORAGE = (
    "get",
    "put",
    "delete",
    "move",
    "range",
    "checksum",
    "token",
    "x509",
    "macaroon",
    "public",
    "tpc",
    "root-tpc",
)
CACHE = ("get", "range", "checksum", "token", "x509")


def endpoint(name: str, capabilities: tuple[str, ...] = STORAGE, **more: Any) -> Endpoint:
    values: dict[str, Any] = {
        "id": name,
        "site": name.partition("-")[0],
        "product": "xrootd",
        "version": "5.5.3",
        "kind": "real",
        "urls": {"https": f"https://{name}.test:8443", "root": f"root://{name}.test:1094"},
        "credentials": HELD,
        "capabilities": capabilities,
    }
    return Endpoint(**{**values, **more})


DESY = endpoint("desy-storage")
REMOTE = endpoint("remote-storage")
XCACHE = endpoint("remote-cache", CACHE, product="xcache", origin="desy-storage")
SITES = [DESY, REMOTE, XCACHE]
DCACHE = endpoint("third-storage", product="dcache", urls={"https": "https://third-storage.test:2880"})


def nothing(_asked: object) -> None:
    """Ask nothing."""


def a_case(**more: Any) -> Case:
    values: dict[str, Any] = {
        "id": "subject.case",
        "title": "A case",
        "scope": Scope.ENDPOINT,
        "run": nothing,
        "needs": frozenset(),
        "destination_needs": frozenset(),
        "protocols": ("https",),
        "credentials": ("token",),
    }
    return Case(**{**values, **more})


def party(name: str = "desy-storage", **more: Any) -> Party:
    values: dict[str, Any] = {
        "endpoint": name,
        "site": "desy",
        "product": "xrootd",
        "version": "5.5.3",
        "kind": "real",
    }
    return Party(**{**values, **more})


def record(**more: Any) -> CaseRecord:
    values: dict[str, Any] = {
        "run_id": "run",
        "case_id": "subject.case",
        "title": "A case",
        "client": "xdc-testbed webdav",
        "source": party(),
        "protocol": "https",
        "credential": "token",
        "outcome": "pass",
        "timings": Timings(started_at=1764111600.0, seconds=0.5),
    }
    return CaseRecord(**{**values, **more})


class MemoryStorage:
    """A storage door that keeps files in memory: what WebDav offers, as far as the runner uses it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = {"/data", "/pub"}

    def url(self, path: str) -> str:
        return f"https://memory.test{path}"

    def put(self, path: str, data: bytes) -> None:
        self.folders.update(_parents(path))
        self.files[path] = data

    def get(self, path: str) -> bytes:
        return self.files[self._there(path)]

    def head(self, path: str, digest: str | None = "adler32") -> Stat:
        del digest  # adler32 costs nothing here
        data = self.files[self._there(path)]
        return Stat(size=len(data), checksums={"adler32": adler32(data)})

    def exists(self, path: str) -> bool:
        return path in self.files

    def delete(self, path: str) -> None:
        if path in self.folders:
            self.folders.remove(path)
        else:
            del self.files[self._there(path)]

    def mkcol(self, path: str) -> None:
        self.folders.update({path, *_parents(path)})

    def list(self, path: str) -> list[Entry]:
        if path not in self.folders:
            raise NotFound(f"{path} is not there", status=404)
        inside = {one for one in (*self.files, *self.folders) if one.rpartition("/")[0] == path}
        return [
            Entry(one.rpartition("/")[2], one, one in self.folders, len(self.files.get(one, b"")), None)
            for one in sorted(inside)
        ]

    def _there(self, path: str) -> str:
        if path not in self.files:
            raise NotFound(f"{path} is not there", status=404)
        return path


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
