"""dCache over its frontend's REST API: namespace, quality of service, bulk requests, tape. The product or the emulator.

Events have a module of their own, `dcache_events`. Paths in answers and requests are absolute. Errors are those of
`clients.errors`, and Busy. Source: dCache 11.2 and 12.0 as seen on the wire.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2

from xdc_testbed.clients import dcache_answers
from xdc_testbed.clients.dcache_answers import BulkRequest, Busy, FileInfo, Json, QosClass, StageRequest, refusal
from xdc_testbed.clients.errors import StorageError, Unreachable
from xdc_testbed.clients.tls import tls_context
from xdc_testbed.errors import DeadlineExceeded, WrongUsage

__all__ = ["BulkRequest", "Busy", "Credential", "Dcache", "FileInfo", "QosClass", "StageRequest"]

Listing = list[FileInfo]
Value = TypeVar("Value")

_API = "/api/v1/"
_CONNECT = 10.0  # seconds
_BEFORE_ANSWER = (httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


@dataclass(frozen=True)
class Credential:
    """Who asks: a bearer token, user and password, or a certificate with its key (PEM). None of them: nobody."""

    token: Callable[[], str] | None = field(default=None, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)
    certificate: tuple[str | Path, str | Path] | None = None

    @classmethod
    def from_files(
        cls,
        *,
        token_file: Path | None = None,
        basic_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> Credential:
        """A credential out of files that only their owner may read.

        token_file is read again for every request, so that whoever renews it may replace it; basic_file holds
        `user:password`. Raises WrongUsage.
        """
        if certificate is not None and key is not None:
            _private(key)
            return cls(certificate=(certificate, key))
        if basic_file is not None:
            user, separator, password = _private(basic_file).partition(":")
            if not separator:
                raise WrongUsage(f"{basic_file}: no user:password in it", remedy="write one line, user:password")
            return cls(basic=(user, password))
        if token_file is not None:
            _private(token_file)
            return cls(token=lambda: _private(token_file))
        return cls()


class Dcache:
    """One frontend seen with one credential; usable from several threads.

    base_url: scheme, host and port of the frontend; ca_file: PEM or hashed directory, None for the system's; timeout:
    seconds without progress. Every method raises Unreachable without an answer, and StorageDenied, NotFound, Busy or
    StorageError for an answer that is not the one asked for.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca_file: str | Path | None = None,
        credential: Credential = Credential(),
        timeout: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/api/v1")
        self._credential = credential
        self.http = httpx2.Client(
            verify=tls_context(ca_file, credential.certificate) if transport is None else True,
            auth=httpx2.BasicAuth(*credential.basic) if credential.basic else None,
            timeout=httpx2.Timeout(timeout, connect=_CONNECT),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "xdc-testbed"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()

    # -- namespace ------------------------------------------------------------------------------------------------

    def stat(self, path: str, *, checksum: bool = False, qos: bool = False, optional: bool = False) -> FileInfo:
        """One name; checksum, qos (with locality) and optional (with `changed` and `tape`) say what to tell of it."""
        told = self.call("GET", self._name(path), params=_wishes(checksum, qos, optional))
        return self._read(lambda: dcache_answers.file_info(_clean(path), told), "GET", path)

    def list(self, path: str, *, checksum: bool = False, qos: bool = False) -> Listing:
        """What is in a directory, in the server's order."""
        return self.listing(path, checksum=checksum, qos=qos)[1]

    def listing(self, path: str, *, checksum: bool = False, qos: bool = False) -> tuple[FileInfo, Listing]:
        """A directory and what is in it, of one moment."""
        told = self.call("GET", self._name(path), params={"children": "true", **_wishes(checksum, qos, False)})
        folder = _clean(path).rstrip("/")
        return self._read(
            lambda: (
                dcache_answers.file_info(folder or "/", told),
                [
                    dcache_answers.file_info(f"{folder}/{child['fileName']}", child)
                    for child in told.get("children") or ()
                ],
            ),
            "GET",
            path,
        )

    def by_id(self, pnfsid: str) -> FileInfo:
        """A file by its id; dCache tells it administrators only (StorageDenied for others)."""
        told = self.call("GET", f"id/{quote(pnfsid, safe='')}")
        return self._read(
            lambda: dcache_answers.file_info(str(told["path"]), {"pnfsId": pnfsid, **told}), "GET", pnfsid
        )

    def mkdir(self, path: str) -> None:
        """Make a directory whose parent is there."""
        parent, _, name = _clean(path).rpartition("/")
        self.call("POST", self._name(parent or "/"), json={"action": "mkdir", "name": name})

    def rename(self, path: str, destination: str) -> None:
        """Give a name another one."""
        self.call("POST", self._name(path), json={"action": "mv", "destination": destination})

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory."""
        self.call("DELETE", self._name(path))

    # -- quality of service ---------------------------------------------------------------------------------------

    def qos_classes(self, kind: str = "file") -> tuple[str, ...]:
        """Names of the classes. kind: `file` or `directory`."""
        told = self.call("GET", f"qos-management/qos/{kind}")
        return self._read(lambda: tuple(str(name) for name in told["name"]), "GET", kind)

    def qos_class(self, name: str, kind: str = "file") -> QosClass:
        """One class with the transitions that it allows."""
        told = self.call("GET", f"qos-management/qos/{kind}/{quote(name, safe='')}")
        return self._read(lambda: dcache_answers.qos_class(told), "GET", name)

    def request_qos(self, path: str, target: str) -> None:
        """Ask for another class. An unknown one is refused here: dCache takes any word and makes the file volatile.

        Success means that the wish was taken, not that anything has happened: see `await_qos`.
        """
        if target not in (known := self.qos_classes()):
            raise WrongUsage(f"no QoS class {target!r}; there are {', '.join(known)}", remedy="ask for one of these")
        self.call("POST", self._name(path), json={"action": "qos", "target": target})

    def await_qos(self, path: str, target: str, *, timeout: float, pause: float = 0.5) -> FileInfo:
        """The file once it has the class (`FileInfo.has_class`). timeout, pause: seconds. Raises DeadlineExceeded."""

        def arrived() -> FileInfo | None:
            info = self.stat(path, qos=True)
            return info if info.has_class(target) else None

        return _until(arrived, f"{path}: QoS {target}", timeout, pause)

    def pin(self, path: str, *, lifetime: float) -> None:
        """Keep the file on disk, fetching it from tape if need be, for lifetime seconds."""
        self.call(
            "POST",
            self._name(path),
            json={"action": "pin", "lifetime": max(1, round(lifetime)), "lifetime-unit": "SECONDS"},
        )

    def unpin(self, path: str) -> None:
        """Take the pin away."""
        self.call("POST", self._name(path), json={"action": "unpin"})

    # -- bulk -----------------------------------------------------------------------------------------------------

    def bulk(self, activity: str, targets: Iterable[str], **arguments: str) -> str:
        """Begin a bulk request; its id. activity: UPDATE_QOS, PIN, UNPIN, STAGE, RELEASE, DELETE; arguments: its own,
        e.g. targetQos="tape". At most 500 targets (the product's limit).
        """
        wish: Json = {"activity": activity, "target": [*targets]}
        if arguments:
            wish["arguments"] = arguments
        answer = self.send("POST", "bulk-requests", json=wish)
        location = answer.headers.get("request-url")
        if not location:
            raise StorageError("POST bulk-requests: no request-url in the answer", status=answer.status_code)
        return urlsplit(location).path.rstrip("/").rpartition("/")[2]

    def bulk_status(self, request: str) -> BulkRequest:
        """How far a bulk request is."""
        told = self.call("GET", f"bulk-requests/{request}")
        return self._read(lambda: dcache_answers.bulk_request(told), "GET", request)

    def await_bulk(self, request: str, *, timeout: float, pause: float = 0.5) -> BulkRequest:
        """The request once it has ended; its targets may have failed. Raises DeadlineExceeded."""

        def ended() -> BulkRequest | None:
            state = self.bulk_status(request)
            return state if state.ended else None

        return _until(ended, f"bulk request {request}", timeout, pause)

    def cancel_bulk(self, request: str) -> None:
        """Stop what has not been done yet."""
        self.call("PATCH", f"bulk-requests/{request}", json={"action": "cancel"})

    def delete_bulk(self, request: str) -> None:
        """Forget an ended request."""
        self.call("DELETE", f"bulk-requests/{request}")

    # -- tape (WLCG tape REST API v1) -----------------------------------------------------------------------------

    def stage(self, paths: Iterable[str], *, lifetime: str = "PT1H") -> str:
        """Begin to fetch files from tape; the id of the request. lifetime: ISO 8601, how long they stay on disk."""
        told = self.call("POST", "tape/stage", json={"files": [{"path": p, "diskLifetime": lifetime} for p in paths]})
        return self._read(lambda: str(told["requestId"]), "POST", "tape/stage")

    def stage_status(self, request: str) -> StageRequest:
        """How far a stage request is."""
        told = self.call("GET", f"tape/stage/{request}")
        return self._read(lambda: dcache_answers.stage_request(told), "GET", request)

    def await_stage(self, request: str, *, timeout: float, pause: float = 0.5) -> StageRequest:
        """The request once every file is on disk or failed. Raises DeadlineExceeded."""

        def ended() -> StageRequest | None:
            state = self.stage_status(request)
            return state if state.ended else None

        return _until(ended, f"stage request {request}", timeout, pause)

    def cancel_stage(self, request: str, paths: Iterable[str]) -> None:
        """Fetch these files no more."""
        self.call("POST", f"tape/stage/{request}/cancel", json={"paths": [*paths]})

    def release(self, request: str, paths: Iterable[str]) -> None:
        """Let the disk copies of these files go."""
        self.call("POST", f"tape/release/{request}", json={"paths": [*paths]})

    def archive_info(self, paths: Iterable[str]) -> dict[str, str]:
        """Locality of each path (DISK, TAPE, DISK_AND_TAPE, ...); those that are not there are left out."""
        told = self.call("POST", "tape/archiveinfo", json={"paths": [*paths]})
        return self._read(
            lambda: {str(each["path"]): str(each["locality"]) for each in told if "locality" in each}, "POST", "tape"
        )

    def user(self) -> Json:
        """Who the frontend takes this client for: `status`, `uid`, `username`, `roles`, ..."""
        return dict(self.call("GET", "user"))

    # -- requests -------------------------------------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        """The credential, when it is a token."""
        return {} if self._credential.token is None else {"Authorization": f"Bearer {self._credential.token()}"}

    def url(self, where: str) -> str:
        """The URL of something below the API, or of an absolute path (as `dcache_events` names channels)."""
        return self.base_url + (where if where.startswith("/") else _API + where)

    def send(self, method: str, where: str, *, json: Json | None = None, params: Json | None = None) -> httpx2.Response:
        """One request, its answer read; 303 counts as success. A GET is asked twice when the connection breaks."""
        url, attempts = self.url(where), 2 if method == "GET" else 1
        while True:
            attempts -= 1
            try:
                answer = self.http.request(method, url, json=json, params=params, headers=self.headers())
            except httpx2.HTTPError as error:
                if attempts and isinstance(error, _BEFORE_ANSWER):
                    continue
                raise unreachable(method, url, error) from error
            if answer.status_code < 400:
                return answer
            sent = answer.request.headers.get("Authorization")
            raise refusal(f"{method} {url}", answer.status_code, answer.headers, answer.text, authorization=sent)

    def call(self, method: str, where: str, *, json: Json | None = None, params: Json | None = None) -> Any:
        """Like `send`, but the JSON of the answer; None for an empty one."""
        answer = self.send(method, where, json=json, params=params)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise StorageError(
                f"{method} {self.url(where)}: no JSON in the answer", status=answer.status_code
            ) from error

    def _name(self, path: str) -> str:
        return "namespace" + quote(_clean(path), safe="/~")

    def _read(self, read: Callable[[], Value], method: str, what: str) -> Value:
        try:
            return read()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise StorageError(f"{method} {what}: not what dCache answers: {error!r}", status=200) from error


def unreachable(method: str, url: str, error: Exception) -> Unreachable:
    """The error for a request without an answer."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"{method} {url}: {reason}", remedy="is the frontend up, and is its name known here?")


def _clean(path: str) -> str:
    return "/" + path.strip("/")


def _wishes(checksum: bool, qos: bool, optional: bool) -> Json:
    wishes = {"checksum": checksum, "qos": qos, "locality": qos, "optional": optional}
    return {name: "true" for name, wanted in wishes.items() if wanted}


def _private(path: Path) -> str:
    """The text of a file that nobody but its owner may read."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise WrongUsage(f"{path}: others may read it", remedy=f"chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}", remedy="give a readable file") from None


def _until(observe: Callable[[], Value | None], what: str, timeout: float, pause: float) -> Value:
    deadline = time.monotonic() + timeout
    while (value := observe()) is None:
        if time.monotonic() + pause > deadline:
            raise DeadlineExceeded(f"{what} was not reached within {timeout:g} s", remedy="look at the storage's log")
        time.sleep(pause)
    return value
