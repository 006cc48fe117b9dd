"""HTTP and WebDAV storage: files, directories, checksums, macaroons and third-party copy.

Knows the protocol and the products' oddities (XRootD 5.5 and 6, dCache, EOS), and nothing of testbeds.
Redirects are followed here, not in the HTTP library: a body has to be sent again, and a token must not leave
its host.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

import httpx2

from xdc_testbed.clients import digests, multistatus, thirdparty
from xdc_testbed.clients.digests import Adler32, Content
from xdc_testbed.clients.errors import NotFound, StorageError, Unreachable, storage_error, unreachable, without_query
from xdc_testbed.clients.multistatus import Entry
from xdc_testbed.clients.running_copy import RunningCopy
from xdc_testbed.clients.thirdparty import TransferResult
from xdc_testbed.clients.tls import tls_context
from xdc_testbed.clients.upload import upload

log = logging.getLogger(__name__)

Listing = list[Entry]
Source = bytes | str | Path  # bytes to write, or the file that holds them

_REDIRECTS = 5
_REDIRECT = frozenset({301, 302, 303, 307, 308})
# These may be sent again when a kept connection turns out dead.
_REPEATABLE = frozenset({"GET", "HEAD", "PROPFIND", "PUT"})
_TRANSFER_DEADLINE = 600.0  # seconds


@dataclass(frozen=True)
class Stat:
    """A file by HEAD. size: bytes; checksums: {algorithm: lower-case hex}; mtime: epoch seconds; etag: as told, which
    another content does not have.
    """

    size: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    mtime: float | None = None
    etag: str | None = None


class WebDav:
    """One storage endpoint seen with one credential; usable from several threads.

    base_url: scheme, host and port; ca_file: PEM file or hashed directory, None for the system's; token:
    gives the bearer token of each request; cert: certificate and key, PEM; timeout: seconds without progress.
    Every method raises Unreachable without an answer, and StorageDenied, NotFound or StorageError for an
    answer that is not the one asked for.
    """

    def __init__(
        self,
        base_url: str,
        *,
        ca_file: str | Path | None = None,
        token: Callable[[], str] | None = None,
        cert: tuple[str | Path, str | Path] | None = None,
        timeout: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._token, self._timeout = token, timeout
        self._tls = tls_context(ca_file, cert) if transport is None else None
        self._host = urlsplit(self.base_url).hostname
        self._http = httpx2.Client(
            verify=self._tls or True,
            timeout=timeout,
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "xdc-testbed"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def url(self, path: str) -> str:
        """The URL of an absolute path, quoted."""
        return self.base_url + quote("/" + path.lstrip("/"), safe="/~")

    def put(self, path: str, data: Source) -> Content:
        """Write a file, replacing one that is there and making its parents. data: bytes, or a local file."""
        seen = Adler32()

        def body() -> Iterator[bytes]:
            nonlocal seen
            seen = Adler32()  # from the start again after a redirect
            with io.BytesIO(data) if isinstance(data, bytes) else Path(data).open("rb") as stream:
                for chunk in digests.chunks(stream):
                    seen.update(chunk)
                    yield chunk

        size = len(data) if isinstance(data, bytes) else Path(data).stat().st_size
        with self._send("PUT", path, headers={"Content-Length": str(size)}, body=body) as answer:
            self._check(answer)
            self._drain(answer)
        return seen.content()

    def get(self, path: str, range: tuple[int, int] | None = None) -> bytes:  # noqa: A002  HTTP's own word
        """The bytes of a file. range: first and last byte, both included; the storage must honour it."""
        headers = {} if range is None else {"Range": f"bytes={range[0]}-{range[1]}"}
        with self._send("GET", path, headers=headers) as answer:
            self._check(answer)
            data = b"".join(self._raw(answer))
            if range is not None and answer.status_code != 206:
                raise StorageError(f"GET {self.url(path)}: the range was ignored", status=answer.status_code)
            return data

    def read_into(self, path: str, at: int, room: memoryview) -> None:
        """Fill all of the room with the bytes of a file from `at` on. The storage must honour ranges.

        A range that breaks off is asked for once more: among the many of a file one connection may be lost.
        """
        try:
            self._fill(path, at, room)
        except Unreachable as error:
            log.info("once more: %s", error.message)
            self._fill(path, at, room)

    def upload(self, path: str, size: int, parts: Iterator[bytes | memoryview]) -> None:
        """Write a file of so many bytes that come one after the other and cannot be had twice.

        Before the first of them the storage is asked whether it takes the file. What `parts` raises goes through.
        """
        upload(self.url(path), size, parts, headers=self._headers, tls=self._tls, timeout=self._timeout)

    def download(self, path: str, file: str | Path) -> int:
        """Write a remote file to a local one; returns its size in bytes. A broken download leaves no file."""
        return self.receive(path, file).size

    def receive(self, path: str, file: str | Path) -> Content:
        """Like `download`, with the checksum of what came."""
        target, seen = Path(file), Adler32()
        try:
            with self._send("GET", path) as answer:
                self._check(answer)
                with target.open("wb") as stream:
                    for chunk in self._raw(answer):
                        seen.update(chunk)
                        stream.write(chunk)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return seen.content()

    def head(self, path: str, digest: str | None = "adler32") -> Stat:
        """Size, checksum and time of a file.

        digest: algorithm to ask for; None for none, as the storage may have to read the whole file for it.
        """
        headers = {} if digest is None else {"Want-Digest": digest}
        with self._send("HEAD", path, headers=headers) as answer:
            self._check(answer)
            self._drain(answer)
            return Stat(
                size=int(answer.headers.get("Content-Length", "0")),
                checksums=digests.parse(answer.headers.get_list("Digest")),
                mtime=multistatus.epoch(answer.headers.get("Last-Modified")),
                etag=answer.headers.get("ETag"),
            )

    def exists(self, path: str) -> bool:
        """Whether the path is there; a denied path raises."""
        try:
            self.head(path, digest=None)
        except NotFound:
            return False
        return True

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory."""
        self._done("DELETE", path)

    def mkcol(self, path: str, *, exist_ok: bool = True) -> None:
        """Make a directory. exist_ok: one that is there already is fine (405; products differ)."""
        try:
            self._done("MKCOL", path)
        except StorageError as error:
            if not (exist_ok and error.status in {405, 409, 500} and self._is_directory(path)):
                raise

    def move(self, src: str, dst: str, overwrite: bool = True) -> None:
        """Rename within this storage."""
        headers = {"Destination": self.url(dst), "Overwrite": "T" if overwrite else "F"}
        self._done("MOVE", src, headers=headers)

    def copy_pull(
        self,
        source_url: str,
        path: str,
        *,
        source_token: str | None = None,
        overwrite: bool = True,
        timeout: float = _TRANSFER_DEADLINE,
    ) -> TransferResult:
        """Third-party copy: this storage reads source_url with source_token and writes path.

        timeout: seconds in all. Any answer is a result, a refusal too; raises Unreachable without one, and
        DeadlineExceeded after timeout.
        """
        copy = self.start_pull(source_url, path, source_token=source_token, overwrite=overwrite, timeout=timeout)
        return copy.finish()

    def start_pull(
        self,
        source_url: str,
        path: str,
        *,
        source_token: str | None = None,
        overwrite: bool = True,
        timeout: float = _TRANSFER_DEADLINE,
    ) -> RunningCopy:
        """Begin what `copy_pull` does, to be followed by the caller. Raises the same."""
        headers = thirdparty.pull_headers(source_url, source_token=source_token, overwrite=overwrite)
        return self._copy(path, headers, timeout)

    def copy_push(
        self,
        path: str,
        destination_url: str,
        *,
        destination_token: str | None = None,
        overwrite: bool = True,
        timeout: float = _TRANSFER_DEADLINE,
    ) -> TransferResult:
        """Third-party copy: this storage reads path and writes destination_url; else like `copy_pull`."""
        headers = thirdparty.push_headers(destination_url, destination_token=destination_token, overwrite=overwrite)
        return self._copy(path, headers, timeout).finish()

    def macaroon(self, path: str, activities: list[str], validity: str = "PT10M") -> str:
        """A macaroon for path. activities: DOWNLOAD, UPLOAD, LIST, ...; validity: ISO 8601 duration."""
        wish = {"caveats": ["activity:" + ",".join(activities)], "validity": validity}
        text = json.dumps(wish).encode()
        headers = {"Content-Type": "application/macaroon-request", "Content-Length": str(len(text))}
        with self._send("POST", path, headers=headers, body=lambda: iter([text])) as answer:
            self._check(answer)
            content, status = b"".join(self._raw(answer)), answer.status_code
        try:
            return str(json.loads(content)["macaroon"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"POST {self.url(path)}: no macaroon in the answer", status=status) from error

    def list(self, path: str) -> Listing:
        """What is in a directory, in the server's order, without the directory itself."""
        with self._send("PROPFIND", path, headers={"Depth": "1"}) as answer:
            self._check(answer)
            document, server = b"".join(self._raw(answer)), answer.headers.get("Server", "")
        own = "/" + path.strip("/")
        try:
            return [entry for entry in multistatus.parse(document, server) if entry.path != own]
        except ValueError as error:
            raise StorageError(f"PROPFIND {self.url(path)}: {error}", status=207) from error

    def _fill(self, path: str, at: int, room: memoryview) -> None:
        headers, filled = {"Range": f"bytes={at}-{at + len(room) - 1}"}, 0
        with self._send("GET", path, headers=headers) as answer:
            self._check(answer)
            if answer.status_code != 206:
                raise StorageError(f"GET {self.url(path)}: the range was ignored", status=answer.status_code)
            for chunk in self._raw(answer):
                after = filled + len(chunk)
                if after <= len(room):
                    room[filled:after] = chunk
                filled = after
        if filled != len(room):
            raise StorageError(f"GET {self.url(path)}: {filled} bytes of a range of {len(room)}", status=206)

    def _is_directory(self, path: str) -> bool:
        with self._send("PROPFIND", path, headers={"Depth": "0"}) as answer:
            if answer.status_code != 207:
                return False
            return any(entry.is_directory for entry in multistatus.parse(b"".join(self._raw(answer))))

    def _done(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        with self._send(method, path, headers=headers) as answer:
            self._check(answer)
            self._drain(answer)

    def _copy(self, path: str, headers: Mapping[str, str], timeout: float) -> RunningCopy:
        return RunningCopy(self.url(path), self._send("COPY", path, headers=headers, timeout=timeout), timeout)

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterator[bytes]] | None = None,
        timeout: float | None = None,
    ) -> Iterator[httpx2.Response]:
        """Send a request, follow its redirects, and give the last answer with its body unread."""
        url = self.url(path)
        for _ in range(_REDIRECTS + 1):
            answer = self._once(method, url, {**(headers or {}), **self._headers(url)}, body, timeout)
            try:
                if answer.status_code not in _REDIRECT or "Location" not in answer.headers:
                    yield answer
                    return
                self._drain(answer)
                url = urljoin(url, answer.headers["Location"])
            finally:
                answer.close()
        raise StorageError(f"{method} {self.url(path)}: too many redirects", status=answer.status_code)

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Iterator[bytes]] | None,
        timeout: float | None,
    ) -> httpx2.Response:
        attempts = 2 if method in _REPEATABLE else 1
        while True:
            attempts -= 1
            request = self._http.build_request(
                method,
                url,
                headers=dict(headers),
                content=None if body is None else body(),
                timeout=self._http.timeout if timeout is None else httpx2.Timeout(timeout, connect=10.0),
            )
            try:
                return self._http.send(request, stream=True)
            except (
                httpx2.ConnectError,  # XRootD 5.5 resets a new connection now and then while others are being closed
                httpx2.RemoteProtocolError,
                httpx2.ReadError,
                httpx2.WriteError,
            ) as error:
                if attempts == 0:
                    raise unreachable(method, url, error) from error
            except httpx2.HTTPError as error:
                if method == "COPY" and isinstance(error, httpx2.ReadTimeout):
                    raise
                raise unreachable(method, url, error) from error

    def _headers(self, url: str) -> dict[str, str]:
        """The credential of a request: a token never goes to another host than the one it is meant for."""
        if self._token is None or urlsplit(url).hostname != self._host:
            return {}
        return {"Authorization": f"Bearer {self._token()}"}

    def _raw(self, answer: httpx2.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_raw()
        except httpx2.HTTPError as error:
            raise unreachable(answer.request.method, str(answer.request.url), error) from error

    def _drain(self, answer: httpx2.Response) -> None:
        """Read what nobody wants, as the connection is kept only then."""
        for _ in self._raw(answer):
            pass

    def _check(self, answer: httpx2.Response) -> None:
        if answer.status_code < 400:
            return
        try:
            text = answer.read().decode(errors="replace")
        except httpx2.HTTPError:
            text = ""  # the status alone says enough
        what = f"{answer.request.method} {without_query(str(answer.request.url))}"
        raise storage_error(what, answer.status_code, text, authorization=answer.request.headers.get("Authorization"))
