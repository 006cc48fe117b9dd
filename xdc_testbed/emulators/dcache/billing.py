"""Sends the records to Kafka on both publishing paths, and to the billing file.

Path A is what doors and pools publish themselves, path B what the billing cell publishes of all that it is told. A
record has no key and no headers. Whoever tells a record never waits: what no broker takes within the delivery timeout
is dropped and said in the log, as in the product.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import TextIO

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from xdc_testbed.errors import WrongUsage

from . import records
from .config import Config, Kafka
from .entries import Entry
from .records import GOOD, Record, Status, Transfer
from .subject import Subject

_log = logging.getLogger(__name__)
_QUEUED = 200_000


class Billing:
    """Where the records go. Raises WrongUsage when the broker's password file or the billing file cannot be opened."""

    def __init__(self, config: Config) -> None:
        self._domain = config.domain
        self._kafka = config.kafka
        self._producer = None if config.kafka is None else _producer(config.kafka)
        self._file = None if config.billing_file is None else _opened(config.billing_file)
        self._lock = threading.Lock()
        self._lost = 0
        self._complained = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="billing", daemon=True)
        if self._producer is not None:
            self._thread.start()

    def transferred(self, transfer: Transfer, door: Status = GOOD, pool: Status | None = None) -> None:
        """A transfer has ended. door, pool: how, as each of the two sees it; pool None: as the door does."""
        pool = door if pool is None else pool
        if transfer.pool:
            record = records.moved(transfer, pool)
            self._tell(record, record)
        plain = records.request(transfer, door, mover=False)
        full = records.request(transfer, door, mover=True) if self._doors else plain
        self._tell(full, plain)

    def removed(self, cell: str, subject: Subject, entry: Entry, client: str) -> None:
        """A client of a door has removed a file."""
        record = records.removed_by_door(cell, self._domain, subject, entry, client)
        self._tell(record, record)

    def replica_removed(self, entry: Entry, pool: str, why: str = records.CLEANED) -> None:
        """A pool has removed its copy of a file."""
        record = records.removed_by_pool(entry, pool, self._domain, why)
        self._tell(record, record)

    def stored(self, entry: Entry, pool: str, *, seconds: float, queued: float = 0.0) -> None:
        """A file has been flushed to tape."""
        record = records.tape("store", entry, pool, self._domain, seconds=seconds, queued=queued)
        self._tell(record, record)

    def restored(self, entry: Entry, pool: str, *, seconds: float, queued: float = 0.0) -> None:
        """A file has been staged from tape."""
        record = records.tape("restore", entry, pool, self._domain, seconds=seconds, queued=queued)
        self._tell(record, record)

    def copied(self, entry: Entry, source: str, target: str, *, address: str, seconds: float) -> None:
        """A file has been copied from pool to pool."""
        record = records.pool_to_pool(entry, source, target, self._domain, address, seconds)
        self._tell(record, record)

    def hit(self, entry: Entry, pool: str, protocol: str) -> None:
        """A file that is to be read was found on a pool; only on path B."""
        if self._kafka is None or self._kafka.cache_hits:
            self._tell(None, records.hit(entry, pool, self._domain, protocol))

    def warned(self, cell: str, status: Status) -> None:
        """The pool manager warns of something; only on path B."""
        self._tell(None, records.warning(cell, self._domain, status))

    def close(self, patience: float) -> None:
        """Wait up to patience seconds until the broker has everything, and end."""
        self._stop.set()
        if self._producer is not None:
            self._thread.join(patience)
            left = self._producer.flush(patience)
            if left:
                _log.warning("%d billing records are not with the broker and are dropped", left)
        if self._file is not None:
            with self._lock:
                self._file.close()

    @property
    def _doors(self) -> bool:
        return self._kafka is not None and self._kafka.doors.enable

    def _tell(self, direct: Record | None, billing: Record) -> None:
        """direct: for path A; billing: for path B and the file."""
        kafka = self._kafka
        if kafka is not None and kafka.doors.enable and direct is not None:
            self._produce(kafka.doors.topic, direct)
        if kafka is not None and kafka.billing.enable:
            self._produce(kafka.billing.topic, billing)
        if self._file is not None:
            line = json.dumps(billing, ensure_ascii=False) + "\n"
            with self._lock:
                if not self._file.closed:
                    self._file.write(line)
                    self._file.flush()

    def _produce(self, topic: str, record: Record) -> None:
        assert self._producer is not None  # noqa: S101  there is one when there is a broker
        value = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        try:
            self._producer.produce(topic, value, on_delivery=self._delivered)
        except (BufferError, KafkaException) as error:
            self._complain(type(error).__name__)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._complain(str(error.name()))

    def _complain(self, reason: str) -> None:
        self._lost += 1
        if time.monotonic() - self._complained > 10:
            self._complained = time.monotonic()
            _log.error("Producer failed to send the message, the broker is down: %s; %d so far", reason, self._lost)

    def _serve(self) -> None:
        assert self._producer is not None  # noqa: S101  the thread is started with one only
        while not self._stop.is_set():
            self._producer.poll(0.2)


def _producer(kafka: Kafka) -> Producer:
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": kafka.bootstrap,
        "security.protocol": kafka.security_protocol,
        "message.timeout.ms": int(kafka.delivery_timeout * 1000),
        "queue.buffering.max.messages": _QUEUED,
        "linger.ms": 1,
        "reconnect.backoff.max.ms": 1000,
        "client.id": "dcache-emulator",
    }
    if kafka.authority is not None:
        settings["ssl.ca.location"] = str(kafka.authority)
    if kafka.username is not None:
        if kafka.password_file is None:
            raise WrongUsage("[kafka] username needs password_file")
        try:
            password = kafka.password_file.read_text().strip()
        except OSError as error:
            raise WrongUsage(f"[kafka] password_file: {error.strerror}: {kafka.password_file}") from error
        settings |= {"sasl.mechanism": kafka.sasl_mechanism, "sasl.username": kafka.username, "sasl.password": password}
    return Producer(settings, logger=_log)


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise WrongUsage(f"billing_file: {error.strerror}: {path}") from error
