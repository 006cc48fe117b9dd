"""What could not be done: list it, look at one, and give it another try."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaError, Message, Producer
from pydantic import ValidationError

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import DEAD_LETTERS, INVOCATIONS, BrokerUnavailable, Connection
from xdc_testbed.events.model import DeadLetter, WorkItem

_ACKNOWLEDGED_WITHIN = 10.0


def letters(connection: Connection, *, since: float | None = None) -> list[DeadLetter]:
    """The dead letters from a moment (epoch seconds) on, oldest first; user `client` or `admin`."""
    found: list[DeadLetter] = []
    with Feed(connection, DEAD_LETTERS) as feed:
        for entry in feed.until_now(since):
            try:
                found.append(DeadLetter.model_validate_json(entry.value))
            except ValidationError:
                found.append(DeadLetter.of_garbage(entry.value, "not a dead letter", at=entry.timestamp))
    return sorted(found, key=lambda letter: letter.at)


def show(connection: Connection, letter_id: str) -> DeadLetter:
    """The newest dead letter whose id begins so. Raises WrongUsage when there is none, or several ids begin
    so.
    """
    found = [letter for letter in letters(connection) if letter.id.startswith(letter_id)]
    if not found:
        raise WrongUsage(f"no dead letter {letter_id}", remedy="list them first")
    if len({letter.id for letter in found}) > 1:
        raise WrongUsage(f"{letter_id} begins several dead letters' ids", remedy="give more of the id")
    return found[-1]


def chosen(found: Iterable[DeadLetter], *, reason: str = "", rule: str = "") -> list[DeadLetter]:
    """Those that hold work, whose reason has the text, and which are of the rule; empty means any. Of several about
    the same work the newest.
    """
    fitting = {
        letter.item.id: letter
        for letter in found
        if letter.item is not None and reason in letter.reason and rule in ("", letter.item.rule)
    }
    return list(fitting.values())


def retry(connection: Connection, letter: DeadLetter) -> WorkItem:
    """Put a dead letter's work back into the row; user `admin`. Doing it twice runs it once.

    Raises WrongUsage when the letter holds no work, BrokerUnavailable when the broker does not take it.
    """
    return retry_all(connection, [letter])[0]


def retry_all(connection: Connection, found: Sequence[DeadLetter]) -> list[WorkItem]:
    """The same for many. Raises the same, and WrongUsage before anything is put back."""
    items: list[WorkItem] = []
    for letter in found:
        if letter.item is None:
            raise WrongUsage(
                f"dead letter {letter.id} holds no work item", remedy="its record was unreadable: see `raw`"
            )
        items.append(letter.item.retried(created_at=time.time()))
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({**connection.producer(), "message.timeout.ms": int(_ACKNOWLEDGED_WITHIN * 1000)})
    for item in items:
        producer.produce(INVOCATIONS, item.to_json(), item.key.encode(), on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(_ACKNOWLEDGED_WITHIN + 1)
    if left or failures:
        raise BrokerUnavailable(
            f"the broker did not take {max(left, len(failures))} of {len(items)} work items: "
            f"{failures[0] if failures else 'no answer'}",
            remedy="is the broker running, and may this user write invocations? Another try runs nothing twice.",
        )
    return items
