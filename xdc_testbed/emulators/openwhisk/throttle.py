"""Limits of a namespace: requests by clock minute, and activations at once.

As OpenWhisk counts: the minute is the clock's, a refused request counts too, fires and invocations are
counted apart, and an activation is in flight until its logs are collected.
"""

from __future__ import annotations

import time
from collections import Counter

from . import messages
from .web import Refused

TOO_MANY = 429


class Throttle:
    """The counters of all namespaces."""

    def __init__(self, invocations: int, concurrent: int, fires: int) -> None:
        self._allowed = {"invoke": invocations, "fire": fires}
        self._concurrent = concurrent
        self._minute = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self.in_flight: Counter[str] = Counter()

    def fire(self, namespace: str) -> None:
        """Count a fire. Raises Refused 429."""
        self._count("fire", namespace)

    def invoke(self, namespace: str) -> None:
        """Count an invocation. Raises Refused 429."""
        self._count("invoke", namespace)
        running = self.in_flight[namespace]
        if running >= self._concurrent:
            raise Refused(TOO_MANY, messages.concurrent(running, self._concurrent))

    def _count(self, what: str, namespace: str) -> None:
        minute = int(time.time() // 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        self._counts[what, namespace] += 1
        count = self._counts[what, namespace]
        if count > self._allowed[what]:
            raise Refused(TOO_MANY, messages.rate(count, self._allowed[what]))
