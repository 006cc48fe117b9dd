"""Read a topic as a log: from a moment on, to its present end or onwards. Keeps no offsets and joins no
group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from xdc_testbed.events.kafka import BrokerUnavailable, Connection, is_fatal

_REFUSALS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
# Of a topic that was just made: its partitions are told, and have no leader yet.
_MOVING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError._UNKNOWN_PARTITION)
_ANSWER = 30.0  # seconds that the broker has for a question: an emulated machine needs more than ten
_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """One record. timestamp: epoch seconds, given by the broker or the producer as the topic says."""

    partition: int
    offset: int
    timestamp: float
    key: bytes
    value: bytes


class Feed:
    """A reader of one topic. Use as a context manager. Raises BrokerUnavailable when the broker refuses or
    is away.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        self._topic = topic
        settings = connection.consumer(f"{connection.user or 'anonymous'}-feed")
        self._consumer = Consumer({**settings, "enable.auto.commit": False})

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def until_now(self, since: float | None = None) -> Iterator[Entry]:
        """The records from a moment (epoch seconds; None: the oldest kept) to the end that the topic has at
        this call.
        """
        ends: dict[int, int] = {}
        starts: list[TopicPartition] = []
        for place in self._places(since):
            low, high = self._ask_ends(place)
            start = low if place.offset < 0 else place.offset
            if place.offset != OFFSET_END and start < high:
                ends[place.partition] = high
                starts.append(TopicPartition(self._topic, place.partition, start))
        if not starts:
            return
        self._consumer.assign(starts)
        deadline = time.monotonic() + _ANSWER
        while ends:
            entry = self._poll(0.5)
            if entry is not None:
                deadline = time.monotonic() + _ANSWER
                if entry.offset < ends.get(entry.partition, 0):
                    yield entry
            elif time.monotonic() > deadline:
                raise BrokerUnavailable(f"topic {self._topic} stopped answering", remedy="look at the broker's log")
            self._drop_ended(ends)

    def from_now(self) -> None:
        """Begin at the present end: what is produced after this call is seen by `next`."""
        starts = [TopicPartition(self._topic, p.partition, self._ask_ends(p)[1]) for p in self._places(None)]
        self._consumer.assign(starts)

    def from_oldest(self) -> None:
        """Begin at the oldest record that is kept: it and all later ones are seen by `next`."""
        starts = [TopicPartition(self._topic, p.partition, self._ask_ends(p)[0]) for p in self._places(None)]
        self._consumer.assign(starts)

    def next(self, timeout: float) -> Entry | None:
        """The next record, or None after timeout seconds."""
        return self._poll(timeout)

    def _drop_ended(self, ends: dict[int, int]) -> None:
        for place in self._consumer.position(self._consumer.assignment()):
            if place.partition in ends and place.offset >= ends[place.partition]:
                del ends[place.partition]

    def _places(self, since: float | None) -> list[TopicPartition]:
        known = self._ask(lambda: self._consumer.list_topics(self._topic, timeout=_ANSWER)).topics[self._topic]
        if known.error is not None:
            raise BrokerUnavailable(f"topic {self._topic}: {known.error}", remedy="look at topic and ACLs")
        if since is None:
            return [TopicPartition(self._topic, number) for number in known.partitions]
        moment = max(0, int(since * 1000))
        asked = [TopicPartition(self._topic, number, moment) for number in known.partitions]
        return list(self._ask(lambda: self._consumer.offsets_for_times(asked, timeout=_ANSWER)))

    def _ask_ends(self, place: TopicPartition) -> tuple[int, int]:
        partition = TopicPartition(self._topic, place.partition)
        low, high = self._ask(lambda: self._consumer.get_watermark_offsets(partition, timeout=_ANSWER))
        return low, high

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The broker's answer, asked again for as long as a partition has no leader yet."""
        deadline = time.monotonic() + _ANSWER
        while True:
            try:
                return question()
            except KafkaException as error:
                if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise self._unavailable(error) from error
                time.sleep(0.2)

    def _poll(self, timeout: float) -> Entry | None:
        message = self._consumer.poll(timeout)
        if message is None:
            return None
        if (error := message.error()) is not None:
            if is_fatal(error) or error.code() in _REFUSALS:
                raise self._unavailable(KafkaException(error))
            return None
        return Entry(
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp=message.timestamp()[1] / 1000,
            key=message.key() or b"",
            value=message.value() or b"",
        )

    def _unavailable(self, error: KafkaException) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"topic {self._topic}: {error.args[0]}", remedy="is the broker running and the user right?"
        )
