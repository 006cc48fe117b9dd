"""Ids of dCache's events: the same for one fact from every source, another one for another fact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.events.model import EventType, StorageEvent
from xdc_testbed.events.sources.facts import Facts, clean

FACTS = Facts("bed", "desy-storage")
ID = st.text("0123456789ABCDEF", min_size=36, max_size=36)
PATH = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).map(
    lambda name: clean("/data/" + name)
)
MOMENT = st.floats(0, 4e9)


def info(path: str, pnfsid: str, **more: object) -> FileInfo:
    return FileInfo(path, pnfsid, False, 5, 0.0, 0.0, **more)  # type: ignore[arg-type]


def told_by_all(path: str, pnfsid: str, at: float, later: float) -> list[StorageEvent]:
    """One upload, as Kafka, the stream and the listing tell it: at other moments, with other details."""
    return [
        FACTS.written(path, pnfsid, at=at, size=5, user="tester", raw={"session": "door:1"}),
        FACTS.written(path, pnfsid, at=later, size=5, checksums={"adler32": "00000001"}),
        FACTS.written(path + "/", pnfsid, at=later, raw={"source": "listing"}),
    ]


@given(PATH, ID, MOMENT, MOMENT)
def test_an_upload_has_one_id_whoever_tells_it_and_when(path: str, pnfsid: str, at: float, later: float) -> None:
    assert len({each.id for each in told_by_all(path, pnfsid, at, later)}) == 1


@given(PATH, ID, ID, MOMENT)
def test_a_file_written_again_is_another_fact(path: str, pnfsid: str, other: str, at: float) -> None:
    same = FACTS.written(path, pnfsid, at=at).id == FACTS.written(path, other, at=at).id
    assert same == (pnfsid == other)


@given(PATH, PATH, ID, MOMENT, MOMENT)
def test_a_move_has_one_id_and_another_one_back(old: str, new: str, pnfsid: str, at: float, later: float) -> None:
    there = FACTS.moved(old, info(new, pnfsid), at=at)
    again = FACTS.moved(old, info(new, pnfsid), at=later)
    back = FACTS.moved(new, info(old, pnfsid), at=at)
    assert there.id == again.id
    assert (there.id == back.id) == (old == new)


@given(PATH, ID, st.integers(0, 60_000_000), st.floats(0, 59.9), st.floats(0, 59.9))
def test_a_class_reached_has_one_id_within_its_minute(path: str, pnfsid: str, minute: int, a: float, b: float) -> None:
    state = info(path, pnfsid, qos="tape", locality="ONLINE_AND_NEARLINE")
    ids = {FACTS.qos_changed(state, at=60.0 * minute + second).id for second in (a, b)}
    next_time = FACTS.qos_changed(state, at=60.0 * (minute + 1)).id
    assert (len(ids), next_time in ids) == (1, False)


@given(PATH, ID, MOMENT)
def test_every_kind_of_fact_has_its_own_id(path: str, pnfsid: str, at: float) -> None:
    state = info(path, pnfsid, qos="disk", locality="ONLINE")
    events = [
        FACTS.written(path, pnfsid, at=at),
        FACTS.deleted(path, pnfsid, at=at),
        FACTS.moved("/old", state, at=at),
        FACTS.staged(state, at=at),
        FACTS.qos_changed(state, at=at),
        FACTS.read(path, pnfsid, session="door:1", at=at),
        FACTS.read(path, pnfsid, session="door:2", at=at),
    ]
    assert len({each.id for each in events}) == len(events)
    assert {each.key for each in events} == {f"desy-storage:{path}"}


@given(PATH, ID, MOMENT)
def test_an_event_survives_its_json(path: str, pnfsid: str, at: float) -> None:
    event = FACTS.written(path, pnfsid, at=at, size=1)
    assert StorageEvent.model_validate_json(event.to_json()) == event


def test_a_change_of_class_says_which() -> None:
    event = FACTS.qos_changed(info("/a", "00", qos="tape", locality="NEARLINE"), at=0)
    assert (event.type, event.data.raw) == (EventType.QOS_CHANGED, {"qos": "tape", "locality": "NEARLINE"})


@pytest.mark.parametrize(
    ("told", "path"),
    [("/a//b/", "/a/b"), ("a/b", "/a/b"), ("/", "/"), ("//", "/"), ("/a/b", "/a/b"), ("/a b ", "/a b ")],
)
def test_paths_are_written_one_way(told: str, path: str) -> None:
    assert clean(told) == path
