"""Refuse an address for a while after too many wrong logins. Source: `frontend.limits.error.*` of dCache 11.2."""

from __future__ import annotations

import math
import time
from collections import deque

from starlette.responses import Response

from ..config import Frontend

_TEXT = "Server is busy. Please try again later."
_MOST = 10_000


class RateLimiter:
    """Counts errors of each address. Used by one event loop only."""

    def __init__(self, config: Frontend) -> None:
        self._config = config
        self._errors: dict[str, deque[float]] = {}
        self._blocked: dict[str, float] = {}

    def refusal(self, address: str) -> Response | None:
        """The answer for an address that is blocked, None for all others."""
        until = self._blocked.get(address)
        if until is None:
            return None
        left = until - time.monotonic()
        if left <= 0:
            del self._blocked[address]
            return None
        return Response(_TEXT.encode(), 429, {"Retry-After": str(max(1, math.ceil(left) - 1))})

    def failed(self, address: str) -> None:
        """Count one error."""
        now = time.monotonic()
        if address not in self._errors and len(self._errors) >= _MOST:
            self._errors.clear()
        errors = self._errors.setdefault(address, deque())
        errors.append(now)
        while errors[0] < now - self._config.errors_window:
            errors.popleft()
        if len(errors) >= self._config.errors_allowed:
            self._blocked[address] = now + self._config.block
            del self._errors[address]
