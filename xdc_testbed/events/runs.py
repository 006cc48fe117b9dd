"""Which files make up a run, and when it is complete: the `[[run]]` tables of rules.toml.

[[run]]
name = "raw-run"
endpoints = ["desy-storage"]            # default: any
paths = ["/data/raw/{run}/RAW-*-{module}-S{sequence}.h5"]
expect = { count = 48 }                 # or { manifest = "/data/raw/{run}/manifest.json" } or { quiet_seconds = 60 }

`{run}` names the run, in the name of a folder, which is the run's folder; `{module}` and `{sequence}` are told in the
event; other names in braces are free. A name in braces stays within a folder; twice, it means the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xdc_testbed.events.globs import glob_to_regex
from xdc_testbed.events.model import EventType, StorageEvent

_NAME_IN_BRACES = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_FOLDER = "the_folder"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expect(_Strict):
    """What makes a run complete, one of three.

    count: so many distinct files; manifest: path of a file that lists them; quiet_seconds: none for so long.
    """

    count: int | None = Field(default=None, ge=1)
    manifest: str | None = None
    quiet_seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Expect:
        if sum(value is not None for value in (self.count, self.manifest, self.quiet_seconds)) != 1:
            raise ValueError("give one of count, manifest, quiet_seconds")
        return self

    @property
    def by(self) -> Literal["count", "manifest", "quiet"]:
        """Its kind, as events name it."""
        return "count" if self.count is not None else "manifest" if self.manifest is not None else "quiet"


class Arrival(_Strict):
    """What happened to one run, as the router tells itself: a record of `run-arrivals`, keyed by run.

    kind: `file` arrived, is `gone`, is the `manifest`; it was `listed` (names) or could not be (reason); or
    somebody asks whether the time of quiet is over. event_id: of the storage's event; at: epoch seconds.
    """

    kind: Literal["file", "gone", "manifest", "listed", "unlisted", "ask"]
    table: str
    endpoint: str
    folder: str
    run: str
    at: float
    source: str = ""
    path: str = ""
    event_id: str = ""
    size: int | None = None
    checksums: dict[str, str] = {}
    module: str | None = None
    sequence: str | None = None
    names: tuple[str, ...] = ()
    reason: str = ""

    @property
    def key(self) -> str:
        """The Kafka key: everything about one run stays in order."""
        return f"{self.table}@{self.endpoint}:{self.folder}"

    def to_json(self) -> bytes:
        """As compact JSON, what is not set left out."""
        return self.model_dump_json(exclude_defaults=True).encode()


class RunTable(_Strict):
    """One `[[run]]`: files that match belong to a run. types: the events that mean that a file is there."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    endpoints: tuple[str, ...] = ()
    types: tuple[EventType, ...] = (EventType.WRITTEN, EventType.MOVED)
    paths: tuple[str, ...] = Field(min_length=1)
    expect: Expect

    @field_validator("types", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return words_to_types(value)

    @field_validator("types")
    @classmethod
    def _of_files(cls, value: tuple[EventType, ...]) -> tuple[EventType, ...]:
        if EventType.RUN_COMPLETE in value:
            raise ValueError("a run is made of files, not of runs")
        return value

    @model_validator(mode="after")
    def _patterns(self) -> RunTable:
        for template in (*self.paths, *([self.expect.manifest] if self.expect.manifest else [])):
            compile_template(template)
        return self

    @cached_property
    def _files(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_template(template) for template in self.paths)

    @cached_property
    def _manifests(self) -> tuple[re.Pattern[str], ...]:
        return (compile_template(self.expect.manifest),) if self.expect.manifest else ()

    def arrivals(self, event: StorageEvent, *, now: float) -> Iterator[Arrival]:
        """What an event means for a run of this table; now: epoch seconds."""
        if self.endpoints and event.data.endpoint not in self.endpoints:
            return
        if event.type in self.types:
            manifest = self._arrival("manifest", self._manifests, event, event.subject, now)
            file = None if manifest else self._arrival("file", self._files, event, event.subject, now)
            yield from (found for found in (manifest, file) if found is not None)
        gone = _left(event)
        if gone is not None and (arrival := self._arrival("gone", self._files, event, gone, now)) is not None:
            yield arrival

    def _arrival(
        self,
        kind: Literal["file", "gone", "manifest"],
        patterns: tuple[re.Pattern[str], ...],
        event: StorageEvent,
        path: str,
        now: float,
    ) -> Arrival | None:
        found = next((match for pattern in patterns if (match := pattern.fullmatch(path))), None)
        if found is None:
            return None
        named = found.groupdict()
        return Arrival(
            kind=kind,
            table=self.name,
            endpoint=event.data.endpoint,
            folder=named[_FOLDER],
            run=named["run"],
            at=now,
            source=event.source,
            path=path,
            event_id=event.id,
            size=event.data.size,
            checksums=event.data.checksums if kind == "manifest" else {},
            module=named.get("module"),
            sequence=named.get("sequence"),
        )

    @property
    def globs(self) -> tuple[str, ...]:
        """What it takes files from, with `*` for names in braces."""
        return tuple(plain(template) for template in self._templates)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that its runs have, with `*` for names in braces."""
        return tuple(plain(_split(template)[0]) for template in self._templates)

    @property
    def _templates(self) -> tuple[str, ...]:
        return (*self.paths, *([self.expect.manifest] if self.expect.manifest else []))


def words_to_types(value: Any) -> Any:
    """Short words as event types; what is no list is left to pydantic."""
    if not isinstance(value, list | tuple):
        return value
    return [word if isinstance(word, EventType) else EventType.from_word(str(word)) for word in value]


def plain(template: str) -> str:
    """The template as a path pattern without names."""
    return _NAME_IN_BRACES.sub("*", template)


def compile_template(template: str) -> re.Pattern[str]:
    """The template as a regular expression with the run's folder as a group. Raises ValueError."""
    folder, rest = _split(template)
    seen: set[str] = set()
    return re.compile(f"(?P<{_FOLDER}>{_regex(folder, seen)}){_regex(rest, seen)}", re.DOTALL)


def _regex(template: str, seen: set[str]) -> str:
    out: list[str] = []
    for number, part in enumerate(_NAME_IN_BRACES.split(template)):
        if number % 2 == 0:
            out.append(glob_to_regex(part))
        elif part in seen:
            out.append(f"(?P={part})")
        else:
            seen.add(part)
            out.append(f"(?P<{part}>[^/]+?)")
    return "".join(out)


def _split(template: str) -> tuple[str, str]:
    """The run's folder, and what follows. Raises ValueError when the template has none."""
    if not template.startswith("/"):
        raise ValueError(f"{template!r} is not an absolute path pattern")
    place = template.find("{run}")
    if place < 0:
        raise ValueError(f"{template!r} does not name the run: write {{run}} for the name of its folder")
    end = template.find("/", place)
    if end < 0:
        raise ValueError(f"{{run}} in {template!r} must be in the name of a folder")
    if f"{{{_FOLDER}}}" in template:
        raise ValueError(f"{{{_FOLDER}}} is a name that is taken")
    return template[:end], template[end:]


def _left(event: StorageEvent) -> str | None:
    """The path that is no longer there after the event."""
    if event.type is EventType.DELETED:
        return event.subject
    return event.data.old_path if event.type is EventType.MOVED else None
