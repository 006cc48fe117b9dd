"""The other side of a third-party copy: one request at a time, redirects followed, `Expect: 100-continue` for uploads.

No client library waits for 100 before it sends a body, and a redirect must be followed before that; hence h11.
Authorization is not sent on to where a redirect leads, as in the product.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import h11

_MOST_REDIRECTS = 20
_CONNECT = 30.0
_SILENT = 60.0
_CONTINUE = 3.0
_PIECE = 256 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class PeerFailed(Exception):
    """The copy cannot go on; the text is what the client of the copy reads."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said. headers: names in lower case; url: where it came from after redirects."""

    status: int
    reason: str
    headers: Mapping[str, str]
    url: str

    @property
    def line(self) -> str:
        """`404 Not Found`."""
        return f"{self.status} {self.reason}".rstrip()


class Peer:
    """Speaks to the other side for one copy. remote: address and port of the last connection; local: our end of it."""

    def __init__(self, context: ssl.SSLContext, agent: str, headers: Mapping[str, str]) -> None:
        self._context = context
        self._agent = agent
        self._headers = dict(headers)
        self._socket: socket.socket | None = None
        self._wire: h11.Connection | None = None
        self._closed = False
        self.remote: tuple[str, int] | None = None
        self.local: str | None = None
        self.redirections: list[str] = []

    def ask(self, method: str, url: str, extra: Mapping[str, str] | None = None, length: int | None = None) -> Answer:
        """Send a request and read the head of its answer. length: of a body that follows by send_body when the answer
        is 100, which this method returns then. Raises PeerFailed."""
        headers = {**(extra or {}), **self._headers}
        self.redirections = []
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(method, url, headers, length)
            where = answer.headers.get("location")
            if answer.status not in REDIRECTS or where is None:
                return answer
            url = urljoin(url, where)
            self.redirections.append(url)
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        raise PeerFailed(f"Maximum redirects ({_MOST_REDIRECTS}) exceeded")

    def body(self) -> Iterator[bytes]:
        """The body of the last answer. Raises PeerFailed when it breaks off."""
        expected, received = self._expected, 0
        while True:
            try:
                event = self._event()
            except (OSError, h11.RemoteProtocolError) as error:
                if expected is not None:
                    raise PeerFailed(
                        f"Premature end of Content-Length delimited message body (expected: {expected}; "
                        f"received: {received}"
                    ) from error
                raise PeerFailed(f"Premature end of chunk coded message body: {error}") from error
            if isinstance(event, h11.Data):
                received += len(event.data)
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed | h11.PAUSED):
                return

    def send_body(self, pieces: Iterator[bytes], sent: Callable[[int], None], length: int, url: str) -> Answer:
        """Send the announced body, and read the answer. Raises PeerFailed."""
        assert self._wire is not None  # noqa: S101  ask came before
        gone = 0
        try:
            for piece in pieces:
                self._send(self._wire.send(h11.Data(data=piece)))
                gone += len(piece)
                sent(len(piece))
            self._send(self._wire.send(h11.EndOfMessage()))
            answer = self._head(url, _SILENT)
        except (OSError, h11.RemoteProtocolError) as error:
            raise PeerFailed(self._broken(gone, length)) from error
        return answer

    def close(self) -> None:
        """Break off whatever runs, also from another thread."""
        self._closed = True
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _broken(self, gone: int, length: int) -> str:
        gone = max(0, gone - 1)  # as the product counts, see oddities.py
        share = 100.0 * gone / (length - 1) if length > 1 else 100.0
        text = (
            "failed to send PUT request: The server failed to respond with a valid HTTP response; after sending "
            f"{gone} B ({gone / 1024:.0f} KiB) ({share:.1f}%)"
        )
        return f"{text}; redirections [{', '.join(self.redirections)}]" if self.redirections else text

    def _once(self, method: str, url: str, headers: Mapping[str, str], length: int | None) -> Answer:
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        self._connect(host, port, secure)
        assert self._wire is not None  # noqa: S101  connected just now
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        usual = {"Host": parts.netloc.rpartition("@")[2], "Connection": "close", "User-Agent": self._agent}
        if length is not None:
            usual["Content-Length"] = str(length)
            if length:
                usual["Expect"] = "100-continue"
        try:
            request = h11.Request(method=method, target=target, headers=list({**headers, **usual}.items()))
            self._send(self._wire.send(request))
            if length is None:
                self._send(self._wire.send(h11.EndOfMessage()))
                return self._head(url, _SILENT)
            try:
                return self._head(url, _CONTINUE, informational=True)
            except TimeoutError:
                return Answer(100, "Continue", {}, url)
        except h11.LocalProtocolError as error:
            raise PeerFailed(f"failed to send {method} request: {error}") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise PeerFailed(
                self._broken(0, length or 0) if length is not None else f"{parts.netloc} failed to respond"
            ) from error

    def _head(self, url: str, patience: float, *, informational: bool = False) -> Answer:
        deadline = time.monotonic() + patience
        assert self._socket is not None  # noqa: S101  connected before
        while True:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            event = self._event()
            if isinstance(event, h11.InformationalResponse):
                if informational and event.status_code == 100:
                    self._socket.settimeout(_SILENT)
                    return Answer(100, "Continue", {}, url)
                continue
            if isinstance(event, h11.Response):
                self._socket.settimeout(_SILENT)
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in event.headers}
                given = headers.get("content-length")
                self._expected = int(given) if given is not None and given.isdigit() else None
                return Answer(event.status_code, event.reason.decode("latin-1"), headers, url)
            raise ConnectionError("no answer")

    _expected: int | None = None

    def _event(self) -> object:
        assert self._wire is not None and self._socket is not None  # noqa: S101, PT018  connected before
        while True:
            event = self._wire.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._wire.receive_data(self._socket.recv(_PIECE))

    def _send(self, data: bytes | None) -> None:
        assert self._socket is not None  # noqa: S101  connected before
        if data:
            self._socket.sendall(data)

    def _connect(self, host: str, port: int, secure: bool) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._closed:
            raise PeerFailed("transfer cancelled")
        try:
            sock = socket.create_connection((host, port), _CONNECT)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PeerFailed(f"Connect to {host}:{port} [{_named(host)}] failed: {reason}") from error
        self._socket = sock
        self.remote = sock.getpeername()[:2]
        self.local = "{}:{}".format(*sock.getsockname()[:2])
        sock.settimeout(_SILENT)
        if secure:
            try:
                self._socket = self._context.wrap_socket(sock, server_hostname=host)
            except ssl.SSLCertVerificationError as error:
                sock.close()
                raise PeerFailed(_untrusted(host, error)) from error
            except OSError as error:
                sock.close()
                raise PeerFailed(f"Connect to {host}:{port} [{_named(host)}] failed: {error}") from error
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=256 * 1024)


def _named(host: str) -> str:
    """`name/address`, as Java prints an address."""
    try:
        address = socket.gethostbyname(host)
    except OSError:
        return host
    return f"/{address}" if address == host else f"{host}/{address}"


def _untrusted(host: str, error: ssl.SSLCertVerificationError) -> str:
    """The product's words for a certificate of no known authority, and the library's for any other fault of it."""
    errors = error.verify_message
    if error.verify_code in {18, 19, 20, 21}:
        errors = (
            "error affecting the whole chain (category: X509_CHAIN): No trusted CA certificate was found for the "
            f"certificate chain;error at position 0 in chain, problematic certificate subject: CN={host} "
            "(category: X509_CHAIN): The certificate has a valid signature, but is no trust anchor"
        )
    return (
        f"The peer's certificate with subject's DN CN={host} was rejected. The peer's certificate status is: FAILED "
        f"The following validation errors were found:;{errors}"
    )
