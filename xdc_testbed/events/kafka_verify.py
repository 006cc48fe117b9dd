"""Use the broker for real: one user's record comes back to it, and another user is refused what it may not
write.

    python -m xdc_testbed.events.kafka_verify --config /etc/xdc-testbed/kafka-admin.toml

Prints one JSON line with what was seen; ends with 1 when the broker is away or too permissive.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from xdc_testbed.errors import VerifyFailed
from xdc_testbed.events import service
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import EVENTS, BrokerUnavailable, Connection, read_config
from xdc_testbed.events.kafka_admin import AdminConfig

TOPIC = "verify"
_ANSWER = 30.0  # seconds


def round_trip(connection: Connection) -> float:
    """Produce a record that nobody else has and read it back; seconds that it took. Raises VerifyFailed."""
    marker = secrets.token_hex(16).encode()
    with Feed(connection, TOPIC) as feed:
        feed.from_now()
        started = time.monotonic()
        error = _produce(connection, TOPIC, marker)
        if error is not None:
            raise BrokerUnavailable(f"broker does not take a record: {error}", remedy="journalctl -u kafka")
        while time.monotonic() - started < _ANSWER:
            entry = feed.next(0.5)
            if entry is not None and entry.value == marker:
                return time.monotonic() - started
    raise VerifyFailed(f"a record of {TOPIC} did not come back in {_ANSWER:g} s", remedy="journalctl -u kafka")


def refused(connection: Connection, topic: str) -> None:
    """Make sure that a user may not write a topic. Raises VerifyFailed when it may."""
    error = _produce(connection, topic, b"not mine to say")
    if error != "TOPIC_AUTHORIZATION_FAILED":
        raise VerifyFailed(
            f"user {connection.user} writing {topic}: {error or 'accepted'}", remedy="look at the rights of the topic"
        )


def _produce(connection: Connection, topic: str, value: bytes) -> str | None:
    """Name of the error with which the broker answered one record, None if it took it."""
    answers: list[str | None] = []

    def answered(error: KafkaError | None, _: Message) -> None:
        answers.append(None if error is None else error.name())

    producer = Producer({**connection.settings(), "acks": "all", "message.timeout.ms": int(_ANSWER * 1000)})
    producer.produce(topic, value, b"verify", on_delivery=answered)
    producer.flush(_ANSWER + 1)
    return answers[0] if answers else "no answer"


def _start(path: Path) -> int:
    config = read_config(path, AdminConfig)
    seconds = round_trip(config.kafka.as_user("client", password=config.passwords["client"]))
    refused(config.kafka.as_user("router", password=config.passwords["router"]), EVENTS)
    sys.stdout.write(json.dumps({"round_trip_ms": round(seconds * 1000, 1), "router_refused": EVENTS}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(service.run("kafka-verify", "Proof that the broker works and refuses", _start))
