"""What every source has in common: its tables, its way into Kafka, and the file that holds its place.

An event counts as told when the broker has acknowledged it; only then may a source move its place on. What cannot be
read is kept as a dead letter with its reason, never dropped and never a reason to stop.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from confluent_kafka import KafkaError, Message, Producer
from pydantic import BaseModel, ConfigDict

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS, BrokerUnavailable, KafkaSection, Login, is_fatal
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import DeadLetter, StorageEvent

log = logging.getLogger(__name__)

_FLUSH = 5.0  # seconds at the end for what is still on its way


class SourceTable(Login):
    """The keys of every `[source]` table: name of the testbed, and id of the endpoint that the events are of."""

    testbed: str
    endpoint: str


class SourceFile(BaseModel):
    """The file given with --config: a `[kafka]` table and the source's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kafka: KafkaSection


class Outlet:
    """The producer of one source. `send` and `bury` may be called from any thread.

    Counts `produced`, `acknowledged` and `dead_letters`. done is called in another thread, once the broker has it.
    """

    def __init__(self, kafka: KafkaSection, table: SourceTable, counters: Counters, stop: threading.Event) -> None:
        connection = kafka.as_user(table.user, table.password_file)
        self._counters = counters
        self._stop = stop
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._producer = Producer({**connection.producer(), "error_cb": self._on_error, "logger": log})
        threading.Thread(target=self._serve_callbacks, name="delivery", daemon=True).start()

    @property
    def failed(self) -> bool:
        """Whether the producer can no longer keep its promises."""
        return self._failure is not None

    def check(self) -> None:
        """Raises BrokerUnavailable when the producer can no longer keep its promises."""
        if self._failure is not None:
            raise BrokerUnavailable(self._failure, remedy="the next start goes on from what was acknowledged last")

    def send(self, event: StorageEvent, done: Callable[[], None]) -> None:
        """Tell an event; waits while the queue is full, and gives up silently once the service is to stop."""
        self._produce(EVENTS, event.to_json(), event.key, done, "produced")

    def bury(self, raw: bytes, reason: str, done: Callable[[], None]) -> None:
        """Keep what could not be read as a dead letter."""
        letter = DeadLetter.of_garbage(raw, reason, at=time.time())
        log.warning("dead letter: %s", letter.reason)
        self._produce(DEAD_LETTERS, letter.to_json(), letter.id, done, "dead_letters")

    def close(self) -> None:
        """Wait a few seconds for what is on its way."""
        self._producer.flush(_FLUSH)

    def _produce(self, topic: str, payload: bytes, key: str, done: Callable[[], None], counter: str) -> None:
        def acknowledged(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._count("acknowledged")
                done()
            else:
                self._failure = f"{topic}: a record could not be delivered: {error}"

        while not self._stop.is_set():
            try:
                self._producer.produce(topic, payload, key.encode(errors="surrogatepass"), on_delivery=acknowledged)
            except BufferError:  # the broker is away and the queue is full: the source keeps the rest
                self._stop.wait(0.05)
            else:
                self._count(counter)
                return

    def _count(self, name: str) -> None:
        with self._lock:
            self._counters.add(name)

    def _serve_callbacks(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.5)

    def _on_error(self, error: KafkaError) -> None:
        log.warning("broker: %s", error)
        if is_fatal(error):
            self._failure = f"producer gave up: {error}"


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Place = TypeVar("Place", bound=_Dataclass)


class PlaceFile:
    """A place on disk: replaced as a whole, so that a crash leaves the old or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, beginning: Place) -> Place:
        """The stored place, or the beginning. Raises WrongUsage when the file holds something else."""
        try:
            return type(beginning)(**json.loads(self._path.read_text()))
        except FileNotFoundError:
            return beginning
        except (ValueError, TypeError) as error:
            raise WrongUsage(
                f"state file {self._path}: {error}",
                remedy="remove it: the source then starts from the beginning",
            ) from None

    def store(self, place: Any) -> None:
        """Keep a place, a dataclass of plain values."""
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("w") as file:
            json.dump(asdict(place), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
