"""Wakes runs: asks after a time of quiet, and reads manifests, so that the router's stream never waits.

Follows the compacted topic `run-timers` and answers by records of `run-arrivals`. It keeps nothing: after a restart
it reads the timers that are still wanted. Each router has one; what several say alike is one answer to the state.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import KafkaException, Producer
from pydantic import ValidationError

from xdc_testbed.errors import XdcError
from xdc_testbed.events.completeness import Timer
from xdc_testbed.events.feed import Entry, Feed
from xdc_testbed.events.kafka import RUN_ARRIVALS, RUN_TIMERS, BrokerUnavailable, Connection
from xdc_testbed.events.manifests import ManifestWrong
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.retry import Backoff
from xdc_testbed.events.runs import Arrival

log = logging.getLogger(__name__)

_AGAIN = 15.0  # seconds after which what was answered and is still wanted is answered again
_PATIENCE = 3600.0  # seconds for which a storage that does not give a manifest is asked
_READERS = 4
_STEP = 0.1


class Reader(Protocol):
    """Who reads manifests: see `manifests`."""

    def read(self, endpoint: str, path: str) -> tuple[str, ...]: ...


@dataclass
class _Wish:
    timer: Timer
    due: float
    since: float
    failures: int = 0


class Timers:
    """The wishes as `run-timers` has them. Pure; not for several threads."""

    def __init__(self) -> None:
        self._wishes: dict[bytes, _Wish] = {}

    def __len__(self) -> int:
        return len(self._wishes)

    def take(self, entry: Entry, *, now: float) -> None:
        """A record of the topic: a new wish, or the end of one."""
        if not entry.value:
            self._wishes.pop(entry.key, None)
            return
        try:
            timer = Timer.model_validate_json(entry.value)
        except ValidationError:
            log.warning("record %d:%d of %s is unreadable", entry.partition, entry.offset, RUN_TIMERS)
            return
        self._wishes[entry.key] = _Wish(timer, timer.due, now)

    def due(self, *, now: float) -> list[_Wish]:
        """Those to answer now; each comes again after a while, until its end is read."""
        found = [wish for wish in self._wishes.values() if wish.due <= now]
        for wish in found:
            wish.due = now + _AGAIN
        return found


class Clock:
    """Runs in threads of its own from `start` to `stop`. reader: None when no storage is to be read from."""

    def __init__(self, connection: Connection, reader: Reader | None, counters: Counters) -> None:
        self._connection = connection
        self._reader = reader
        self._counters = counters
        self._backoff = Backoff(1, 60)
        self._stop = threading.Event()
        # As quixstreams does: an answer has to come to the partition in which the run's arrivals are.
        self._producer = Producer({**connection.producer(), "partitioner": "murmur2", "logger": log})
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="manifests")
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; waits at most a few seconds."""
        self._stop.set()
        self._thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Feed(self._connection, RUN_TIMERS) as feed:
                    self._follow(feed)
            except (BrokerUnavailable, KafkaException) as error:
                self._counters.add("clock_interruptions")
                log.warning("timers of runs: %s", error)
                self._stop.wait(1)
        self._producer.flush(2)

    def _follow(self, feed: Feed) -> None:
        timers = Timers()
        feed.from_oldest()
        while not self._stop.is_set():
            entry = feed.next(_STEP)
            while entry is not None:
                timers.take(entry, now=time.time())
                entry = feed.next(0)
            self._counters.set("runs_waiting", len(timers))
            for wish in timers.due(now=time.time()):
                self._answer(wish)
            self._producer.poll(0)

    def _answer(self, wish: _Wish) -> None:
        if wish.timer.manifest is None:
            self._say(wish.timer.arrival.model_copy(update={"kind": "ask", "at": time.time()}))
        else:
            wish.due = float("inf")  # until it has been read
            self._pool.submit(self._read, wish, wish.timer.manifest)

    def _read(self, wish: _Wish, path: str) -> None:
        asked = wish.timer.arrival
        try:
            if self._reader is None:
                raise ManifestWrong("the router has no [router.manifests]")
            found = self._reader.read(asked.endpoint, path)
        except XdcError as error:
            if not isinstance(error, ManifestWrong) and time.time() - wish.since < _PATIENCE:
                wish.failures += 1
                wish.due = time.time() + self._backoff.wait(wish.failures)
                self._counters.add("manifest_retries")
                log.info("manifest %s of %s: %s; again", path, asked.endpoint, error.message)
                return
            self._say(asked.model_copy(update={"kind": "unlisted", "reason": error.message, "at": time.time()}))
        else:
            self._say(asked.model_copy(update={"kind": "listed", "names": found, "at": time.time()}))
        wish.due = time.time() + _AGAIN

    def _say(self, arrival: Arrival) -> None:
        try:
            self._producer.produce(RUN_ARRIVALS, arrival.to_json(), arrival.key.encode())
        except BufferError:
            log.warning("the broker is away: run %s is woken later", arrival.key)
