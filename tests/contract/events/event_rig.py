"""A real broker on loopback, set up by the role's own templates, and the event services as processes beside
it.

Used by the contract tests and by benchmarks/events.py.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import jinja2
import yaml
from confluent_kafka import Producer

from xdc_testbed import content
from xdc_testbed.events import kafka_jars
from xdc_testbed.events.feed import Entry, Feed
from xdc_testbed.events.kafka import EVENTS, RESULTS, Connection, KafkaSection
from xdc_testbed.events.model import EventType, Result, StorageData, StorageEvent
from xdc_testbed.testbed import pki
from xdc_testbed.testbed.secrets import KAFKA_USERS

JAVA = "/usr/bin/java"
ROLE = content.root() / "roles" / "kafka"
BILLING = "billing"
Value = TypeVar("Value")


def until(observe: Callable[[], Value | None], what: str, seconds: float = 60) -> Value:
    """The first true value of an observation, with a deadline that names what was waited for."""
    deadline = time.monotonic() + seconds
    while not (value := observe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds:g} s")
        time.sleep(0.02)
    return value


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Process:
    """A program that is started again when it ends, as systemd does on the nodes."""

    def __init__(self, name: str, args: list[str | Path], log: Path, *, pause: float = 0.2) -> None:
        self.name = name
        self.log = log
        self._args = [str(arg) for arg in args]
        self._pause = pause
        self._wanted = True
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        log.touch()  # it may be read before the thread has its first turn
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """kill -9, once it runs."""
        self.signal(signal.SIGKILL).wait(10)

    def signal(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        """Send a signal, once it runs."""
        running = until(lambda: self._process if self._process and self._process.poll() is None else None, self.name)
        running.send_signal(number)
        return running

    def stop(self) -> int:
        """End it for good; its exit status."""
        self._wanted = False
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(10)
        finally:
            self._thread.join(10)

    def _supervise(self) -> None:
        with self.log.open("ab") as log:
            while self._wanted:
                self._process = subprocess.Popen(
                    self._args, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"}
                )
                self.starts += 1
                self._process.wait()
                if self._wanted:
                    time.sleep(self._pause)


class Broker:
    """Apache Kafka with TLS, SCRAM and ACLs, as the role sets it up. folder: all its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passwords = {user: secrets.token_urlsafe(12) for user in KAFKA_USERS}
        self._internal, self._external, self._controller = free_ports(3)
        pki.ensure(folder / "pki", testbed_id="xdc-loopback-000000", hosts={"broker": ("localhost", "127.0.0.1")})
        self.kafka = KafkaSection(bootstrap=f"localhost:{self._internal}", ca_file=folder / "pki" / "ca.pem")
        self._unpack()
        self._render()
        java = [JAVA, "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        subprocess.run([JAVA, f"@{folder / 'format.args'}"], check=True, capture_output=True, timeout=60)
        self.process = Process(
            "broker",
            [*java, "-cp", f"{folder}/libs/*", "kafka.Kafka", folder / "server.properties"],
            folder / "broker.log",
        )
        self.administrate()

    def administrate(self) -> list[str]:
        """Run the kit's administration program; what it changed."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "xdc_testbed.events.kafka_admin",
                "--config",
                self.folder / "kafka-admin.toml",
            ],
            check=False,
            capture_output=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr.decode() + self.log_tail()
        changed: list[str] = json.loads(done.stdout)["changed"]
        return changed

    def connection(self, user: str) -> Connection:
        """The connection of one of the testbed's users."""
        return self.kafka.as_user(user, self.password_file(user))

    def password_file(self, user: str) -> Path:
        """A file with the user's password."""
        path = self.folder / f"{user}.secret"
        if not path.exists():
            path.write_text(self.passwords[user])
        return path

    def log_tail(self) -> str:
        """The last of the broker's log."""
        return self.process.log.read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def _unpack(self) -> None:
        pins = kafka_jars.Pins.load(content.root() / "inventory" / "versions.yml")
        archive, _ = kafka_jars.ensure(pins, kafka_jars.cache_folder())
        shutil.unpack_archive(archive, self.folder / "libs")  # ours; Debian 12's Python 3.11.2 knows no filter

    def _render(self) -> None:
        defaults: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
        variables = {
            **defaults,
            "kafka_version": "loopback",
            "dcache_billing_topic": BILLING,
            "testbed_storages": [{"product": "dcache"}],
            "kafka_internal_port": self._internal,
            "kafka_external_port": self._external,
            "kafka_controller_port": self._controller,
            "testbed_fqdn": "localhost",
            "testbed_secrets": {"kafka": self.passwords},
            "_kafka_home": str(self.folder),
            "_kafka_config_dir": str(self.folder),
            "_kafka_data_dir": str(self.folder / "data"),
            "_kafka_ca_file": str(self.folder / "pki" / "ca.pem"),
            "_kafka_admin_state": str(self.folder / "admin-state.json"),
            "_kafka_cluster_id": "MkU3OEVBNTcwNTJENDM2Qg",
            "_kafka_external_host": "127.0.0.1",
            "_kafka_external_advertised": self._external,
        }
        engine = jinja2.Environment(  # noqa: S701 - what it writes is no HTML
            loader=jinja2.FileSystemLoader(ROLE / "templates"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        for name in ("server.properties", "format.args", "kafka-admin.toml"):
            (self.folder / name).write_text(engine.get_template(f"{name}.j2").render(variables))
        hosts = self.folder / "pki" / "hosts"
        (self.folder / "keystore.pem").write_text(
            (hosts / "broker.key").read_text() + (hosts / "broker.pem").read_text()
        )


def storage_event(
    path: str, *, session: str = "1:0:0", size: int = 10, kind: EventType = EventType.WRITTEN
) -> StorageEvent:
    """An event of desy-storage, seen now."""
    data = StorageData(endpoint="desy-storage", size=size, closed_at=time.time())
    return StorageEvent.make(kind, path, data, testbed="loopback", session=session)


def produce(connection: Connection, topic: str, records: list[tuple[str, bytes]]) -> list[str]:
    """Produce keyed records and wait for their acknowledgement; the errors."""
    errors: list[str] = []
    producer = Producer({**connection.producer(), "message.timeout.ms": 60_000})
    for key, value in records:
        producer.produce(
            topic,
            value,
            key.encode(),
            on_delivery=lambda error, _: errors.append(error.name()) if error else None,
        )
    assert producer.flush(70) == 0
    return errors


def produce_events(broker: Broker, events: list[StorageEvent]) -> None:
    """Produce events as the source does."""
    assert produce(broker.connection("event-source"), EVENTS, [(each.key, each.to_json()) for each in events]) == []


def read(broker: Broker, topic: str) -> Iterator[Entry]:
    """All records of a topic, as the user `client`."""
    with Feed(broker.connection("client"), topic) as feed:
        yield from feed.until_now()


class Router:
    """The router as a process, with the given rules."""

    def __init__(self, broker: Broker, rules: str) -> None:
        self.folder = broker.folder / "router"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "rules.toml").write_text(rules)
        self.config = self.folder / "event-router.toml"
        self.config.write_text(
            f"""
[kafka]
bootstrap = "{broker.kafka.bootstrap}"
ca_file = "{broker.kafka.ca_file}"
[router]
user = "router"
password_file = "{broker.password_file("router")}"
rules_file = "{self.folder}/rules.toml"
state_dir = "{self.folder}/state"
"""
        )
        self._settings = self.config.read_text()
        self.process = self._start()

    def restart(self, settings: str = "") -> None:
        """Stop, and go on with other settings of the `[router]` table beside the usual ones."""
        self.process.stop()
        self.config.write_text(self._settings + settings)
        self.process = self._start()

    def _start(self) -> Process:
        return Process(
            "router",
            [sys.executable, "-m", "xdc_testbed.events.router", "--config", self.config],
            self.folder / "router.log",
        )


class Dispatch:
    """The dispatcher as a process, in front of a platform at the given address."""

    def __init__(
        self,
        broker: Broker,
        api_host: str,
        *,
        settings: str = "",
        auth: str = f"{UUID(int=0)}:key",
        ca_file: Path | None = None,
    ) -> None:
        self.folder = broker.folder / "dispatcher"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "auth").write_text(auth)
        self.config = self.folder / "event-router.toml"
        self.config.write_text(
            f"""
[kafka]
bootstrap = "{broker.kafka.bootstrap}"
ca_file = "{broker.kafka.ca_file}"
[dispatcher]
user = "dispatcher"
password_file = "{broker.password_file("dispatcher")}"
{settings}
[openwhisk]
api_host = "{api_host}"
auth_file = "{self.folder}/auth"
{f'ca_file = "{ca_file}"' if ca_file else ""}
"""
        )
        self.process = Process(
            "dispatcher",
            [sys.executable, "-m", "xdc_testbed.events.dispatcher", "--config", self.config],
            self.folder / "dispatcher.log",
        )


class Source:
    """The XRootD source as a process, following a journal: a storage's, or one that the test writes."""

    def __init__(self, broker: Broker, folder: Path, journal: Path | None = None) -> None:
        self.journal = journal or folder / "journal"
        self.config = folder / "event-source.toml"
        self.config.write_text(
            f"""
[kafka]
bootstrap = "{broker.kafka.bootstrap}"
ca_file = "{broker.kafka.ca_file}"
[source]
user = "event-source"
password_file = "{broker.password_file("event-source")}"
testbed = "loopback"
endpoint = "desy-storage"
journal = "{self.journal}"
state_file = "{folder}/place.json"
"""
        )
        self.log = folder / "source.log"
        self.process = self.start()

    def start(self) -> Process:
        """Run it."""
        args: list[str | Path] = [sys.executable, "-m", "xdc_testbed.events.sources.xrootd", "--config", self.config]
        self.process = Process("source", args, self.log)
        return self.process

    def closed(self, *paths: str) -> None:
        """The storage says that files were written."""
        with self.journal.open("a") as journal:
            for path in paths:
                journal.write(f'{{"ev":"closew","tid":"u.1:2@h","lfn":"{path}","size":"7","at":{time.time():.6f}}}\n')


class Results:
    """The results so far, read on as they come. Used by one test after the other."""

    def __init__(self, broker: Broker) -> None:
        self.all: list[Result] = []
        self._feed = Feed(broker.connection("client"), RESULTS)
        self._feed.from_now()

    def update(self, seconds: float = 0) -> None:
        """Read what is there, waiting so long for the first."""
        entry = self._feed.next(seconds)
        while entry is not None:
            self.all.append(Result.model_validate_json(entry.value))
            entry = self._feed.next(0)

    def below(self, folder: str) -> list[Result]:
        """Those of files below a folder."""
        return [each for each in self.all if each.subject.startswith(folder)]

    def wait(self, folder: str, count: int, seconds: float = 120) -> list[Result]:
        """The results of files below a folder, as soon as so many files have one."""
        deadline = time.monotonic() + seconds
        while len({each.subject for each in self.below(folder)}) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.below(folder))} of {count} results below {folder} in {seconds:g} s")
            self.update(0.2)
        return self.below(folder)

    def close(self) -> None:
        """Read no more."""
        self._feed.__exit__(None, None, None)
