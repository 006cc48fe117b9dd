"""Which actions an event leads to: rules.toml, read and checked once, then matched as pure values.

[[rule]]
name = "calibrate-raw"
[rule.match]
types = ["written", "moved"]            # or "run-complete", whose path is the run's folder
endpoints = ["desy-storage"]            # default: any
paths = ["/data/raw/**/RAW-*.h5"]       # `*` stays within a folder, `**` crosses folders
min_size = 1                            # bytes; max_size likewise
checksum = true                         # only events with a checksum; false: only those without
[[rule.action]]
name = "/_/xdc/calibrate"
parameters = { destination = "remote-storage" }
writes = ["/data/out/**"]               # what an action that is not the kit's writes: a loop is refused

`[[run]]` tables say when a run is complete: see `runs`.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import to_json

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import loops
from xdc_testbed.events.globs import glob_to_regex
from xdc_testbed.events.model import EventType, StorageEvent, WorkItem
from xdc_testbed.events.runs import Arrival, RunTable, words_to_types

_ACTION_NAME = re.compile(r"^/[^/\s]+(/[^/\s]+){1,2}$")
_LARGEST_PARAMETERS = 64 * 1024  # bytes as JSON: they travel with every work item
_OUTPUT = re.compile(r"^([a-z0-9][a-z0-9-]*:)?/")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """What an event must look like. Sizes are bytes; an event without a size matches no rule that asks for
    one. checksum: whether the event must have one (true) or none (false).
    """

    types: tuple[EventType, ...] = Field(min_length=1)
    endpoints: tuple[str, ...] = ()
    paths: tuple[str, ...] = Field(min_length=1)
    min_size: int | None = Field(default=None, ge=0)
    max_size: int | None = Field(default=None, ge=0)
    checksum: bool | None = None

    @field_validator("types", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return words_to_types(value)

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
        return self._kind(event) and self._place(event) and self._path(event) and self._size(event) and self._sum(event)

    def conditions(self, event: StorageEvent) -> list[Condition]:
        """Each condition by its key, with what it asks for, what the event has, and whether that fits."""
        return [
            Condition("types", [kind.word for kind in self.types], event.type.word, self._kind(event)),
            Condition("endpoints", list(self.endpoints) or "any", event.data.endpoint, self._place(event)),
            Condition("paths", list(self.paths), event.subject, self._path(event)),
            Condition("size", f"{self.min_size or 0} to {_or_any(self.max_size)}", event.data.size, self._size(event)),
            Condition("checksum", _or_any(self.checksum), bool(event.data.checksums), self._sum(event)),
        ]

    def _kind(self, event: StorageEvent) -> bool:
        return event.type in self.types

    def _place(self, event: StorageEvent) -> bool:
        return not self.endpoints or event.data.endpoint in self.endpoints

    def _path(self, event: StorageEvent) -> bool:
        return self._pattern.fullmatch(event.subject) is not None

    def _size(self, event: StorageEvent) -> bool:
        size = event.data.size
        if self.min_size is None and self.max_size is None:
            return True
        if size is None:
            return False
        return (self.min_size or 0) <= size and (self.max_size is None or size <= self.max_size)

    def _sum(self, event: StorageEvent) -> bool:
        return self.checksum is None or self.checksum == bool(event.data.checksums)


@dataclass(frozen=True)
class Condition:
    """One key of a match against one event."""

    key: str
    wanted: Any
    found: Any
    fits: bool


def _or_any(value: Any) -> Any:
    return "any" if value is None else value


class Action(_Strict):
    """What to run: the fully qualified OpenWhisk name `/namespace/[package/]action`, and its parameters.

    writes: path patterns of what it writes, with `endpoint:` before those of one endpoint.
    """

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    writes: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _qualified(cls, value: str) -> str:
        if not _ACTION_NAME.match(value):
            raise ValueError(f"{value!r} is not of the form /namespace/[package/]action")
        return value

    @field_validator("parameters")
    @classmethod
    def _small(cls, value: dict[str, Any]) -> dict[str, Any]:
        size = len(to_json(value))
        if size > _LARGEST_PARAMETERS:
            raise ValueError(
                f"{size} bytes, more than {_LARGEST_PARAMETERS}: put them into a file on a storage and name its path"
            )
        return value

    @field_validator("writes")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not _OUTPUT.match(text):
                raise ValueError(f"{text!r} is neither an absolute path pattern nor endpoint:/pattern")
        return value


class Rule(_Strict):
    """Events that match lead to all of the actions."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    match: Match
    action: tuple[Action, ...] = Field(min_length=1)


class Rules(_Strict):
    """All rules of a router, in the order of the file; names are unique, and no rule sets itself off."""

    rule: tuple[Rule, ...] = ()
    run: tuple[RunTable, ...] = ()
    _version: str = PrivateAttr(default="")

    @property
    def version(self) -> str:
        """What tells these rules from others: 12 hexadecimal digits of the SHA-256 of the file's text."""
        return self._version

    @model_validator(mode="after")
    def _unique_names(self) -> Rules:
        for what, names in (("rules", [r.name for r in self.rule]), ("runs", [r.name for r in self.run])):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"two {what} are named {twice!r}")
        return self

    @model_validator(mode="after")
    def _no_loop(self) -> Rules:
        if (cycle := loops.cycle(self.rule, self.run)) is not None:
            raise ValueError(f"these set each other off for ever: {' -> '.join(cycle)}")
        return self

    def work(self, event: StorageEvent, *, now: float) -> Iterator[WorkItem]:
        """The work items that the event leads to; now: epoch seconds."""
        for rule in self.rule:
            if rule.match.accepts(event):
                for action in rule.action:
                    yield WorkItem.make(
                        event, rule.name, action.name, action.parameters, created_at=now, rules=self._version or None
                    )

    def arrivals(self, event: StorageEvent, *, now: float) -> Iterator[Arrival]:
        """What the event means for runs; now: epoch seconds."""
        for table in self.run:
            yield from table.arrivals(event, now=now)

    def table(self, name: str) -> RunTable | None:
        """The run table of this name."""
        return next((table for table in self.run if table.name == name), None)


def load(path: Path) -> Rules:
    """Read and check a rules file. Raises WrongUsage, one line naming the key at fault."""
    try:
        text = path.read_text()
    except OSError as error:
        raise WrongUsage(
            f"rules file {path}: {error.strerror}", remedy="give the path of a readable rules file"
        ) from None
    except UnicodeDecodeError:
        raise WrongUsage(f"rules file {path}: not UTF-8", remedy="write the rules as UTF-8 text") from None
    return parse(text, name=str(path))


def parse(text: str, *, name: str = "rules.toml") -> Rules:
    """Check the text of a rules file; name: how messages call it. Raises WrongUsage."""
    try:
        rules = Rules.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise WrongUsage(f"{name}: {error}", remedy="correct the TOML at that place") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUsage(
            f"{name}: {_key(first['loc'])}: {first['msg']}", remedy=f"correct that key in {name}"
        ) from None
    rules._version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return rules


def _key(location: tuple[int | str, ...]) -> str:
    """`rule[2].match.paths` from pydantic's location."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"
