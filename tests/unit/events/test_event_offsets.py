"""What may be committed: never past something that has not ended, and at the end everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.events.offsets import OffsetTracker


@given(st.data(), st.sets(st.integers(0, 200), min_size=1, max_size=60))
def test_nothing_unended_is_ever_passed(data: st.DataObject, positions: set[int]) -> None:
    tracker = OffsetTracker()
    for position in sorted(positions):
        tracker.start(position)
    left = set(positions)
    for position in data.draw(st.permutations(sorted(positions))):
        tracker.end(position)
        left.discard(position)
        committable = tracker.committable
        assert committable is None or all(position >= committable for position in left)
        assert tracker.outstanding == len(left)
    assert tracker.committable == max(positions) + 1


@given(st.permutations(range(20)))
def test_each_move_is_reported_once_and_forward(order: list[int]) -> None:
    tracker = OffsetTracker()
    for position in range(20):
        tracker.start(position)
    moves = [move for position in order if (move := tracker.end(position)) is not None]
    assert moves == sorted(set(moves))
    assert moves[-1] == 20


def test_starting_and_ending_may_alternate() -> None:
    tracker = OffsetTracker()
    tracker.start(5)
    tracker.start(7)
    assert tracker.end(7) is None
    tracker.start(9)
    assert tracker.end(5) == 8
    assert tracker.end(9) == 10
    assert tracker.span == 0


def test_positions_must_grow() -> None:
    tracker = OffsetTracker()
    tracker.start(5)
    with pytest.raises(ValueError, match="position 5 comes after 5"):
        tracker.start(5)
