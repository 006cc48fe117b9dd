"""Which actions an event leads to: rules.toml, read and checked once, then matched as pure values.

[[rule]]
name = "calibrate-raw"
[rule.match]
types = ["written", "moved"]
endpoints = ["desy-storage"]            # default: any
paths = ["/data/raw/**/RAW-*.h5"]       # `*` stays within a folder, `**` crosses folders
min_size = 1                            # bytes; max_size likewise
[[rule.action]]
name = "/_/xdc/calibrate"
parameters = { destination = "remote-storage" }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.model import EventType, StorageEvent, WorkItem

_ACTION_NAME = re.compile(r"^/[^/\s]+(/[^/\s]+){1,2}$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """What an event must look like. Sizes are bytes; an event without a size matches no rule that asks for
    one.
    """

    types: tuple[EventType, ...] = Field(min_length=1)
    endpoints: tuple[str, ...] = ()
    paths: tuple[str, ...] = Field(min_length=1)
    min_size: int | None = Field(default=None, ge=0)
    max_size: int | None = Field(default=None, ge=0)

    @field_validator("types", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [word if isinstance(word, EventType) else EventType.from_word(str(word)) for word in value]

    @field_validator("paths")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for glob in value:
            if not glob.startswith("/"):
                raise ValueError(f"{glob!r} is not an absolute path pattern")
        return value

    @model_validator(mode="after")
    def _ordered_sizes(self) -> Match:
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is above max_size {self.max_size}")
        return self

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{glob_to_regex(glob)})" for glob in self.paths), re.DOTALL)

    def accepts(self, event: StorageEvent) -> bool:
        """Whether the event is one of those meant."""
        return (
            event.type in self.types
            and (not self.endpoints or event.data.endpoint in self.endpoints)
            and self._pattern.fullmatch(event.subject) is not None
            and self._accepts_size(event.data.size)
        )

    def _accepts_size(self, size: int | None) -> bool:
        if self.min_size is None and self.max_size is None:
            return True
        if size is None:
            return False
        return (self.min_size or 0) <= size and (self.max_size is None or size <= self.max_size)


class Action(_Strict):
    """What to run: the fully qualified OpenWhisk name `/namespace/[package/]action`, and its parameters."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _qualified(cls, value: str) -> str:
        if not _ACTION_NAME.match(value):
            raise ValueError(f"{value!r} is not of the form /namespace/[package/]action")
        return value


class Rule(_Strict):
    """Events that match lead to all of the actions."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    match: Match
    action: tuple[Action, ...] = Field(min_length=1)


class Rules(_Strict):
    """All rules of a router, in the order of the file; names are unique."""

    rule: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _unique_names(self) -> Rules:
        seen: set[str] = set()
        for rule in self.rule:
            if rule.name in seen:
                raise ValueError(f"two rules are named {rule.name!r}")
            seen.add(rule.name)
        return self

    def work(self, event: StorageEvent, *, now: float) -> Iterator[WorkItem]:
        """The work items that the event leads to; now: epoch seconds."""
        for rule in self.rule:
            if rule.match.accepts(event):
                for action in rule.action:
                    yield WorkItem.make(event, rule.name, action.name, action.parameters, created_at=now)


def load(path: Path) -> Rules:
    """Read and check a rules file. Raises WrongUsage, one line naming the key at fault."""
    try:
        text = path.read_text()
    except OSError as error:
        raise WrongUsage(
            f"rules file {path}: {error.strerror}", remedy="give the path of a readable rules file"
        ) from None
    return parse(text, name=str(path))


def parse(text: str, *, name: str = "rules.toml") -> Rules:
    """Check the text of a rules file; name: how messages call it. Raises WrongUsage."""
    try:
        return Rules.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise WrongUsage(f"{name}: {error}", remedy="correct the TOML at that place") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUsage(
            f"{name}: {_key(first['loc'])}: {first['msg']}", remedy=f"correct that key in {name}"
        ) from None


def glob_to_regex(glob: str) -> str:
    """A path pattern as a regular expression: `*` and `?` stay within a folder, `**/` is any folders, also
    none.
    """
    out: list[str] = []
    position = 0
    while position < len(glob):
        if glob.startswith("**/", position):
            out.append("(?:[^/]+/)*")
            position += 3
        elif glob.startswith("**", position):
            out.append(".*")
            position += 2
        elif glob[position] == "*":
            out.append("[^/]*")
            position += 1
        elif glob[position] == "?":
            out.append("[^/]")
            position += 1
        else:
            out.append(re.escape(glob[position]))
            position += 1
    return "".join(out)


def _key(location: tuple[int | str, ...]) -> str:
    """`rule[2].match.paths` from pydantic's location."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"
