"""Turn what EOS says of its files into StorageEvents: its audit log, and notifications of its workflow engine.

EOS has no Kafka client of its own. The audit log is followed as JSON lines (`zstdtail` of EOS writes them out of its
compressed segments); with a `[notify]` table, notifications are taken by HTTPS as well, from directories with
`sys.workflow.sync::closew.default = notify:http|...`. What is told by both has one id. The records are in
`eos_records`; no running EOS was there to compare with.

    python -m xdc_testbed.events.sources.eos --config /etc/xdc-testbed/event-source.toml
"""

from __future__ import annotations

import hmac
import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import service
from xdc_testbed.events.journal import Line
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import StorageEvent
from xdc_testbed.events.sources.eos_records import NotOfEos, Translator
from xdc_testbed.events.sources.follower import Follower, JournalTable
from xdc_testbed.events.sources.outlet import Outlet, SourceFile

log = logging.getLogger(__name__)

_LARGEST = 1 << 20  # bytes of a notification
_ACKNOWLEDGED = 5.0  # seconds for the broker to take an event while EOS waits


class EosTable(JournalTable):
    """The `[source]` table. checksum: algorithm of the audit log's checksums."""

    checksum: str = "adler32"


class NotifyTable(BaseModel):
    """The `[notify]` table. listen: `host:port`; certificate, key: PEM; secret_file: holds the path, without its slash,
    to which notifications are posted, as EOS can send no credential.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field(pattern=r"^[^:]+:\d+$")
    certificate: Path
    key: Path
    secret_file: Path


class EosConfig(SourceFile):
    """The file given with --config."""

    source: EosTable
    notify: NotifyTable | None = None


def take(body: bytes, translator: Translator, outlet: Outlet, counters: Counters) -> bool:
    """Tell what a notification means; whether the broker has it."""
    acknowledged = threading.Event()
    counters.add("notifications")
    try:
        event = translator.notification(body, seen=time.time())
    except NotOfEos as error:
        outlet.bury(body, f"EOS notification: {error}", acknowledged.set)
    else:
        if event is None:
            return True
        outlet.send(event, acknowledged.set)
    return acknowledged.wait(_ACKNOWLEDGED)


def listen(table: NotifyTable, notified: Callable[[bytes], bool]) -> ThreadingHTTPServer:
    """Take notifications in threads of their own until the server is shut down. Raises WrongUsage."""
    try:
        secret = "/" + table.secret_file.read_text().strip()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(table.certificate, table.key)
    except (OSError, ssl.SSLError) as error:
        raise WrongUsage(f"[notify]: {error}", remedy="give readable files") from None

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not hmac.compare_digest(self.path.encode(), secret.encode()):
                self._answer(404)
            elif not length.isdecimal() or int(length) > _LARGEST:
                self._answer(413)
            else:
                self._answer(200 if notified(self.rfile.read(int(length))) else 503)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """The path is a secret: requests are not logged."""

    host, _, port = table.listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, name="notify", daemon=True).start()
    return server


def _start(path: Path) -> int:
    config = read_config(path, EosConfig)
    section = config.source
    counters = Counters("event-source")
    stop = service.stop_on_signals()
    serve(counters, section.metrics)
    section.check()
    outlet = Outlet(config.kafka, section, counters, stop)
    translator = Translator(section.testbed, section.endpoint, checksum=section.checksum)

    def read(line: Line, seen: float) -> StorageEvent | None:
        return translator.audit(line.text, seen=seen)

    server = None
    if config.notify is not None:
        server = listen(config.notify, lambda body: take(body, translator, outlet, counters))
    Follower(section, "EOS audit log", read, outlet, counters, stop).run()
    if server is not None:
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-source", "EOS audit log and notifications to StorageEvents", _start))
