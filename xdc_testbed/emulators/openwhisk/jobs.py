"""What an invoker is given to run, and what it gives back: plain data, so that it can be on another node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from .responses import Response

Key = tuple[str, str]
"""Full name and version of an action: what a container is initialised for."""

Code: TypeAlias = Callable[[], Awaitable[str]]
"""Gets the code of an action, which only a new container needs."""


@dataclass(slots=True)
class Job:
    """One activation of one action. about: what the contract tells the action, but for the deadline; image: of a
    blackbox action; memory in MB, timeout in ms, logs and most (of the result) in bytes; arrived: epoch seconds."""

    id: str
    key: Key
    name: str
    main: str
    binary: bool
    image: str | None
    memory: int
    timeout: int
    logs: int
    most: int
    about: dict[str, str]
    arguments: Any
    environment: dict[str, Any]
    arrived: float

    def document(self) -> dict[str, Any]:
        """For the wire."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def restored(cls, document: dict[str, Any]) -> Job:
        """The inverse of `document`."""
        name, version = document["key"]
        return cls(**document | {"key": (name, version)})


@dataclass(slots=True)
class Times:
    """Of one activation, in epoch ms by the clock of the node that ran it; init is None on a warm container."""

    wait: int = 0
    start: int = 0
    end: int = 0
    init: int | None = None
    timed_out: bool = False


@dataclass(slots=True)
class Outcome:
    """How a job ended."""

    response: Response
    times: Times

    def document(self) -> dict[str, Any]:
        """For the wire."""
        return {"response": list(self.response), "times": asdict(self.times)}

    @classmethod
    def restored(cls, document: dict[str, Any]) -> Outcome:
        """The inverse of `document`."""
        return cls(Response(*document["response"]), Times(**document["times"]))


Answered: TypeAlias = Callable[[Outcome], None]
"""Told as soon as there is an outcome; the logs come later."""
