"""The set of ended work items: complete from the moment asked for, bounded, and never wrong about what it
forgot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.events.done import DoneSet
from xdc_testbed.events.feed import Entry


class Topic:
    """A results topic in memory; `reads` holds the moments that were asked for."""

    def __init__(self, ended: dict[str, float]) -> None:
        self.ended = ended
        self.reads: list[float] = []

    def since(self, moment: float) -> Iterable[Entry]:
        self.reads.append(moment)
        for number, (work_id, at) in enumerate(sorted(self.ended.items(), key=lambda pair: pair[1])):
            if at >= moment:
                yield Entry(0, number, at, b"", json.dumps({"id": work_id}).encode())


def test_what_ended_before_a_restart_is_known_after_it() -> None:
    done = DoneSet(Topic({"a": 100.0}).since)
    done.cover(100.0)
    assert "a" in done


def test_the_topic_is_read_once_for_later_moments() -> None:
    topic = Topic({"a": 100.0})
    done = DoneSet(topic.since)
    for moment in (100.0, 101.0, 200.0):
        done.cover(moment)
    assert len(topic.reads) == 1


def test_an_older_moment_reads_further_back() -> None:
    done = DoneSet(Topic({"old": 10.0, "new": 100.0}).since)
    done.cover(100.0)
    assert "old" not in done
    done.cover(10.0)
    assert "old" in done


def test_clocks_may_differ_by_the_slack() -> None:
    done = DoneSet(Topic({"a": 95.0}).since, slack=10)
    done.cover(100.0)
    assert "a" in done


def test_what_others_ended_is_read_after_a_partition_came_over() -> None:
    topic = Topic({})
    done = DoneSet(topic.since)
    done.cover(100.0)
    topic.ended["theirs"] = 105.0
    done.forget_coverage()
    done.cover(104.0)
    assert "theirs" in done


def test_unreadable_results_are_passed_over() -> None:
    def history(_: float) -> Iterable[Entry]:
        yield Entry(0, 0, 1.0, b"", b"{")
        yield Entry(0, 1, 1.0, b"", b"[]")
        yield Entry(0, 2, 1.0, b"", b'{"id": "a"}')

    done = DoneSet(history)
    done.cover(1.0)
    assert "a" in done


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(0, 1000), st.integers(1, 10))
def test_a_covered_moment_is_complete_however_small_the_memory_when_asked_again(
    ends: list[int], moment: int, capacity: int
) -> None:
    topic = Topic({f"id-{number}": float(at) for number, at in enumerate(ends)})
    done = DoneSet(topic.since, slack=0, capacity=capacity)
    newest = sorted(topic.ended, key=lambda work_id: topic.ended[work_id])[-capacity:]
    done.cover(moment)
    assert all(work_id in done for work_id in newest if topic.ended[work_id] >= moment)
