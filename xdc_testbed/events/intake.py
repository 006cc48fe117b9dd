"""Take work items from Kafka in a thread, hand them to the event loop, and store the offsets that may be
committed.

Knows partitions and back-pressure; knows nothing of what a record means.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from xdc_testbed.events.kafka import BrokerUnavailable, Connection, is_fatal
from xdc_testbed.events.offsets import OffsetTracker

log = logging.getLogger(__name__)

_BATCH = 200


@dataclass(frozen=True)
class Record:
    """One delivered record. timestamp: epoch seconds; row: the offsets of its partition in this
    assignment.
    """

    partition: int
    offset: int
    timestamp: float
    value: bytes
    row: OffsetTracker


class Intake:
    """Reads one topic as a member of a group.

    before: called in the reading thread with each batch before it is handed over, and may block;
    deliver: called in the event loop with each batch; outstanding: how many records have not ended;
    limit: the partitions pause at so many, and go on at half of it.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        group: str,
        instance: str,
        *,
        before: Callable[[list[Record]], None],
        assigned: Callable[[], None],
        deliver: Callable[[list[Record]], None],
        outstanding: Callable[[], int],
        limit: int,
    ) -> None:
        self._topic = topic
        self._before = before
        self._assigned = assigned
        self._deliver = deliver
        self._outstanding = outstanding
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._rows: dict[int, OffsetTracker] = {}
        self._paused = False
        self._handed = 0  # records handed to the loop, which the loop has not taken yet
        self._fatal: KafkaError | None = None
        self._stop = threading.Event()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._consumer = Consumer(
            {
                **connection.consumer(group, instance=instance),
                "enable.auto.commit": True,
                "auto.commit.interval.ms": 500,
                "error_cb": self._on_error,
                "logger": log,
            }
        )
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> asyncio.Future[None]:
        """Begin. The future ends when reading ends: with an exception when it could not go on."""
        self._consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
        self._thread.start()
        return self._ended

    def end(self, record: Record) -> None:
        """Note a record as ended; what may be committed is stored, and committed within half a second."""
        resume = record.row.end(record.offset)
        if resume is not None and self._rows.get(record.partition) is record.row:
            try:
                self._consumer.store_offsets(offsets=[TopicPartition(self._topic, record.partition, resume)])
            except KafkaException as error:  # the partition was taken away at this moment
                log.info("offset of partition %d not stored: %s", record.partition, error.args[0])

    def stop(self) -> None:
        """Take no more records. What has been stored is committed by `close`."""
        self._stop.set()

    async def close(self) -> None:
        """Commit what is stored and leave. Blocks a worker thread for at most a few seconds."""
        self.stop()
        await asyncio.to_thread(self._thread.join, 10)
        await asyncio.to_thread(self._consumer.close)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                batch = self._take()
                if batch:
                    self._before(batch)
                    self._handed += len(batch)
                    self._loop.call_soon_threadsafe(self._hand_over, batch)
                self._regulate()
        except (KafkaException, BrokerUnavailable) as error:
            self._finish(error)
        else:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        def finish() -> None:
            if self._ended.done():
                return
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)

        self._loop.call_soon_threadsafe(finish)

    def _take(self) -> list[Record]:
        """What is there, waiting for the first record only."""
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        batch: list[Record] = []
        message = self._consumer.poll(0.02 if self._paused else 0.2)
        while message is not None:
            error = message.error()
            if error is None:
                partition = message.partition() or 0
                row = self._rows.get(partition)
                if row is not None:
                    batch.append(
                        Record(
                            partition=partition,
                            offset=message.offset() or 0,
                            timestamp=message.timestamp()[1] / 1000,
                            value=message.value() or b"",
                            row=row,
                        )
                    )
            elif is_fatal(error):
                raise KafkaException(error)
            else:
                log.warning("broker: %s", error)
            if len(batch) >= _BATCH:
                break
            message = self._consumer.poll(0)
        return batch

    def _hand_over(self, batch: list[Record]) -> None:
        self._handed -= len(batch)
        for record in batch:
            record.row.start(record.offset)
        self._deliver(batch)

    def _regulate(self) -> None:
        load = self._outstanding() + self._handed
        if not self._paused and load >= self._limit:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        elif self._paused and load <= self._limit // 2:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _on_assign(self, _: Consumer, places: list[TopicPartition]) -> None:
        log.info("partitions %s of %s", [place.partition for place in places], self._topic)
        for place in places:
            self._rows[place.partition] = OffsetTracker()
        self._paused = False
        self._assigned()

    def _on_revoke(self, _: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._rows.pop(place.partition, None)

    def _on_error(self, error: KafkaError) -> None:
        log.warning("broker: %s", error)
        if is_fatal(error):
            self._fatal = error
