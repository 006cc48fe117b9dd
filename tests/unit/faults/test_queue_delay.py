"""The user-space delay: what goes over netlink, and in which order packets are let go."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.faults import queue_delay as qd


def from_kernel(*numbers: int) -> bytes:
    """A datagram with one packet message for each number, with another attribute before the packet header."""
    return b"".join(
        qd.message(
            qd.NFQNL_MSG_PACKET,
            7,
            qd.attribute(3, b"\1\2\3"),
            qd.attribute(qd.NFQA_PACKET_HDR, struct.pack(">IHB", number, 0x0800, 0)),
        )
        for number in numbers
    )


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_every_packet_number_of_a_datagram_is_read_in_order(numbers: list[int]) -> None:
    assert list(qd.packets(from_kernel(*numbers))) == numbers


@given(st.binary(max_size=200))
def test_a_datagram_that_is_not_ours_is_read_without_an_error(data: bytes) -> None:
    assert all(isinstance(number, int) for number in qd.packets(data))


@given(st.lists(st.floats(0, 0.01), min_size=1, max_size=30), st.floats(0.001, 1))
def test_no_packet_is_let_go_before_its_time_and_all_are_in_the_end(gaps: list[float], delay: float) -> None:
    holding = qd.Holding(delay)
    arrivals, now = [], 0.0
    for number, gap in enumerate(gaps):
        now += gap
        arrivals.append(now)
        holding.add(number, now)
        last = holding.due(now)
        assert last is None or arrivals[last] + delay <= now
    assert holding.due(now + delay) in (len(gaps) - 1, None)
    assert holding.wait(now) is None


def test_the_wait_is_that_of_the_oldest_packet() -> None:
    holding = qd.Holding(0.025)
    holding.add(1, 10.0)
    holding.add(2, 10.01)
    assert round(holding.wait(10.005) or 0, 6) == 0.02


def test_the_verdict_accepts_a_whole_batch() -> None:
    kind = struct.unpack_from("=IH", qd.accept_up_to(7, 99))[1]
    assert kind == qd.NFNL_SUBSYS_QUEUE | qd.NFQNL_MSG_VERDICT_BATCH
    assert qd.accept_up_to(7, 99)[-8:] == struct.pack(">II", qd.NF_ACCEPT, 99)
