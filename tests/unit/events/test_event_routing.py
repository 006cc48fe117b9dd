"""What the router decides for one record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from xdc_testbed.events.kafka import DEAD_LETTERS, INVOCATIONS
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import DeadLetter, StorageEvent, WorkItem
from xdc_testbed.events.router import Routing
from xdc_testbed.events.rules import parse

RULES = parse("""
[[rule]]
name = "calibrate-raw"
match = { types = ["written"], paths = ["/data/raw/**"] }
action = [{ name = "/_/xdc/calibrate" }]
""")


class State(dict[Any, Any]):
    """The part of a quixstreams state that the router uses."""

    get_bytes = dict.get

    def set_bytes(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        assert ttl == timedelta(days=1)
        self[key] = value


def routing() -> Routing:
    return Routing(lambda: RULES, Counters("event-router"), timedelta(days=1))


def test_an_event_becomes_a_work_item_keyed_by_file(written: StorageEvent) -> None:
    (output,) = routing().decide(written.to_json(), State(), now=5.0)
    item = WorkItem.model_validate_json(output.payload)
    assert (output.topic, output.key) == (INVOCATIONS, written.key)
    assert (item.event, item.rule, item.created_at) == (written, "calibrate-raw", 5.0)


def test_the_same_event_again_leads_to_nothing(written: StorageEvent) -> None:
    state = State()
    routing().decide(written.to_json(), state, now=5.0)
    assert routing().decide(written.to_json(), state, now=6.0) == []


def test_a_record_that_is_no_event_is_buried_with_the_reason() -> None:
    (output,) = routing().decide(b'{"specversion":"1.0"}', State(), now=5.0)
    letter = DeadLetter.model_validate_json(output.payload)
    assert output.topic == DEAD_LETTERS
    assert letter.reason == "not a storage event: id: Field required"
    assert letter.raw == '{"specversion":"1.0"}'
