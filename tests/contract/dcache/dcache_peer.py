"""The other side of the captured third-party copies: an HTTP server with the same paths, which notes what it is
asked."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CONTENT = bytes(range(256)) * 4096
ADLER32 = f"{zlib.adler32(CONTENT):08x}"
_MD5 = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()
_SHA256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
_PIECE = 65536
_NAP = 0.05  # between two of the sixteen pieces of /slow


class Peer:
    """One server. asked: (method, path, headers in lower case) of every request; files: path -> what was uploaded
    there."""

    def __init__(self, certificate: tuple[Path, Path] | None = None, *, host: str = "127.0.0.1") -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.files: dict[str, bytes] = {}
        peer = self

        class Handler(_Handler):
            owner = peer

        self._server = ThreadingHTTPServer(("127.0.0.1" if host == "127.0.0.1" else "", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, certificate))
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self.url = f"{'http' if certificate is None else 'https'}://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def requests(self) -> list[tuple[str, str, dict[str, str]]]:
        """What was asked since the last call."""
        asked, self.asked = self.asked, []
        return asked


class _Handler(BaseHTTPRequestHandler):
    owner: Peer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._note()
        match self.path:
            case "/good" | "/nolen":
                self._give({"Digest": f"adler32={ADLER32}"}, length=self.path == "/good")
            case "/auth" if self.headers.get("Authorization") == "Bearer TOK":
                self._give({"Digest": f"adler32={ADLER32}"})
            case "/auth":
                self._say(401)
            case "/nodigest":
                self._give({})
            case "/headonly":
                self._give({"Digest": f"adler32={ADLER32}"} if self.command == "HEAD" else {})
            case "/md5":
                self._give({"Digest": f"md5={_MD5}"})
            case "/repr":
                self._give({"Repr-Digest": f"sha-256=:{_SHA256}:"})
            case "/baddigest":
                self._give({"Digest": "adler32=deadbeef"})
            case "/short":
                self._give({"Digest": f"adler32={ADLER32}"}, stop_at=100_000)
            case "/slow":
                self._give({"Digest": f"adler32={ADLER32}"}, nap=_NAP)
            case "/endless":
                self._trickle()
            case "/redir":
                self._say(302, {"Location": f"http://127.0.0.1:{self.owner.port}/good"})
            case "/403" | "/500":
                self._say(int(self.path[1:]))
            case path if path in self.owner.files and self.command == "HEAD":
                self._uploaded(path)
            case _:
                self._say(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        if self.path != "/up3":  # breaks off before it has noted anything
            self._note()
        match self.path:
            case "/put403" | "/put507":
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.rfile.read(int(self.headers["Content-Length"]))
                self._say(int(self.path[4:]))
            case "/putredir3":
                self._say(307, {"Location": f"http://127.0.0.1:{self.owner.port}/up3"})
            case "/up3":
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.rfile.read(int(self.headers["Content-Length"]))
                self.close_connection = True
            case path:
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.owner.files[path] = self.rfile.read(int(self.headers["Content-Length"]))
                self._say(201)

    def do_DELETE(self) -> None:
        self._note()
        self.owner.files.pop(self.path, None)
        self._say(204)

    def handle_expect_100(self) -> bool:
        return True

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""

    def _trickle(self) -> None:
        """Half of the file, and then nothing until the other side goes away."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 5 * _PIECE])
        self.wfile.flush()
        self.connection.settimeout(60)
        self.connection.recv(1)
        self.close_connection = True

    def _note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.asked.append((self.command, self.path, headers))

    def _say(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def _uploaded(self, path: str) -> None:
        if path.startswith("/nodig"):
            digest = {}
        elif path.startswith("/badsum"):
            digest = {"Digest": "adler32=00000001"}
        else:
            digest = {"Digest": f"adler32={zlib.adler32(self.owner.files[path]):08x}"}
        self._say(200, {"Content-Length": str(len(self.owner.files[path])), **digest})

    def _give(
        self, headers: dict[str, str], *, length: bool = True, stop_at: int | None = None, nap: float = 0
    ) -> None:
        self.send_response(200)
        if length:
            self.send_header("Content-Length", str(len(CONTENT)))
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        end = len(CONTENT) if stop_at is None else stop_at
        for start in range(0, end, _PIECE):
            self.wfile.write(CONTENT[start : min(start + _PIECE, end)])
            time.sleep(nap)
