"""Endpoints for the suite to ask: real servers of the storage tests, and a storage that does everything wrong."""

from __future__ import annotations

import json
import shutil
import ssl
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from storage_rig import HOST, SECRETS, Authority, TokenIssuer

from xdc_testbed.endpoints import Credentials, Endpoint, dump
from xdc_testbed.processes import Completed, run

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
_DEADLINE = 420.0  # seconds for a whole run


def credentials(folder: Path, authority: Authority, issuer: TokenIssuer) -> Credentials:
    """Lay the credentials down as the client role does, and say where they are."""
    (folder / "interop.secret").write_text(SECRETS["interop"] + "\n")
    for user, names in (("tester", ("usercert.pem", "userkey.pem")), ("stranger", ("stranger.pem", "stranger.key"))):
        for source, name in zip(authority.user(user), names, strict=True):
            shutil.copy(source, folder / name)
    return Credentials(
        issuer=issuer.url,
        client_id="interop",
        client_secret_file=folder / "interop.secret",
        certificate=folder / "usercert.pem",
        private_key=folder / "userkey.pem",
        ca_file=authority.ca,
        ca_directory=authority.hashed,
    )


@dataclass(frozen=True)
class Run:
    """A run of the suite as a program. said: everything it printed; out: folder of the reports."""

    status: int
    lines: list[dict[str, Any]]
    said: str
    out: Path

    @property
    def records(self) -> list[dict[str, Any]]:
        return [line["record"] for line in self.lines if line["event"] == "record"]

    def outcomes(self, case_id: str) -> set[str]:
        return {record["outcome"] for record in self.records if record["case_id"] == case_id}

    @property
    def bad(self) -> list[str]:
        """Sentences about what is not as it should be."""
        good = ("pass", "expected-deviation")
        return [f"{r['outcome']} {r['case_id']}: {r['reason']}" for r in self.records if r["outcome"] not in good]


def ask(endpoints: list[Endpoint], out: Path, *options: str) -> Run:
    """Run the suite as a user does."""
    arguments = [sys.executable, "-m", "xdc_testbed.interop", "--json-progress", "--endpoints", "-", "--out", str(out)]
    done: Completed = run([*arguments, *options], timeout=_DEADLINE, input=dump(endpoints).encode(), check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    return Run(done.returncode, [json.loads(line) for line in done.text.splitlines()], said, out)


class BrokenStorage:
    """Lets everybody do everything, changes the first byte of what it gives, and tells one checksum for all."""

    def __init__(self, home: Path, authority: Authority) -> None:
        authority.host(home)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(home / "hostcert.pem", home / "hostkey.pem")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Broken)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.https = f"https://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10.0)


class _Broken(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        self.files[self._path()] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201)

    def do_GET(self) -> None:
        data = self.files.get(self._path())
        if data is None:
            self._answer(404)
        else:
            self._answer(200, b"!" + data[1:] if data else data, Digest="adler32=12345678")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.files.pop(self._path(), None)
        self._answer(204)

    def do_MKCOL(self) -> None:
        self._answer(201)

    def do_PROPFIND(self) -> None:
        own = self._path().rstrip("/")
        inside = [name for name in self.files if name.rpartition("/")[0] == own]
        entries = "".join(
            f"<D:response><D:href>{escape(name)}</D:href><D:propstat><D:prop/>"
            "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
            for name in inside
        )
        self._answer(207, f'<D:multistatus xmlns:D="DAV:">{entries}</D:multistatus>'.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own word
        """Say nothing."""
