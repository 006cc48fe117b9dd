"""A topic read as a log: what is asked of a broker that has just made it."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from xdc_testbed.events import feed
from xdc_testbed.events.kafka import BrokerUnavailable, Connection


class FakeConsumer:
    """A broker with one topic, whose answers to the question for its ends are given. None: it answers."""

    def __init__(self, answers: list[int | None]) -> None:
        self.answers = answers
        self.assigned: list[Any] = []

    def list_topics(self, topic: str, timeout: float) -> Any:
        """One partition."""
        known = type("Topic", (), {"error": None, "partitions": [0]})
        return type("Topics", (), {"topics": {topic: known}})

    def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
        """What is given next."""
        answer = self.answers.pop(0)
        if answer is not None:
            raise KafkaException(KafkaError(answer))
        return 0, 7

    def assign(self, places: list[Any]) -> None:
        """Remember them."""
        self.assigned = places

    def close(self) -> None:
        """Nothing to do."""


def from_now(monkeypatch: pytest.MonkeyPatch, answers: list[int | None]) -> FakeConsumer:
    """A feed that begins at the end."""
    broker = FakeConsumer(answers)
    monkeypatch.setattr(feed, "Consumer", lambda _: broker)
    with feed.Feed(Connection(bootstrap="broker:9092", security="PLAINTEXT"), "verify") as one:
        one.from_now()
    return broker


def test_a_partition_without_a_leader_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = from_now(monkeypatch, [*feed._MOVING, None])
    assert [place.offset for place in broker.assigned] == [7]


def test_a_refusal_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokerUnavailable, match="TOPIC_AUTHORIZATION_FAILED"):
        from_now(monkeypatch, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
