"""Back-off and gates."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.events.retry import Backoff, Gate


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_never_longer_than_the_longest_nor_shorter_than_half_the_first(failures: int, draw: float) -> None:
    assert 0.25 <= Backoff(0.5, 30).wait(failures, lambda: draw) <= 30


def test_waits_double() -> None:
    waits = [Backoff(0.5, 30).wait(failures, lambda: 1.0) for failures in range(1, 9)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_gate_is_open_until_somebody_is_refused() -> None:
    async def story() -> tuple[bool, bool]:
        gate = Gate(Backoff(60, 60))
        before = gate.closed
        gate.refused()
        return before, gate.closed

    assert asyncio.run(story()) == (False, True)


def test_refusals_of_calls_under_way_do_not_close_a_gate_for_longer() -> None:
    async def story() -> None:
        gate = Gate(Backoff(0.001, 3600))
        for _ in range(60):
            gate.refused()
        async with asyncio.timeout(10):
            await gate.passage()

    asyncio.run(story())


def test_a_passage_makes_the_next_wait_short_again() -> None:
    async def story() -> None:
        gate = Gate(Backoff(0.001, 3600))
        for _ in range(40):
            async with asyncio.timeout(10):
                await gate.passage()
            gate.refused()
            gate.passed()

    asyncio.run(story())
