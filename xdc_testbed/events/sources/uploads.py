"""What dCache's billing records say of uploads: whole or failed. For sources that see names only.

The namespace does not tell a partial file, which a cut upload leaves, from a whole one; the transfer's record does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Literal

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from pydantic import BaseModel, ConfigDict, Field

from xdc_testbed.events.kafka import BrokerUnavailable, Connection
from xdc_testbed.events.sources import billing

log = logging.getLogger(__name__)

_ANSWER = 10.0  # seconds that the broker has for a question
_KEPT = 200_000


class BillingTable(BaseModel):
    """The `[billing]` table. topic: of the billing records; hours: how far back they are read at the start; patience:
    seconds for which a written file waits for its record.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str = "billing"
    hours: float = Field(default=24.0, gt=0)
    patience: float = Field(default=2.0, ge=0)


class Uploads:
    """The fate of the last 200,000 uploads, read on in a thread. Raises BrokerUnavailable when there is no topic."""

    def __init__(self, connection: Connection, table: BillingTable) -> None:
        self._consumer = Consumer({**connection.consumer(f"{connection.user or 'anonymous'}-uploads")})
        self._fates: OrderedDict[str, Literal["whole", "failed"]] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ends = self._begin(table.topic, time.time() - 3600 * table.hours)
        self._read = threading.Event()
        if not self._ends:
            self._read.set()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def fate(self, pnfsid: str) -> Literal["whole", "failed"] | None:
        """What became of the upload that made this id; None when no record says."""
        with self._lock:
            return self._fates.get(pnfsid)

    def wait(self, seconds: float) -> bool:
        """Wait until all records that were there at the start have been read; whether they have."""
        return self._read.wait(seconds)

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join(5)
        self._consumer.close()

    def _begin(self, topic: str, since: float) -> dict[int, int]:
        """Assign from a moment on; the ends of the partitions that hold something behind it."""
        try:
            known = self._consumer.list_topics(topic, timeout=_ANSWER).topics[topic]
            if known.error is not None:
                raise BrokerUnavailable(f"topic {topic}: {known.error}", remedy="look at topic and rights")
            highs = {
                number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ANSWER)[1]
                for number in known.partitions
            }
            asked = [TopicPartition(topic, number, int(since * 1000)) for number in known.partitions]
            places = self._consumer.offsets_for_times(asked, timeout=_ANSWER)
        except KafkaException as error:
            raise BrokerUnavailable(
                f"topic {topic}: {error.args[0]}", remedy="is the broker running and the user right?"
            ) from error
        starts = [
            TopicPartition(topic, each.partition, each.offset if each.offset >= 0 else highs[each.partition])
            for each in places
        ]
        self._consumer.assign(starts or [TopicPartition(topic, 0, OFFSET_BEGINNING)])
        return {each.partition: highs[each.partition] for each in starts if each.offset < highs[each.partition]}

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.2)
            if message is None:
                continue
            if (error := message.error()) is not None:
                log.warning("billing records: %s", error)
                continue
            self._note(message.value())
            if self._ends and (message.offset() or 0) + 1 >= self._ends.get(message.partition() or 0, 1 << 62):
                del self._ends[message.partition() or 0]
                if not self._ends:
                    self._read.set()

    def _note(self, value: bytes | None) -> None:
        try:
            record = billing.parse(value)
        except billing.NotARecord:
            return  # the Kafka source keeps it as a dead letter
        if isinstance(record, billing.Written | billing.Failed):
            with self._lock:
                self._fates[record.pnfsid] = "whole" if isinstance(record, billing.Written) else "failed"
                if len(self._fates) > _KEPT:
                    self._fates.popitem(last=False)
