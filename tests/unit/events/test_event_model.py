"""StorageEvents and work items: deterministic ids, faithful JSON, valid CloudEvents."""

from __future__ import annotations

import json
import re

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xdc_testbed.events.model import (
    LARGEST_EVENT,
    LARGEST_SIZE,
    LONGEST_PATH,
    DeadLetter,
    EventType,
    Result,
    StorageData,
    StorageEvent,
    Times,
    WorkItem,
    event_id,
)

PATHS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(lambda text: f"/{text}")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
DATA = st.builds(
    StorageData,
    endpoint=WORDS,
    size=st.none() | st.integers(0, LARGEST_SIZE - 1),
    checksums=st.dictionaries(WORDS, WORDS, max_size=2),
    user=st.none() | WORDS,
    storage_id=st.none() | WORDS,
    closed_at=st.floats(0, 4e9),
    old_path=st.none() | PATHS,
    raw=st.dictionaries(WORDS, WORDS, max_size=3),
)
EVENTS = st.builds(StorageEvent.make, st.sampled_from(EventType), PATHS, DATA, testbed=WORDS, session=WORDS)


@given(EVENTS)
def test_an_event_survives_json(event: StorageEvent) -> None:
    assert StorageEvent.model_validate_json(event.to_json()) == event


@given(EVENTS, st.dictionaries(WORDS, st.integers() | WORDS, max_size=3))
def test_a_work_item_survives_json(event: StorageEvent, parameters: dict[str, object]) -> None:
    item = WorkItem.make(event, "rule", "/_/xdc/noop", parameters, created_at=1.5)
    assert WorkItem.model_validate_json(item.to_json()) == item


@given(EVENTS)
def test_an_event_is_a_valid_cloudevent(event: StorageEvent) -> None:
    read = JSONFormat().read(CloudEvent, event.to_json())
    assert (read.get_id(), read.get_type(), read.get_subject()) == (event.id, event.type.value, event.subject)


@given(WORDS, st.sampled_from(EventType), PATHS, st.none() | WORDS, WORDS)
def test_the_same_fact_has_the_same_id(
    endpoint: str, kind: EventType, path: str, storage_id: str | None, session: str
) -> None:
    assert event_id(endpoint, kind, path, storage_id, session) == event_id(endpoint, kind, path, storage_id, session)


@given(WORDS, PATHS, WORDS, st.integers(1, 20))
def test_moving_characters_between_fields_changes_the_id(endpoint: str, path: str, session: str, shift: int) -> None:
    cut = min(shift, len(path) - 1)
    here = event_id(endpoint, EventType.WRITTEN, path, None, session)
    there = event_id(endpoint + path[:cut], EventType.WRITTEN, path[cut:], None, session)
    assert (here == there) is (cut == 0)


def test_the_time_seen_does_not_change_the_id(written: StorageEvent) -> None:
    later = StorageEvent.make(
        written.type,
        written.subject,
        written.data.model_copy(update={"closed_at": written.data.closed_at + 60}),
        testbed="t",
        session="1:0:0",
    )
    assert later.id == written.id


def test_an_unknown_field_is_refused(written: StorageEvent) -> None:
    fields = json.loads(written.to_json()) | {"extra": 1}
    with pytest.raises(ValidationError, match="extra"):
        StorageEvent.model_validate_json(json.dumps(fields))


def record(**changes: object) -> bytes:
    """A well-formed event as another program might write it, with changes of its data, or of itself."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": "1",
        "type": "org.xdc.storage.file.written.v1",
        "source": "xdc://t/desy-storage",
        "subject": "/data/raw/a",
        "time": "2026-01-01T00:00:00Z",
    }
    data = {"endpoint": "desy-storage", "closed_at": 1.5, "size": 1}
    for key, value in changes.items():
        (data if key in StorageData.model_fields else event)[key] = value
    return json.dumps({**event, "data": data}).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "record: Invalid JSON"),
        (b'{"a":' + b"[" * 100_000, "record: Invalid JSON"),
        (b'"text"', "record: Input should be an object"),
        (record(type="org.xdc.storage.file.exploded.v1"), "type: Input should be"),
        (record(specversion="0.3"), "specversion: Input should be '1.0'"),
        (record(id=""), "id: String should have at least 1 character"),
        (record(subject="/" * (LONGEST_PATH + 1)), "subject: String should have at most 8192 characters"),
        (record(old_path="/" * (LONGEST_PATH + 1)), "data.old_path: String should have at most 8192 characters"),
        (record(size=-1), "data.size: Input should be greater than or equal to 0"),
        (record(size=10**400), "data.size: Input should be less than"),
        (record(size=float("nan")), "data.size: "),
        (record(closed_at=float("nan")), "data.closed_at: "),
        (record(closed_at=float("inf")), "data.closed_at: "),
        (record(closed_at=1e300), "data.closed_at: Input should be less than"),
        (record(raw={"told": "x" * LARGEST_EVENT}), "it has 262400 bytes, more than 262144"),
    ],
)
def test_a_record_that_is_no_event_or_absurd_is_refused_with_its_key_in_one_line(value: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}") as caught:
        StorageEvent.read(value)
    assert "\n" not in str(caught.value)


def test_what_the_product_said_is_left_out_of_an_event_when_it_is_too_large(written: StorageEvent) -> None:
    large = written.model_copy(update={"data": written.data.model_copy(update={"raw": {"told": "x" * 900_000}})})
    read = StorageEvent.read(large.to_json())
    assert read.data.raw == {"left_out": 900_019}
    assert read.model_copy(update={"data": large.data}) == large


def test_a_dead_letter_of_garbage_holds_no_credential_and_no_more_than_is_read() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl"
    raw = b"x" * 4080 + token.encode() + b"y" * 900_000
    letter = DeadLetter.of_garbage(raw, f"unknown type {token} " + "z" * 900_000, at=1.0)
    assert b"eyJ" not in letter.to_json()
    assert len(letter.to_json()) < 10_000


def test_a_retried_item_has_a_new_id_that_depends_on_the_old_one_only(written: StorageEvent) -> None:
    item = WorkItem.make(written, "r", "/_/a", {}, created_at=1)
    assert item.retried(created_at=2).id == item.retried(created_at=3).id != item.id


def test_one_event_and_two_actions_are_two_work_items(written: StorageEvent) -> None:
    first = WorkItem.make(written, "r", "/_/a", {}, created_at=1)
    second = WorkItem.make(written, "r", "/_/b", {}, created_at=1)
    assert first.id != second.id


def test_a_dead_letter_holds_reason_and_work(written: StorageEvent) -> None:
    item = WorkItem.make(written, "r", "/_/a", {}, created_at=1)
    result = Result(
        id=item.id,
        event_id=written.id,
        subject=written.subject,
        endpoint="desy-storage",
        rule="r",
        action="/_/a",
        status="failed",
        reason="input ends in train 128 of 256",
        attempts=1,
        times=Times(closed=1, event=1, routed=1, ended=2),
    )
    letter = DeadLetter.model_validate_json(DeadLetter.of(item, result).to_json())
    assert (letter.reason, letter.item) == ("input ends in train 128 of 256", item)


@pytest.mark.parametrize("kind", EventType)
def test_every_type_has_a_word(kind: EventType) -> None:
    assert EventType.from_word(kind.word) is kind


def test_an_unknown_word_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: written, read, deleted, moved, staged, qos-changed"):
        EventType.from_word("wrote")
