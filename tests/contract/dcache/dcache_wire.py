"""One HTTP request exactly as it is given, over a connection of its own, and the answer as it comes."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_PATIENCE = 30.0


@dataclass(frozen=True)
class Answer:
    """status: `201 Created`, "" when none came; headers: in order; continued: whether 100 came before."""

    status: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    continued: bool = False
    lines: dict[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str:
        """A header by its lower-case name, "" without one."""
        return self.lines.get(name, "")

    @property
    def code(self) -> int:
        """The number of the status."""
        return int(self.status.split(" ")[0])


@dataclass(frozen=True)
class Wire:
    """How to connect: the authority of https servers, and a client certificate."""

    ca: Path
    certificate: tuple[Path, Path] | None = None

    def ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        *,
        late: bool = False,
        broken: bool = False,
    ) -> Answer:
        """Send a request with exactly these headers (and a Host when none is given). late: send the body after 100
        only; broken: close after the body, whatever its length should be."""
        parts = urlsplit(url)
        fields = list(headers.items() if isinstance(headers, dict) else headers)
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", parts.netloc))
        if "connection" not in names and not late:
            fields.append(("Connection", "close"))
        if "content-length" not in names and (body or method == "PUT"):
            fields.append(("Content-Length", str(len(body))))
        target = url[url.index("/", len(parts.scheme) + 3) :] if parts.path else "/"
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        with (
            self._connected(parts.scheme, parts.hostname or "", parts.port or 443) as sock,
            sock.makefile("rb") as file,
        ):
            sock.sendall(head.encode("latin-1") + (b"" if late else body))
            if broken and not late:
                sock.shutdown(socket.SHUT_RDWR)
                return Answer("")
            status, fields = _head(file)
            continued = status.startswith("100")
            if continued:
                sock.sendall(body)
                if broken:
                    return Answer("", continued=True)
                status, fields = _head(file)
            return _answer(file, method, status, fields, continued)

    def raw(self, url: str, data: bytes) -> bytes:
        """Send bytes as they are, and read until the other side closes."""
        parts = urlsplit(url)
        got = b""
        with self._connected(parts.scheme, parts.hostname or "", parts.port or 443) as sock:
            sock.sendall(data)
            while piece := sock.recv(65536):
                got += piece
        return got

    def _connected(self, scheme: str, host: str, port: int) -> socket.socket:
        sock = socket.create_connection((host, port), _PATIENCE)
        if scheme == "http":
            return sock
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate is not None:
            context.load_cert_chain(*map(str, self.certificate))
        return context.wrap_socket(sock, server_hostname=host)


def _head(file) -> tuple[str, list[tuple[str, str]]]:  # type: ignore[no-untyped-def]
    status = file.readline().decode("latin-1").rstrip("\r\n").partition(" ")[2]
    fields = []
    while line := file.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        fields.append((name.strip(), value.strip()))
    return status, fields


def _answer(file, method: str, status: str, fields: list[tuple[str, str]], continued: bool) -> Answer:  # type: ignore[no-untyped-def]
    lines = {name.lower(): value for name, value in fields}
    body = b""
    if method != "HEAD" and status and not status.startswith(("204", "304")):
        if lines.get("transfer-encoding") == "chunked":
            while size := int(file.readline().split(b";")[0] or b"0", 16):
                body += file.read(size)
                file.readline()
        elif "content-length" in lines:
            body = file.read(int(lines["content-length"]))
        else:
            with contextlib.suppress(ssl.SSLEOFError):
                body = file.read()
    return Answer(status, tuple(fields), body, continued, lines)
