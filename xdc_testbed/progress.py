"""How work says what it is doing. The command line hands a reporter down; nothing else prints.

Events are values, so that the terminal view, the plain lines, the JSON output and the log file show the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["ok", "changed", "skipped", "failed", "unreachable"]


@dataclass(frozen=True)
class Event:
    """Something that happened. at: epoch seconds; seconds: how long it took."""

    kind: Literal["phase-start", "phase-end", "phase-skip", "step", "task-start", "task-result", "note", "warning"]
    text: str
    phase: str | None = None
    host: str | None = None
    status: Status | None = None
    seconds: float | None = None
    detail: str | None = None
    at: float = field(default_factory=time.time)

    def to_json(self) -> dict[str, Any]:
        """Only the fields that are set."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Reporter(Protocol):
    """Takes events; may be called from several threads."""

    def __call__(self, event: Event) -> None:
        """Show or record one event."""
        ...


def silent(event: Event) -> None:
    """A reporter for library use: says nothing."""


@contextmanager
def phase(report: Reporter, name: str, text: str) -> Iterator[None]:
    """Report the begin and the end of one phase, and how long it took."""
    report(Event("phase-start", text, phase=name))
    started = time.monotonic()
    try:
        yield
    except BaseException:
        report(Event("phase-end", text, phase=name, status="failed", seconds=time.monotonic() - started))
        raise
    report(Event("phase-end", text, phase=name, status="ok", seconds=time.monotonic() - started))
