"""Write ends down in Kafka: results and dead letters, each acknowledged by the broker before the caller
goes on.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from xdc_testbed.events.done import DoneSet
from xdc_testbed.events.kafka import DEAD_LETTERS, RESULTS, Connection
from xdc_testbed.events.model import DeadLetter, Result

log = logging.getLogger(__name__)


class KafkaLedger:
    """The Ledger of the dispatcher. Made and used in the event loop; done: what has ended so far."""

    def __init__(self, connection: Connection, done: DoneSet) -> None:
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._producer = Producer({**connection.producer(), "error_cb": self._on_error, "logger": log})
        self._thread = threading.Thread(target=self._serve_callbacks, name="ledger", daemon=True)
        self._thread.start()

    async def record(self, result: Result) -> None:
        """Keep a result. Raises KafkaException when the producer gave up."""
        await self._keep(RESULTS, result.key, result.to_json())
        self._done.add(result.id, result.times.ended)

    async def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter. Raises KafkaException when the producer gave up."""
        await self._keep(DEAD_LETTERS, letter.item.key if letter.item else letter.id, letter.to_json())

    def is_done(self, work_id: str) -> bool:
        """Whether a result of this item was kept."""
        return work_id in self._done

    def close(self) -> None:
        """Send what is queued; waits at most five seconds."""
        self._producer.flush(5)
        self._stop.set()
        self._thread.join(2)

    async def _keep(self, topic: str, key: str, payload: bytes) -> None:
        kept: asyncio.Future[None] = self._loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if kept.done():
                return
            if error is None:
                kept.set_result(None)
            else:
                kept.set_exception(KafkaException(error))

        def delivered(error: KafkaError | None, _: Message) -> None:
            self._loop.call_soon_threadsafe(settle, error)

        while True:
            try:
                self._producer.produce(topic, payload, key.encode(), on_delivery=delivered)
            except BufferError:  # the broker is away and the queue is full
                await asyncio.sleep(0.05)
            else:
                break
        await kept

    def _serve_callbacks(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.5)

    def _on_error(self, error: KafkaError) -> None:
        log.warning("broker: %s", error)
