"""When a token is valid, read from the token itself: the word for refusals that are nothing but wrong clocks.

Storages do not say why they refuse a token: dCache answers 401 without a word, XRootD 5.5 403 "permission denied".
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class TokenTimes:
    """Dates of a JSON web token, epoch seconds; None where it has none. Read without looking at its signature."""

    issuer: str
    issued: float | None
    not_before: float | None
    expires: float | None

    @classmethod
    def of(cls, token: str) -> TokenTimes | None:
        """The dates of a token; None for one that is no JSON web token, such as a macaroon."""
        try:
            payload = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return cls(
                str(claims.get("iss", "unknown")),
                *(_number(claims.get(name)) for name in ("iat", "nbf", "exp")),
            )
        except (IndexError, ValueError, AttributeError):
            return None

    @property
    def begins(self) -> float:
        """From when on everybody takes it: scitokens-cpp also refuses a token that was issued in the future."""
        return max(self.not_before or 0.0, self.issued or 0.0)

    def good(self, now: float, *, spare: float = 0.0) -> bool:
        """Whether it is valid now, and for so many seconds more."""
        return self.begins <= now and (self.expires is None or now + spare < self.expires)

    def fault(self, now: float) -> str | None:
        """What is wrong with its dates by our clock, as a sentence; None when nothing is."""
        if self.begins > now:
            return (
                f"its token is not valid before {_clock(self.begins)}, {self.begins - now:.0f} s from now: "
                f"the clock of {self.issuer} is ahead, or ours behind"
            )
        if self.expires is not None and self.expires <= now:
            issued = f", issued {_clock(self.issued)}" if self.issued is not None else ""
            return f"its token has expired at {_clock(self.expires)}, {now - self.expires:.0f} s ago{issued}"
        return None


def fault_of(token: str, now: float | None = None) -> str | None:
    """What is wrong with a token's dates, as a sentence; None when nothing is, or when it has none."""
    times = TokenTimes.of(token)
    return None if times is None else times.fault(time.time() if now is None else now)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _clock(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%H:%M:%S UTC")
