"""The dispatcher service: work items from Kafka to the function platform, results back to Kafka.

    python -m xdc_testbed.events.dispatcher --config /etc/xdc-testbed/event-router.toml

Offsets are committed only up to the first item that has not ended; what a crash makes Kafka deliver again
is looked up in `activation-results` and not run twice.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xdc_testbed.events import service
from xdc_testbed.events.dispatch import Dispatcher, Retries
from xdc_testbed.events.done import DoneSet
from xdc_testbed.events.feed import Entry, Feed
from xdc_testbed.events.intake import Intake, Record
from xdc_testbed.events.kafka import (
    INVOCATIONS,
    RESULTS,
    BrokerUnavailable,
    KafkaSection,
    Login,
    read_config,
)
from xdc_testbed.events.ledger import KafkaLedger
from xdc_testbed.events.metrics import Counters, serve
from xdc_testbed.events.model import WorkItem
from xdc_testbed.events.targets.openwhisk import OpenWhiskSection, OpenWhiskTarget

log = logging.getLogger(__name__)


class DispatcherSection(Login):
    """The `[dispatcher]` table. concurrency: invocations under way; limit: items taken and not ended;
    drain: seconds that invocations have to end when the service stops."""

    group: str = "dispatcher"
    instance: str = "dispatcher-1"
    concurrency: int = Field(default=16, ge=1)
    limit: int = Field(default=2000, ge=1)
    drain: float = Field(default=10, ge=0)
    retries: Retries = Retries()


class DispatcherConfig(BaseModel):
    """The file given with --config; tables of other services in it are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kafka: KafkaSection
    dispatcher: DispatcherSection
    openwhisk: OpenWhiskSection


async def dispatch(config: DispatcherConfig, counters: Counters) -> None:
    """Run until SIGTERM or SIGINT. Raises BrokerUnavailable when results can no longer be kept."""
    section = config.dispatcher
    connection = config.kafka.as_user(section.user, section.password_file)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def history(since: float) -> Iterator[Entry]:
        with Feed(connection, RESULTS) as feed:
            yield from feed.until_now(since)

    done = DoneSet(history)
    ledger = KafkaLedger(connection, done)
    target = OpenWhiskTarget(config.openwhisk)

    def before(batch: list[Record]) -> None:
        done.cover(min(_oldest(record) for record in batch))

    def ended(record: Record) -> None:
        intake.end(record)

    dispatcher = Dispatcher(
        target,
        ledger,
        retries=section.retries,
        concurrency=section.concurrency,
        ended=ended,
        counters=counters,
    )
    intake = Intake(
        connection,
        INVOCATIONS,
        section.group,
        section.instance,
        before=before,
        assigned=done.forget_coverage,
        deliver=dispatcher.accept,
        outstanding=lambda: dispatcher.outstanding,
        limit=section.limit,
    )
    reading = intake.start()
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    counters.state = "running"
    try:
        ways_out: list[asyncio.Future[Any]] = [reading, stopping, dispatcher.failure]
        first, _ = await asyncio.wait(ways_out, return_when=asyncio.FIRST_COMPLETED)
        counters.state = "stopping"
        intake.stop()
        await dispatcher.drain(section.drain if stopping in first else 0)
        for future in first - {stopping}:
            future.result()
    finally:
        stopping.cancel()
        await intake.close()
        ledger.close()
        await target.close()


def _oldest(record: Record) -> float:
    """The earliest moment (epoch seconds) at which the record's work can have ended before."""
    try:
        event = WorkItem.model_validate_json(record.value).event
    except ValidationError:
        return record.timestamp
    return min(record.timestamp, event.data.closed_at)


def _start(path: Path) -> int:
    config = read_config(path, DispatcherConfig)
    counters = Counters("event-dispatcher")
    serve(counters, config.dispatcher.metrics)
    try:
        asyncio.run(dispatch(config, counters))
    except KafkaException as error:
        raise BrokerUnavailable(
            f"dispatcher stopped: {error.args[0]}", remedy="the next start goes on from the last commit"
        ) from error
    return 0


if __name__ == "__main__":
    sys.exit(service.run("event-dispatcher", "Work items to activations", _start))
