"""HTTP/1.1 over blocking sockets, one thread per connection: what the doors and the movers speak.

The product puts its reasons into the status line, redirects a PUT before its body is sent, and moves bytes with
sendfile: none of the usual ASGI servers can do these, so this one exists. Messages are parsed by httptools.
"""

from __future__ import annotations

import email.utils
import logging
import mmap
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO

import httptools

_log = logging.getLogger(__name__)
_IDLE = 120.0
STALLED = 60.0
"""Seconds without a byte after which a busy connection is given up."""
_READ = 256 * 1024
_WRITE = 1 << 20
_LARGEST_HEAD = 64 * 1024


class ConnectionLost(Exception):
    """The client has closed the connection, or has been silent for too long, or sent what is not HTTP."""


@dataclass(slots=True)
class Response:
    """One answer. headers: in the order in which they are sent, without those that every answer has; reason: of the
    status line, the usual one when empty."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    reason: str = ""

    @property
    def status_line(self) -> str:
        """Status and reason."""
        return f"{self.status} {self.reason or HTTPStatus(self.status).phrase}"


class Connection:
    """A socket and the message that is being read from it."""

    def __init__(self, sock: socket.socket, peer: tuple[str, int], secure: bool) -> None:
        self.socket = sock
        self.peer = peer
        self.secure = secure
        self.local: tuple[str, int] = sock.getsockname()[:2]
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head = self._complete = self._more = self._keep = False
        self._body: list[bytes] = []

    def on_message_begin(self) -> None:
        """Called by httptools."""
        if self._head:
            self._more = True

    def on_url(self, url: bytes) -> None:
        """Called by httptools."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        if self._more:
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        if not self._more:
            self._head = True
            self._keep = bool(self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        if not self._more:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self._complete = True

    def read_request(self) -> Request | None:
        """The head of the next request; None when the client is done. Raises ConnectionLost."""
        self._url, self._headers, self._body = b"", {}, []
        self._head = self._complete = False
        self.socket.settimeout(_IDLE)
        size = 0
        while not self._head:
            data = self._receive()
            if not data:
                if size:
                    raise ConnectionLost("in the head of a request")
                return None
            self.socket.settimeout(STALLED)
            size += len(data)
            self._feed(data)
            if size > _LARGEST_HEAD and not self._head:
                raise ConnectionLost("a head that is too large")
        return Request(
            method=self._parser.get_method().decode("ascii"),
            target=self._url.decode("latin-1"),
            headers=self._headers,
            connection=self,
        )

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow: the client wants it, and has sent neither too much nor too little."""
        return self._keep and self._complete and not self._more

    @property
    def body_complete(self) -> bool:
        """Whether all of the request's body has been received."""
        return self._complete

    def body(self) -> Iterator[bytes]:
        """The body of the request as it comes. Raises ConnectionLost when it ends too early."""
        while True:
            chunks, self._body = self._body, []
            yield from chunks
            if self._complete and not self._body:
                return
            if not self._body:
                data = self._receive()
                if not data:
                    raise ConnectionLost("in the body of a request")
                self._feed(data)

    def gone(self) -> bool:
        """Whether the client has closed; called when the socket can be read, and takes what there is to read."""
        try:
            self.socket.settimeout(0.1)
            data = self.socket.recv(_READ)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(STALLED)
        if data:
            self._feed(data)
        return not data

    def send(self, data: bytes) -> None:
        """Send all of data. Raises ConnectionLost."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def send_file(self, file: BinaryIO, start: int, length: int, sent: Callable[[int], None]) -> None:
        """Send a part of a file, and tell how much of it has gone. Raises ConnectionLost."""
        if length == 0:
            return
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                self._send_mapped(file, start, length, sent)
            else:
                while length:
                    gone = self.socket.sendfile(file, start, min(length, 64 * _WRITE))
                    if not gone:
                        raise ConnectionLost("the file has become shorter")
                    sent(gone)
                    start, length = start + gone, length - gone
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def _send_mapped(self, file: BinaryIO, start: int, length: int, sent: Callable[[int], None]) -> None:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as whole:
            mapped.madvise(mmap.MADV_SEQUENTIAL)
            end, lost = start + length, ""
            while start < end and not lost:
                with whole[start : min(start + _WRITE, end)] as part:
                    try:
                        self.socket.sendall(part)
                    except OSError as error:  # its traceback holds views of the map, which then could not be closed
                        lost = str(error) or type(error).__name__
                    else:
                        sent(len(part))
                        start += len(part)
        if lost:
            raise ConnectionLost(lost)

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(_READ)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError as error:
            raise ConnectionLost(f"not HTTP: {error}") from error


@dataclass(slots=True)
class Request:
    """The head of a request. target: as sent; headers: names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    connection: Connection

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for 100 before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"

    @property
    def length(self) -> int | None:
        """Content-Length, None without one."""
        value = self.headers.get("content-length")
        return int(value) if value is not None and value.isdigit() else None

    @property
    def client(self) -> str:
        """Address of the client."""
        return self.connection.peer[0]

    def certificate(self) -> bytes | None:
        """The client's certificate in DER."""
        sock = self.connection.socket
        return sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None


def http_date(moment: float | None = None) -> str:
    """A moment as HTTP writes it."""
    return email.utils.formatdate(moment, usegmt=True)
