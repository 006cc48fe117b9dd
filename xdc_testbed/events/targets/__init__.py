"""What runs actions: the contract between the dispatcher and a function platform.

A target invokes one action and says how it went as a value; it does not retry, and knows nothing of Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Succeeded:
    """The action ended well. started: epoch seconds at which its code began, as far as known."""

    result: dict[str, Any]
    activation_id: str | None = None
    started: float | None = None


@dataclass(frozen=True)
class Failed:
    """The action ran, or was refused, and it went wrong. retry: whether the same call may go better later."""

    reason: str
    retry: bool
    result: dict[str, Any] = field(default_factory=dict)
    activation_id: str | None = None
    started: float | None = None


@dataclass(frozen=True)
class Throttled:
    """The platform has enough to do for this action (HTTP 429): come again, nothing was counted."""

    reason: str


@dataclass(frozen=True)
class Unavailable:
    """The platform cannot be reached or says so itself (refused, 503): nothing is known to have run."""

    reason: str


Outcome = Succeeded | Failed | Throttled | Unavailable


class Target(Protocol):
    """A function platform."""

    async def invoke(self, action: str, parameters: dict[str, Any], /) -> Outcome:
        """Run an action to its end. Raises nothing but programming errors and asyncio.CancelledError."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
