"""Storage events in, work items out: de-duplicate by event id, match rules, tell when runs are complete. Knows
nothing of actions or products.

A quixstreams application: its state (the ids seen, by file) lives in RocksDB and in a changelog topic, and is
committed together with the input offsets. At least once by default: what is repeated after a crash has the
same work item id, and the dispatcher does not run it again. With `guarantee = "exactly-once"` outputs,
state and offsets are one transaction, at the price of latency (consumers see outputs when the transaction
ends).

Files of a run go on to a second step, by `run-arrivals`, whose records are in order by run: see `completeness`.

    python -m xdc_testbed.events.router --config /etc/xdc-testbed/event-router.toml
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from confluent_kafka import KafkaException
from pydantic import BaseModel, ConfigDict, Field
from quixstreams import Application, State
from quixstreams.exceptions import QuixException
from quixstreams.kafka import ConnectionConfig
from quixstreams.models import SerializationContext, Serializer, TopicConfig
from quixstreams.state.rocksdb import RocksDBOptions

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import service
from xdc_testbed.events.clock import Clock
from xdc_testbed.events.completeness import Output, RunKeeping
from xdc_testbed.events.kafka import (
    DEAD_LETTERS,
    EVENTS,
    INVOCATIONS,
    RUN_ARRIVALS,
    RUN_EVENTS,
    RUN_TIMERS,
    BrokerUnavailable,
    Connection,
    KafkaSection,
    Login,
    read_config,
)
from xdc_testbed.events.manifests import ManifestReader, ManifestsSection
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import DeadLetter, StorageEvent
from xdc_testbed.events.reload import RulesFile
from xdc_testbed.events.rules import Rules

log = logging.getLogger(__name__)

# Bytes of memory for the state: blocks that were read, by all partitions together, and what each table of a partition
# holds before it is written. The library's defaults (1 GiB, 64 MiB) let the router grow with the ids that it has seen.
_STATE_MEMORY = RocksDBOptions(block_cache_size=32 << 20, write_buffer_size=8 << 20, max_write_buffer_number=2)


class RouterSection(Login):
    """The `[router]` table. remember_days: how long an event id is known; commit_interval: seconds.

    instance: name of this router among those that share the work; each router has its own. manifests: how manifests
    of runs are read.
    """

    rules_file: Path
    state_dir: Path
    group: str = "router"
    instance: str = "router-1"
    guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once"
    commit_interval: float = Field(default=2, ge=0)
    remember_days: float = Field(default=7, gt=0)
    partitions: int = Field(default=4, gt=0)
    manifests: ManifestsSection | None = None


class RouterConfig(BaseModel):
    """The file given with --config; tables of other services in it are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kafka: KafkaSection
    router: RouterSection


class _Payload(Serializer):
    """quixstreams serializer: an Output is already bytes, or nothing, which takes a key out of a compacted topic."""

    def __call__(self, value: Any, ctx: SerializationContext) -> bytes | None:  # type: ignore[override]  # noqa: ARG002 - the base class's signature
        payload: bytes | None = value.payload
        return payload


class Routing:
    """What is decided for one record: pure but for the state that is handed in."""

    def __init__(self, rules: Callable[[], Rules], counters: Counters, remember: timedelta) -> None:
        self._rules = rules
        self._counters = counters
        self._remember = remember

    def decide(self, value: bytes, state: State[bytes, int], *, now: float) -> list[Output]:
        """The records that follow from one record of `storage-events`: work items, arrivals of runs, or a dead
        letter, or nothing.
        """
        self._counters.add("events")
        try:
            event = StorageEvent.read(value)
        except ValueError as error:
            return [self._garbage(value, error, now=now)]
        seen = event.id.encode()  # bytes: neither key nor value goes through JSON
        if state.get_bytes(seen) is not None:
            self._counters.add("duplicates")
            return []
        state.set_bytes(seen, b"1", ttl=self._remember)
        rules = self._rules()
        outputs: list[Output] = []
        for item in rules.work(event, now=now):
            self._counters.add("work_items")
            self._counters.add("rule_items", rule=item.rule)
            outputs.append(Output(INVOCATIONS, item.key, item.to_json()))
        if not outputs:
            self._counters.add("unmatched")
        outputs += [Output(RUN_ARRIVALS, each.key, each.to_json()) for each in rules.arrivals(event, now=now)]
        return outputs

    def _garbage(self, value: bytes, error: ValueError, *, now: float) -> Output:
        self._counters.add("garbage")
        letter = DeadLetter.of_garbage(value, f"not a storage event: {error}", at=now)
        log.warning("%s", letter.reason)
        return Output(DEAD_LETTERS, letter.id, letter.to_json())


def application(config: RouterConfig, routing: Routing, keeping: RunKeeping) -> Application:
    """The quixstreams application: storage events by file, then arrivals by run; each step has its state."""
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
        rocksdb_options=_STATE_MEMORY,
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
        for name in (INVOCATIONS, DEAD_LETTERS, RUN_ARRIVALS, RUN_TIMERS, RUN_EVENTS)
    }
    arrivals = app.topic(RUN_ARRIVALS, key_deserializer="bytes", value_deserializer="bytes", config=layout)

    def decide(value: bytes, key: Any, timestamp: int, headers: Any, state: State[bytes, int]) -> list[Output]:  # noqa: ARG001
        return routing.decide(value, state, now=time.time())

    def keep(value: bytes, key: Any, timestamp: int, headers: Any, state: State[str, Any]) -> list[Output]:  # noqa: ARG001
        return keeping.decide(value, state, now=time.time())

    for topic, step in ((events, decide), (arrivals, keep)):
        frame = app.dataframe(topic)
        frame = frame.filter(_has_key, metadata=True)
        frame = frame.apply(step, stateful=True, metadata=True, expand=True)
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


def _check(config: RouterConfig, rules: Rules) -> None:
    """Raises WrongUsage for a run whose manifest the router could not read."""
    known = config.router.manifests.storages if config.router.manifests else {}
    for table in rules.run:
        unknown = [endpoint for endpoint in table.endpoints if endpoint not in known] if known else ["any storage"]
        if table.expect.manifest is not None and unknown:
            raise WrongUsage(
                f"run {table.name!r} expects a manifest, and the router may not read from {unknown[0]}",
                remedy="name the storage in [router.manifests.storages], or expect count or quiet_seconds",
            )


def _start(path: Path) -> int:
    config = read_config(path, RouterConfig)
    section = config.router
    counters = Counters("event-router")
    file = RulesFile(section.rules_file, counters, partial(_check, config))
    serve(counters, section.metrics)
    section.state_dir.mkdir(parents=True, exist_ok=True)
    remember = timedelta(days=section.remember_days)

    def current() -> Rules:
        return file.rules

    reader = ManifestReader(section.manifests) if section.manifests else None
    stop = threading.Event()
    clock = Clock(config.kafka.as_user(section.user, section.password_file), reader, counters)
    try:
        app = application(config, Routing(current, counters, remember), RunKeeping(current, counters, remember))
        file.follow(stop)
        clock.start()
        counters.state = "running"
        app.run()
    except (KafkaException, QuixException) as error:
        counters.state = "failed"
        raise BrokerUnavailable(
            f"router stopped: {error.__cause__ or error}", remedy="the next start goes on from the last commit"
        ) from error
    finally:
        stop.set()
        clock.stop()
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-router", "StorageEvents to work items", _start))
