"""Follows topics of the broker from now on, as the user `client`, without a consumer group."""

from __future__ import annotations

import logging
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from pydantic import BaseModel, ConfigDict, ValidationError

from xdc_testbed.errors import WrongUsage, XdcError

log = logging.getLogger(__name__)

_ANSWER = 20.0
_BATCH = 500


class KafkaAccess(BaseModel):
    """How to reach the broker: kafka-client.toml. password_file: holds nothing but the password."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str
    username: str
    password_file: Path
    ca_file: Path

    @classmethod
    def read(cls, path: Path) -> KafkaAccess:
        """Read the file. Raises WrongUsage when it is not there or not such a file."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise WrongUsage(
                f"{path} does not say how to reach the broker: {error}", remedy="give --kafka FILE"
            ) from None


class Tail:
    """New records of some topics. Records from before it was made are not seen.

    answer: seconds that the broker has to say where a topic ends. Raises XdcError when it does not, or does not have
    a topic, with the cause as the broker said it.
    """

    def __init__(self, access: KafkaAccess, topics: Sequence[str], *, answer: float = _ANSWER) -> None:
        self._last_error = ""
        self._answer = answer
        self._consumer = Consumer(
            {
                "bootstrap.servers": access.bootstrap,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": access.username,
                "sasl.password": access.password_file.read_text().strip(),
                "ssl.ca.location": str(access.ca_file),
                "group.id": f"{access.username}-tail",  # demanded by the library; nothing is ever committed
                "enable.auto.commit": False,
                "error_cb": self._note,
                "log_level": 2,  # what the library would print comes to error_cb too
            }
        )
        try:
            self._consumer.assign([end for topic in topics for end in self._ends(topic)])
        except KafkaException as error:
            self._consumer.close()
            reason = self._last_error or error.args[0].str()
            raise XdcError(
                f"the broker at {access.bootstrap} does not let us follow {', '.join(topics)}: {reason}",
                remedy="is it up, and may this user read the topics? xdc-testbed status",
            ) from None

    def records(self, wait: float) -> Iterator[tuple[str, bytes]]:
        """(topic, value) of what has come, waiting up to `wait` seconds for the first."""
        deadline = time.monotonic() + wait
        batch: list[Any] = self._consumer.consume(1, max(0.0, deadline - time.monotonic()))
        batch += self._consumer.consume(_BATCH, 0)
        for message in batch:
            if message.error():
                self._note(message.error())
            elif message.value() is not None:
                yield message.topic(), message.value()

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _ends(self, topic: str) -> list[TopicPartition]:
        """Where each partition of a topic ends now."""
        known = self._consumer.list_topics(topic, timeout=self._answer).topics[topic]
        if known.error is not None:
            raise KafkaException(known.error)
        ends = []
        for partition in known.partitions:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._answer)
            ends.append(TopicPartition(topic, partition, high))
        return ends

    def _note(self, error: KafkaError) -> None:
        """The library connects again by itself; what it meets is worth a line, and the cause when it gives up."""
        log.warning("broker: %s", error.str())
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = error.str()
