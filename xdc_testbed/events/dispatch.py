"""Run work items, many at a time, each to its end: invoke, retry with back-off, record the result, bury
what fails.

Knows retries and order; the function platform is a Target, Kafka is behind `deliver`, `ended` and the
Ledger. Items of one file and action run one after the other; no item waits for another file's retries.
Nothing is ended before its result is kept by the broker, so that a crash at any moment repeats work but
loses none.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from xdc_testbed import redaction
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import DeadLetter, Result, Times, WorkItem, fault, short_reason
from xdc_testbed.events.retry import Backoff, Gate
from xdc_testbed.events.targets import Failed, Outcome, Succeeded, Target, Throttled, Unavailable

log = logging.getLogger(__name__)

_LATEST = 32_503_680_000  # the year 3000
_LARGEST_RESULT = 64 * 1024  # bytes as JSON


class Retries(BaseModel):
    """The `[dispatcher.retries]` table; times in seconds.

    attempts: invocations that may fail before an item is buried; patience: how long a throttled action or
    an absent platform is waited for, per item.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(default=5, ge=1)
    first: float = Field(default=0.5, gt=0)
    longest: float = Field(default=30, gt=0)
    throttled_first: float = Field(default=0.1, gt=0)
    throttled_longest: float = Field(default=5, gt=0)
    away_first: float = Field(default=0.1, gt=0)
    away_longest: float = Field(default=2, gt=0)
    patience: float = Field(default=86_400, gt=0)


class Delivered(Protocol):
    """A record as the dispatcher sees it; it comes back to `ended`."""

    @property
    def value(self) -> bytes: ...


class Ledger(Protocol):
    """Where ends are written down; both return when the broker has the record on disk of all replicas."""

    async def record(self, result: Result) -> None: ...

    async def bury(self, letter: DeadLetter) -> None: ...

    def is_done(self, work_id: str) -> bool: ...


class Dispatcher:
    """Runs what is accepted. concurrency: invocations under way at once; ended: called for each accepted
    record.
    """

    def __init__(
        self,
        target: Target,
        ledger: Ledger,
        *,
        retries: Retries,
        concurrency: int,
        ended: Callable[[Any], None],
        counters: Counters,
    ) -> None:
        self._target = target
        self._ledger = ledger
        self._retries = retries
        self._ended = ended
        self._counters = counters
        self._slots = asyncio.Semaphore(concurrency)
        self._backoff = Backoff(retries.first, retries.longest)
        self._platform = Gate(Backoff(retries.away_first, retries.away_longest))
        self._actions: defaultdict[str, Gate] = defaultdict(
            lambda: Gate(Backoff(retries.throttled_first, retries.throttled_longest))
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._rows: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def outstanding(self) -> int:
        """How many accepted records have not ended."""
        return len(self._tasks)

    @property
    def failure(self) -> asyncio.Future[None]:
        """Ends with an exception when a result could not be written down: the service must stop."""
        return self._failure

    def accept(self, records: Iterable[Delivered]) -> None:
        """Start on records; returns at once."""
        for record in records:
            try:
                item = WorkItem.model_validate_json(record.value)
            except ValidationError as error:
                self._spawn(self._bury_garbage(record, error))
                continue
            row = (item.action, item.key)
            task = self._spawn(self._run(record, item, self._rows.get(row)))
            self._rows[row] = task
            task.add_done_callback(partial(self._leave, row))
        self._counters.set("outstanding", self.outstanding)

    async def drain(self, seconds: float) -> None:
        """Let invocations end for so many seconds, then give up what is left: it will be delivered again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            log.info("%d work items given back", len(left))
            await asyncio.gather(*left, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._settle)
        return task

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._counters.set("outstanding", self.outstanding)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failure.done():
            self._failure.set_exception(error)

    def _leave(self, row: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._rows.get(row) is task:
            del self._rows[row]

    async def _run(self, record: Delivered, item: WorkItem, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        if self._ledger.is_done(item.id):
            self._counters.add("repeated")
        else:
            await self._pursue(item)
        self._ended(record)

    async def _bury_garbage(self, record: Delivered, error: ValidationError) -> None:
        letter = DeadLetter.of_garbage(record.value, f"not a work item: {fault(error)}", at=time.time())
        log.warning("%s", letter.reason)
        await self._ledger.bury(letter)
        self._counters.add("garbage")
        self._ended(record)

    async def _pursue(self, item: WorkItem) -> None:
        """Invoke until it is done, cannot be done, or patience ends; write down how it ended.

        An invocation keeps its place until its result is kept: a crash repeats no more items than there are
        places, and a broker that is away stops new invocations instead of piling up results.
        """
        gate = self._actions[item.action]
        tally = _Tally(self._retries)
        while True:
            await self._platform.passage()
            await gate.passage()
            async with self._slots:
                if gate.closed or self._platform.closed:
                    continue
                invoked = time.time()
                outcome = await self._invoke(item, gate)
                end = tally.end(outcome)
                if end is not None:
                    await self._write_down(item, _result(item, end, tally.attempts, invoked))
                    return
            if isinstance(outcome, Failed):
                self._counters.add("retries")
                reason = short_reason(outcome.reason)
                log.info("%s of %s failed: %s; again", item.action, item.event.subject, reason)
                await asyncio.sleep(self._backoff.wait(tally.attempts))

    async def _invoke(self, item: WorkItem, gate: Gate) -> Outcome:
        """One invocation, and what it means for those who wait at the gates."""
        event = item.event.model_dump(mode="json", exclude_none=True)
        try:
            outcome = await self._target.invoke(item.action, {**item.parameters, "event": event, "work_id": item.id})
        except Exception as error:  # one item must not stop the others, nor be read again for ever
            log.exception("%s of %s", item.action, item.event.subject)
            outcome = Failed(f"defect of the dispatcher: {type(error).__name__}: {error}", retry=True)
        match outcome:
            case Throttled():
                self._counters.add("throttled")
                gate.refused()
            case Unavailable():
                self._counters.add("unavailable")
                self._platform.refused()
            case Succeeded() | Failed():
                gate.passed()
                self._platform.passed()
        return outcome

    async def _write_down(self, item: WorkItem, result: Result) -> None:
        if result.status == "failed":
            await self._ledger.bury(DeadLetter.of(item, result))
        await self._ledger.record(result)
        self._counters.add(result.status)
        if (started := result.times.action_started) is not None:
            self._counters.observe("close_to_action_seconds", max(0.0, started - result.times.closed))


class _Tally:
    """How often one item was tried, and since when it has been waiting for a platform that takes it."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._waiting_since: float | None = None
        self.attempts = 0

    def end(self, outcome: Outcome) -> Succeeded | Failed | None:
        """What the item ends with, None if it goes on. Throttling and absence count as no attempt."""
        if isinstance(outcome, Throttled | Unavailable):
            now = time.monotonic()
            self._waiting_since = self._waiting_since or now
            waited = now - self._waiting_since
            return Failed(outcome.reason, retry=False) if waited >= self._retries.patience else None
        self._waiting_since = None
        self.attempts += 1
        if isinstance(outcome, Succeeded) or not outcome.retry or self.attempts >= self._retries.attempts:
            return outcome
        return None


def _result(item: WorkItem, outcome: Succeeded | Failed, attempts: int, invoked: float) -> Result:
    event = item.event
    return Result(
        id=item.id,
        event_id=event.id,
        subject=event.subject,
        endpoint=event.data.endpoint,
        rule=item.rule,
        action=item.action,
        status="ok" if isinstance(outcome, Succeeded) else "failed",
        reason=None if isinstance(outcome, Succeeded) else short_reason(outcome.reason),
        activation_id=outcome.activation_id,
        attempts=attempts,
        result=_bounded(outcome.result),
        times=Times(
            closed=event.data.closed_at,
            event=event.time.timestamp(),
            routed=item.created_at,
            invoked=invoked,
            action_started=_started(outcome),
            ended=time.time(),
        ),
    )


def _started(outcome: Succeeded | Failed) -> float | None:
    """When the action's code began: what it says itself, else what the platform says."""
    said = outcome.result.get("started_at")
    if isinstance(said, int | float) and 0 < said < _LATEST:  # it is the action's word: anything
        return float(said)
    return outcome.started


def _bounded(result: dict[str, Any]) -> dict[str, Any]:
    """The action's answer without credentials, and small enough for a record of the results topic.

    Of a large one the smallest parts are kept. `left_out` says how many parts are not, and size and SHA-256 of the
    whole, as compact JSON; the activation record has it.
    """
    whole = to_json(result, inf_nan_mode="null")
    if len(whole) <= _LARGEST_RESULT:
        return redaction.value(result)  # type: ignore[no-any-return]
    kept: dict[str, Any] = {}
    room = _LARGEST_RESULT // 2
    for size, key in sorted((len(to_json({key: part})), key) for key, part in result.items()):
        room -= size
        if room < 0:
            break
        kept[key] = result[key]
    left_out = {"parts": len(result) - len(kept), "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    return {**redaction.value(kept), "left_out": left_out}
