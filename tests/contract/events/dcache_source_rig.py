"""A dCache that tells a broker of its files, and the sources that watch it as processes beside it."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from event_rig import BILLING, Broker, Process, until

sys.path.insert(0, str(Path(__file__).parents[1] / "dcache"))
sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from dcache_rig import DcacheEmulator, emulated
from dcache_rig import DcacheUnderTest as DcacheUnderTest
from storage_rig import Authority as Authority
from storage_rig import TokenIssuer

from xdc_testbed.clients.dcache import Credential, Dcache
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS
from xdc_testbed.events.model import DeadLetter, StorageEvent

ENDPOINT = "dcache-storage"


@contextmanager
def storage(
    broker: Broker, authority: Authority, issuer: TokenIssuer | None = None, *, backlog: int = 16383
) -> Iterator[DcacheUnderTest]:
    """A dCache whose doors, pools and billing cell all tell the broker, in one topic.

    backlog: notices that its frontend keeps for a client that is away.
    """
    kafka = {
        "bootstrap": broker.kafka.bootstrap,
        "authority": str(broker.kafka.ca_file),
        "username": "dcache",
        "password_file": str(broker.password_file("dcache")),
        "billing": {"enable": True, "topic": BILLING},
        "doors": {"enable": True, "topic": BILLING},
    }
    tables = {"kafka": kafka, "frontend": {"max_backlog": backlog}}
    with emulated(authority, issuer, tables=tables) as dcache:
        yield dcache


def emulator(dcache: DcacheUnderTest) -> DcacheEmulator:
    """The process behind it."""
    assert dcache.emulator is not None
    return dcache.emulator


def door(dcache: DcacheUnderTest) -> WebDav:
    """Its WebDAV door, as tester with a certificate."""
    return WebDav(dcache.webdav, ca_file=dcache.ca, cert=dcache.certificates["tester"])


def frontend(dcache: DcacheUnderTest) -> Dcache:
    """Its REST interface, as tester."""
    return Dcache(dcache.frontend, ca_file=dcache.ca, credential=Credential(basic=("tester", "secret")))


def cut_upload(dcache: DcacheUnderTest, path: str, *, redirected: bool = True) -> None:
    """Promise 100000 bytes, send half of them and go. The file is there when this returns, or is to go.

    redirected: to the pool, whose partial file stays; else through the door, which removes it.
    """
    expect = {"Expect": "100-continue"} if redirected else {}
    with _tls(dcache, dcache.webdav) as connection:
        _ask(connection, dcache.webdav, path, expect)
        if not redirected:
            connection.sendall(50_000 * b"x")
            return
        head = connection.recv(65536).decode()
    assert " 307 " in head.partition("\r\n")[0], head
    location = next(line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("location: "))
    with _tls(dcache, location) as connection:
        _ask(connection, location, "/" + location.partition("://")[2].partition("/")[2], {})
        connection.sendall(50_000 * b"x")
    folder, _, name = path.rpartition("/")
    with frontend(dcache) as client:
        until(lambda: [each for each in client.list(folder) if each.path.endswith(f"/{name}") and each.size], "a half")


def _tls(dcache: DcacheUnderTest, url: str) -> ssl.SSLSocket:
    address = urlsplit(url)
    assert address.hostname is not None
    context = ssl.create_default_context(cafile=str(dcache.ca))
    context.load_cert_chain(*map(str, dcache.certificates["tester"]))
    plain = socket.create_connection((address.hostname, address.port or 443), 10)
    return context.wrap_socket(plain, server_hostname=address.hostname)


def _ask(connection: ssl.SSLSocket, url: str, path: str, headers: dict[str, str]) -> None:
    lines = [f"PUT {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Content-Length: 100000"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())


class DcacheSource:
    """One source as a process.

    module: `dcache_kafka`, `dcache_sse` or `reconcile`; settings: of its `[source]`; more: further tables; patience: of
    look-ups; basic: whether it asks by password or by certificate.
    """

    def __init__(
        self,
        module: str,
        broker: Broker,
        dcache: DcacheUnderTest,
        home: Path,
        settings: str = "",
        *,
        more: str = "",
        patience: float = 5,
        basic: bool = True,
    ) -> None:
        self._args: list[str | Path] = [sys.executable, "-m", f"xdc_testbed.events.sources.{module}", "--config"]
        self._module = module
        self.home = home / module
        self.home.mkdir()
        self.log = self.home / "log"
        self.config = self.home / "source.toml"
        secret = self.home / "basic"
        secret.touch(0o600)
        secret.write_text("tester:secret")
        certificate, key = dcache.certificates["tester"]
        credential = f'basic_file = "{secret}"' if basic else f'certificate = "{certificate}"\nkey = "{key}"'
        self.config.write_text(
            f"""
[kafka]
bootstrap = "{broker.kafka.bootstrap}"
ca_file = "{broker.kafka.ca_file}"
[source]
user = "event-source"
password_file = "{broker.password_file("event-source")}"
testbed = "loopback"
endpoint = "{ENDPOINT}"
{settings}
[frontend]
url = "{dcache.frontend}"
ca_file = "{dcache.ca}"
{credential}
patience = {patience}
{more}
"""
        )
        self.process = self.start()

    def start(self) -> Process:
        """Run it."""
        self.process = Process(self._module, [*self._args, self.config], self.log)
        return self.process

    def wait_for(self, words: str) -> None:
        """Wait until its log has these words."""
        until(lambda: self.log.exists() and words in self.log.read_text(errors="replace"), f"{words!r} in {self.log}")

    def logged(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")


def kafka_source(broker: Broker, dcache: DcacheUnderTest, home: Path, name: str) -> DcacheSource:
    """The source of billing records, in a group of its own."""
    settings = f'topic = "{BILLING}"\ngroup = "event-source-{name}"\ninstance = "event-source-{name}"'
    return DcacheSource("dcache_kafka", broker, dcache, home, settings)


def sse_source(
    broker: Broker, dcache: DcacheUnderTest, home: Path, *folders: str, billing: bool = False, existing: bool = False
) -> DcacheSource:
    """The source of the frontend's storage events, watching."""
    settings = (
        f'folders = {_toml(folders)}\nstate_file = "{home}/sse.sqlite"\nsettle = 0.1\n'
        f"announce_existing = {str(existing).lower()}"
    )
    more = f'[billing]\ntopic = "{BILLING}"\n' if billing else ""
    source = DcacheSource("dcache_sse", broker, dcache, home, settings, more=more, basic=False)
    source.wait_for("watching")
    return source


def reconciler(
    broker: Broker, dcache: DcacheUnderTest, home: Path, *folders: str, every: float = 0.2, grace: float = 0.5
) -> DcacheSource:
    """The listing, often and with little grace."""
    settings = (
        f'folders = {_toml(folders)}\nstate_file = "{home}/names.sqlite"\nevery = {every}\ngrace = {grace}\n'
        "announce_existing = true"
    )
    return DcacheSource("reconcile", broker, dcache, home, settings, more=f'[billing]\ntopic = "{BILLING}"\n')


def _toml(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


class Events:
    """The events and dead letters from now on, read on as they come."""

    def __init__(self, broker: Broker) -> None:
        self._feeds = {topic: Feed(broker.connection("client"), topic) for topic in (EVENTS, DEAD_LETTERS)}
        for feed in self._feeds.values():
            feed.from_now()
        self.all: list[StorageEvent] = []
        self.dead: list[DeadLetter] = []

    def update(self, seconds: float = 0) -> None:
        """Read what is there, waiting so long for the first."""
        entry = self._feeds[EVENTS].next(seconds)
        while entry is not None:
            self.all.append(StorageEvent.model_validate_json(entry.value))
            entry = self._feeds[EVENTS].next(0)
        while (entry := self._feeds[DEAD_LETTERS].next(0)) is not None:
            self.dead.append(DeadLetter.model_validate_json(entry.value))

    def below(self, folder: str) -> list[StorageEvent]:
        """Those of files below a folder."""
        return [each for each in self.all if each.subject.startswith(folder)]

    def wait(self, folder: str, count: int, seconds: float = 30) -> list[StorageEvent]:
        """Those of files below a folder, as soon as there are so many different ones."""

        def enough() -> list[StorageEvent] | None:
            self.update(0.05)
            found = self.below(folder)
            return found if len({each.id for each in found}) >= count else None

        return until(enough, f"{count} events below {folder}", seconds)

    def quiet(self, seconds: float) -> None:
        """Read on until nothing has come for so long."""
        count = -1
        while count != len(self.all):
            count = len(self.all)
            self.update(seconds)

    def close(self) -> None:
        """Read no more."""
        for feed in self._feeds.values():
            feed.__exit__(None, None, None)
