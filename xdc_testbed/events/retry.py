"""When to try again: back-off with jitter, and gates that hold back everybody who would meet the same
refusal.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off: first, doubling, at most `longest` seconds; each wait is drawn from its upper
    half.
    """

    first: float
    longest: float

    def wait(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the given number of failures (at least 1)."""
        ceiling = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        return ceiling * (0.5 + 0.5 * draw())


class Gate:
    """Open until somebody is refused; then closed for all for a growing time, until somebody gets through.

    One gate for what is refused together: an action that is throttled, a platform that is away. Waiting at
    a gate takes no place from others.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._opens_at = 0.0

    async def passage(self) -> None:
        """Return when the gate is open."""
        loop = asyncio.get_running_loop()
        while (wait := self._opens_at - loop.time()) > 0:
            await asyncio.sleep(wait)

    def refused(self) -> None:
        """Close. Refusals of calls that were under way when it closed do not prolong it."""
        now = asyncio.get_running_loop().time()
        if now >= self._opens_at:
            self._failures += 1
            self._opens_at = now + self._backoff.wait(self._failures)

    def passed(self) -> None:
        """Somebody got through: the next refusal begins with the shortest wait."""
        self._failures = 0

    @property
    def closed(self) -> bool:
        """Whether a newcomer would wait."""
        return self._opens_at > asyncio.get_running_loop().time()
