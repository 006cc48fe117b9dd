"""PUT of bytes that come one after the other and cannot be had twice, of a length that is known before.

The storage says first whether it takes the file, and where (`Expect: 100-continue`, RFC 9110, 10.1.1): a redirect
or a refusal then costs nothing. That, and large parts on their way without a copy, the HTTP library has not.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email.message import Message
from http.client import parse_headers
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from xdc_testbed.clients.errors import StorageError, Unreachable, storage_error, unreachable, without_query

log = logging.getLogger(__name__)

_REDIRECTS = 5
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_CONTINUE = 100
_PATIENCE = 5.0  # seconds for the answer to `Expect`; some servers have none
_TEXT = 4096  # bytes of an answer that are read


def upload(
    url: str,
    size: int,
    parts: Iterator[bytes | memoryview],
    *,
    headers: Callable[[str], Mapping[str, str]],
    tls: ssl.SSLContext | None,
    timeout: float,
) -> None:
    """Write `size` bytes. headers: the credential for a URL; timeout: seconds without progress.

    Raises Unreachable without an answer, StorageError and its kinds for a refusal, and what `parts` raises.
    """
    for _ in range(_REDIRECTS + 1):
        credential = headers(url)
        request = _request(url, size, credential)
        with _asked(url, request, tls, timeout, waits=size > 0) as (connection, status, told, text):
            if status in _REDIRECT and "Location" in told:
                url = urljoin(url, told["Location"])
                continue
            if status == _CONTINUE:
                status, text = _body(connection, url, size, parts)
        if not 200 <= status < 300:
            authorization = credential.get("Authorization")
            raise storage_error(f"PUT {without_query(url)}", status, text, authorization=authorization)
        return
    raise StorageError(f"PUT {without_query(url)}: too many redirects", status=status)


def _request(url: str, size: int, credential: Mapping[str, str]) -> bytes:
    to = urlsplit(url)
    lines = [
        f"PUT {to.path or '/'}{'?' + to.query if to.query else ''} HTTP/1.1",
        f"Host: {to.netloc}",
        "User-Agent: xdc-testbed",
        "Accept-Encoding: identity",
        f"Content-Length: {size}",
        *(["Expect: 100-continue"] if size else []),  # nothing to wait for: XRootD then says nothing at all
        *(f"{name}: {value}" for name, value in credential.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@contextmanager
def _asked(
    url: str, request: bytes, tls: ssl.SSLContext | None, timeout: float, *, waits: bool
) -> Iterator[tuple[socket.socket, int, Message, str]]:
    """The connection, and the answer to the request alone. A connection that is lost before is made once more."""
    with ExitStack() as stack:
        for again in (True, False):
            try:
                connection = stack.enter_context(_connected(url, tls, timeout))
                _send(connection, url, request)
                answer = _expected(connection, url, timeout) if waits else (_CONTINUE, Message(), "")
                break
            except Unreachable as error:
                if not again:
                    raise
                log.info("once more: %s", error.message)
        yield connection, *answer


def _expected(connection: socket.socket, url: str, timeout: float) -> tuple[int, Message, str]:
    """The answer before anything was sent; silence means that the storage waits for the file."""
    connection.settimeout(min(_PATIENCE, timeout))
    try:
        return _answer(connection, url)
    except TimeoutError:
        return _CONTINUE, Message(), ""
    finally:
        connection.settimeout(timeout)


def _body(connection: socket.socket, url: str, size: int, parts: Iterator[bytes | memoryview]) -> tuple[int, str]:
    """Send the file; status and text of the answer to it."""
    sent = 0
    for part in parts:
        try:
            _send(connection, url, part)
        except Unreachable:
            return _final(connection, url)  # a storage that is full says so, and closes
        sent += len(part)
    if sent != size:
        raise ValueError(f"{sent} bytes where {size} were announced")
    return _final(connection, url)


def _final(connection: socket.socket, url: str) -> tuple[int, str]:
    """Status and text of the answer to the file; one that asks for the file may still come before it."""
    status = _CONTINUE
    while status == _CONTINUE:
        try:
            status, _, text = _answer(connection, url)
        except TimeoutError as error:
            raise unreachable("PUT", url, error) from error
    return status, text


def _answer(connection: socket.socket, url: str) -> tuple[int, Message, str]:
    """Raises TimeoutError for silence."""
    try:
        with connection.makefile("rb") as stream:
            words = stream.readline(_TEXT).split(None, 2)
            if len(words) < 2 or not words[1].isdigit():
                raise unreachable("PUT", url, ConnectionError("the connection was closed without an answer"))
            status, told = int(words[1]), parse_headers(stream)
            return status, told, _text(stream, told) if status != _CONTINUE else ""
    except TimeoutError:
        raise
    except OSError as error:
        raise unreachable("PUT", url, error) from error


def _text(stream: BinaryIO, told: Message) -> str:
    length = told.get("Content-Length", "0")
    if told.get("Transfer-Encoding", "").lower() == "chunked":
        length = str(int(stream.readline(_TEXT).split(b";")[0] or b"0", 16))
    return stream.read(min(int(length), _TEXT)).decode(errors="replace")


def _send(connection: socket.socket, url: str, data: bytes | memoryview) -> None:
    try:
        connection.sendall(data)
    except OSError as error:
        raise unreachable("PUT", url, error) from error


@contextmanager
def _connected(url: str, tls: ssl.SSLContext | None, timeout: float) -> Iterator[socket.socket]:
    to = urlsplit(url)
    secure = to.scheme != "http"
    try:
        connection = socket.create_connection((to.hostname or "", to.port or (443 if secure else 80)), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            connection = (tls or ssl.create_default_context()).wrap_socket(connection, server_hostname=to.hostname)
    except OSError as error:
        raise unreachable("PUT", url, error) from error
    with connection:
        yield connection
