"""What the demonstration sees of the broker, as the user `client`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from event_rig import produce, produce_events, storage_event, until

from xdc_testbed.demo.accounting import EVENTS, TOPICS
from xdc_testbed.demo.streams import KafkaAccess, Tail
from xdc_testbed.errors import XdcError

if TYPE_CHECKING:
    from conftest import Pipeline


@pytest.fixture
def access(pipeline: Pipeline) -> KafkaAccess:
    broker = pipeline.broker
    return KafkaAccess(
        bootstrap=broker.kafka.bootstrap,
        username="client",
        password_file=broker.password_file("client"),
        ca_file=broker.kafka.ca_file or Path(),
    )


@pytest.fixture
def tail(access: KafkaAccess) -> Iterator[Tail]:
    found = Tail(access, TOPICS)
    yield found
    found.close()


def test_it_sees_what_comes_after_it_was_made_and_nothing_older(pipeline: Pipeline, access: KafkaAccess) -> None:
    older, newer = (storage_event(f"/data/tail/other-{number}") for number in range(2))
    produce_events(pipeline.broker, [older])
    tail = Tail(access, TOPICS)
    produce_events(pipeline.broker, [newer])
    seen = until(lambda: list(tail.records(0.2)), "record of the demonstration's tail")
    tail.close()
    assert seen == [(EVENTS, newer.to_json())]


def test_it_goes_on_after_the_broker_was_killed(pipeline: Pipeline, tail: Tail) -> None:
    pipeline.broker.process.kill()
    event = storage_event("/data/tail/other-after-kill")
    produce(pipeline.broker.connection("event-source"), EVENTS, [(event.key, event.to_json())])
    assert until(lambda: list(tail.records(0.2)), "record after the kill") == [(EVENTS, event.to_json())]


def test_a_topic_that_it_may_not_read_is_an_error_with_the_reason(access: KafkaAccess) -> None:
    with pytest.raises(XdcError, match=r"does not let us follow nothing-here: .*authorization failed"):
        Tail(access, ["nothing-here"])


def test_a_wrong_password_is_the_reason_and_not_a_time_out(access: KafkaAccess, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.secret"
    wrong.write_text("guess")
    with pytest.raises(XdcError, match="invalid credentials"):
        Tail(access.model_copy(update={"password_file": wrong}), TOPICS, answer=3.0)
