"""Limits count as the product counts: by the clock's minute, refused requests included."""

from __future__ import annotations

import time

import pytest

from xdc_testbed.emulators.openwhisk.throttle import Throttle
from xdc_testbed.emulators.openwhisk.web import Refused


class Clock:
    now = 60_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


def test_refused_requests_count_too(clock: Clock) -> None:
    throttle = Throttle(invocations=1, concurrent=9, fires=9)
    throttle.invoke("guest")
    for count in (2, 3):
        with pytest.raises(Refused, match=rf"\(count: {count}, allowed: 1\)"):
            throttle.invoke("guest")


def test_next_minute_begins_anew(clock: Clock) -> None:
    throttle = Throttle(invocations=1, concurrent=9, fires=9)
    throttle.invoke("guest")
    clock.now += 60
    throttle.invoke("guest")


def test_namespaces_and_fires_are_counted_apart(clock: Clock) -> None:
    throttle = Throttle(invocations=1, concurrent=9, fires=1)
    throttle.invoke("guest")
    throttle.invoke("other")
    throttle.fire("guest")
    with pytest.raises(Refused) as caught:
        throttle.fire("guest")
    assert caught.value.status == 429


def test_concurrent_limit_lets_as_many_as_allowed(clock: Clock) -> None:
    throttle = Throttle(invocations=9, concurrent=2, fires=9)
    throttle.in_flight["guest"] = 1
    throttle.invoke("guest")
    throttle.in_flight["guest"] = 2
    with pytest.raises(Refused, match=r"in flight \(count: 2, allowed: 2\)"):
        throttle.invoke("guest")
