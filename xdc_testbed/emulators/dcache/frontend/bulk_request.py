"""One bulk request and its targets: what the product keeps of them, and how a client sees them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ..subject import Subject
from .activities import TargetFailed

_PAGE = 10_000
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "SKIPPED"})
"""States of a target in which nothing more happens."""


@dataclass(slots=True)
class Target:
    """One path of a request. Times in ms since 1970."""

    number: int
    path: str
    submitted: int
    state: str = "CREATED"
    started: int | None = None
    finished: int | None = None
    error_type: str | None = None
    error: str | None = None

    def end(self, state: str, error: TargetFailed | None = None) -> None:
        """The last state, and why."""
        self.state, self.finished = state, now()
        if error is not None:
            self.error_type, self.error = error.kind, str(error)

    @property
    def document(self) -> dict[str, Any]:
        """As a client sees it; what is not known is left out."""
        found = {
            "target": self.path,
            "state": self.state,
            "submittedAt": self.submitted,
            "startedAt": self.started,
            "finishedAt": self.finished,
            "errorType": self.error_type,
            "errorMessage": self.error,
            "id": self.number,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(slots=True)
class Bulk:
    """One request. uid: its id; url: where it is managed; arguments: of the activity; expanded: whether
    the files of its directories are among the targets."""

    number: int
    uid: str
    url: str
    owner: Subject
    activity: str
    prefix: str
    arguments: dict[str, Any]
    expand: bool
    cancel_on_failure: bool
    clear_on_success: bool
    clear_on_failure: bool
    paths: list[str]
    arrived: int
    modified: int
    started: int | None = None
    status: str = "QUEUED"
    expanded: bool = False
    targets: list[Target] = field(default_factory=list)

    @property
    def final(self) -> bool:
        """Whether nothing more happens."""
        return self.status in ("COMPLETED", "CANCELLED")

    def document(self, offset: int) -> dict[str, Any]:
        """The state of the request and of its targets from a number on, at most a page of them."""
        targets = [target for target in self.targets if target.number >= offset]
        page = targets[:_PAGE]
        found: dict[str, Any] = {
            "nextId": page[-1].number + 1 if len(targets) > _PAGE else -1,
            "uid": self.uid,
            "arrivedAt": self.arrived,
        }
        if self.started is not None:
            found["startedAt"] = self.started
        found |= {"lastModified": self.modified, "status": self.status, "targetPrefix": self.prefix}
        return {**found, "targets": [target.document for target in page]}


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
