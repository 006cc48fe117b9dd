"""Storage events in, work items out: de-duplicate by event id, match rules. Knows nothing of actions or
products.

A quixstreams application: its state (the ids seen, by file) lives in RocksDB and in a changelog topic, and is
committed together with the input offsets. At least once by default: what is repeated after a crash has the
same work item id, and the dispatcher does not run it again. With `guarantee = "exactly-once"` outputs,
state and offsets are one transaction, at the price of latency (consumers see outputs when the transaction
ends).

    python -m xdc_testbed.events.router --config /etc/xdc-testbed/event-router.toml
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from confluent_kafka import KafkaException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from quixstreams import Application, State
from quixstreams.exceptions import QuixException
from quixstreams.kafka import ConnectionConfig
from quixstreams.models import SerializationContext, Serializer, TopicConfig

from xdc_testbed.events import rules as rules_file
from xdc_testbed.events import service
from xdc_testbed.events.kafka import (
    DEAD_LETTERS,
    EVENTS,
    INVOCATIONS,
    BrokerUnavailable,
    Connection,
    KafkaSection,
    Login,
    read_config,
)
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import DeadLetter, StorageEvent
from xdc_testbed.events.rules import Rules

log = logging.getLogger(__name__)


class RouterSection(Login):
    """The `[router]` table. remember_days: how long an event id is known; commit_interval: seconds.

    instance: name of this router among those that share the work; each router has its own.
    """

    rules_file: Path
    state_dir: Path
    group: str = "router"
    instance: str = "router-1"
    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    commit_interval: float = Field(default=2, ge=0)
    remember_days: float = Field(default=7, gt=0)
    partitions: int = Field(default=4, gt=0)


class RouterConfig(BaseModel):
    """The file given with --config; tables of other services in it are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kafka: KafkaSection
    router: RouterSection


@dataclass(frozen=True)
class Output:
    """One record to produce."""

    topic: str
    key: str
    payload: bytes


class _Payload(Serializer):
    """quixstreams serializer: an Output is already bytes."""

    def __call__(self, value: Any, ctx: SerializationContext) -> bytes:  # noqa: ARG002 - the base class's signature
        payload: bytes = value.payload
        return payload


class Routing:
    """What is decided for one record: pure but for the state that is handed in."""

    def __init__(self, rules: Rules, counters: Counters, remember: timedelta) -> None:
        self._rules = rules
        self._counters = counters
        self._remember = remember

    def decide(self, value: bytes, state: State[str, int], *, now: float) -> list[Output]:
        """The records that follow from one record of `storage-events`: work items, or a dead letter, or
        nothing.
        """
        self._counters.add("events")
        try:
            event = StorageEvent.model_validate_json(value)
        except ValidationError as error:
            return [self._garbage(value, error, now=now)]
        if state.get(event.id) is not None:
            self._counters.add("duplicates")
            return []
        state.set(event.id, 1, ttl=self._remember)
        outputs = [Output(INVOCATIONS, item.key, item.to_json()) for item in self._rules.work(event, now=now)]
        self._counters.add("work_items", len(outputs))
        if not outputs:
            self._counters.add("unmatched")
        return outputs

    def _garbage(self, value: bytes, error: ValidationError, *, now: float) -> Output:
        self._counters.add("garbage")
        first = error.errors()[0]
        reason = f"not a storage event: {'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
        log.warning("%s", reason)
        letter = DeadLetter.of_garbage(value, reason, at=now)
        return Output(DEAD_LETTERS, letter.id, letter.to_json())


def application(config: RouterConfig, routing: Routing) -> Application:
    """The quixstreams application: one topic in, two topics out, one state."""
    section = config.router
    connection = config.kafka.as_user(section.user, section.password_file)
    app = Application(
        broker_address=_address(connection),
        consumer_group=section.group,
        auto_offset_reset="earliest",
        auto_create_topics=True,
        commit_interval=section.commit_interval,
        processing_guarantee=section.guarantee,
        state_dir=section.state_dir,
        loglevel=None,
        broker_availability_timeout=30,
        consumer_poll_timeout=0.5,
        consumer_extra_config={
            "fetch.wait.max.ms": 500,
            "fetch.min.bytes": 1,
            "fetch.queue.backoff.ms": 5,
            "session.timeout.ms": 45_000,
            "group.instance.id": section.instance,
        },
        producer_extra_config=_producer(section),
    )
    layout = TopicConfig(num_partitions=section.partitions, replication_factor=1)
    events = app.topic(EVENTS, key_deserializer="bytes", value_deserializer="bytes", config=layout)
    outputs = {
        name: app.topic(name, key_serializer="str", value_serializer=_Payload(), config=layout)
        for name in (INVOCATIONS, DEAD_LETTERS)
    }

    def decide(value: bytes, key: Any, timestamp: int, headers: Any, state: State[str, int]) -> list[Output]:  # noqa: ARG001
        return routing.decide(value, state, now=time.time())

    frame = app.dataframe(events)
    frame = frame.filter(_has_key, metadata=True)
    frame = frame.apply(decide, stateful=True, metadata=True, expand=True)
    frame.to_topic(lambda value, *_: outputs[value.topic], key=lambda value: value.key)
    return app


def _has_key(value: Any, key: Any, timestamp: int, headers: Any) -> bool:  # noqa: ARG001 - quixstreams' signature
    """Every source keys its events by file; a record without key cannot be put in order."""
    if key is None:
        log.warning("record without key in %s left out", EVENTS)
    return key is not None


def _producer(section: RouterSection) -> dict[str, Any]:
    """At once and to all replicas; as a transaction of this router's own name when exactly once is asked
    for.
    """
    settings: dict[str, Any] = {"linger.ms": 0, "acks": "all", "message.timeout.ms": 60_000}
    if section.guarantee == "exactly-once":
        settings |= {"transactional.id": f"{section.group}-{section.instance}", "message.timeout.ms": 30_000}
    return settings


def _address(connection: Connection) -> ConnectionConfig:
    return ConnectionConfig.from_librdkafka_dict(connection.settings(), ignore_extras=True)


def _start(path: Path) -> int:
    config = read_config(path, RouterConfig)
    rules = rules_file.load(config.router.rules_file)
    counters = Counters("event-router")
    serve(counters, config.router.metrics)
    config.router.state_dir.mkdir(parents=True, exist_ok=True)
    routing = Routing(rules, counters, timedelta(days=config.router.remember_days))
    try:
        app = application(config, routing)
        counters.state = "running"
        log.info("routing by %d rules", len(rules.rule))
        app.run()
    except (KafkaException, QuixException) as error:
        counters.state = "failed"
        raise BrokerUnavailable(
            f"router stopped: {error.__cause__ or error}", remedy="the next start goes on from the last commit"
        ) from error
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-router", "StorageEvents to work items", _start))
