"""Known behaviour of products that a case rightly calls wrong: named, explained, and only until a date.

An entry matches on case, product and version, and on what the failure says, so that it hides nothing else.
An entry past its date no longer excuses anything, and an entry whose failure does not show is a failure
itself: it
has to go.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from xdc_testbed.errors import WrongUsage
from xdc_testbed.interop.record import CaseRecord, Party


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Globs = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Deviation(BaseModel):
    """One entry of deviations.toml. Globs may be one string or a list; a dimension that is not named
    matches all.

    at: whose product and version count; partner: product of the other end; shows: regular expression that
    the failure's reason must hold;
    sometimes: the behaviour is a race, so that a pass is no surprise;
    expires: the last day on which the entry excuses anything; link: where the product's behaviour is
    written down.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    case: Globs
    product: Globs
    version: Globs = ("*",)
    at: Literal["source", "destination", "active", "passive", "any"] = "source"
    partner: Globs = ("*",)
    protocol: Globs = ("*",)
    credential: Globs = ("*",)
    direction: Globs = ("*",)
    variant: Globs = ("*",)
    size: tuple[int, ...] = ()
    shows: re.Pattern[str]
    sometimes: bool = False
    reason: str = Field(min_length=20)
    link: str = Field(min_length=5)
    expires: date

    def applies(self, record: CaseRecord) -> bool:
        """Whether the record is of the case, product, version and dimensions of this entry, whatever its
        outcome.
        """
        return (
            _any(self.case, record.case_id)
            and _any(self.protocol, record.protocol)
            and _any(self.credential, record.credential)
            and _any(self.direction, record.direction or "")
            and _any(self.variant, record.variant or "")
            and (not self.size or record.size in self.size)
            and any(
                _any(self.product, party.product)
                and _any(self.version, party.version)
                and _any(self.partner, other.product)
                for party, other in self._parties(record)
            )
        )

    def _parties(self, record: CaseRecord) -> list[tuple[Party, Party]]:
        """The ends of the record whose product counts, each with the other end."""
        source, destination = record.source, record.destination or record.source
        active, passive = (source, destination) if record.direction == "push" else (destination, source)
        ends = {
            "source": (source, destination),
            "destination": (destination, source),
            "active": (active, passive),
            "passive": (passive, active),
        }
        return [ends["source"], ends["destination"]] if self.at == "any" else [ends[self.at]]


def judge(record: CaseRecord, known: Sequence[Deviation], today: date) -> CaseRecord:
    """The record with its outcome set by the known deviations; skipped and error are left alone."""
    if record.outcome not in ("pass", "fail"):
        return record
    entries = [entry for entry in known if entry.applies(record)]
    if record.outcome == "pass":
        entries = [entry for entry in entries if not entry.sometimes]
        if not entries:
            return record
        ids = ", ".join(entry.id for entry in entries)
        reason = f"the known deviation {ids} does not show any more: remove the entry, or narrow its version"
        return record.model_copy(update={"outcome": "unexpected-pass", "reason": reason, "deviation": entries[0].id})
    for entry in entries:
        if not entry.shows.search(record.reason or ""):
            continue
        if today > entry.expires:
            late = f"known deviation {entry.id}, but its entry expired on {entry.expires}: check again"
            reason = f"{record.reason} ({late})"
            return record.model_copy(update={"reason": reason, "deviation": entry.id})
        return record.model_copy(update={"outcome": "expected-deviation", "deviation": entry.id})
    return record


def load(path: Path | None = None) -> list[Deviation]:
    """The entries of a file, or of the kit's own deviations.toml. Raises WrongUsage."""
    name = str(path) if path else "deviations.toml"
    try:
        text = (
            path.read_text(encoding="utf-8") if path else files(__package__).joinpath(name).read_text(encoding="utf-8")
        )
        content = tomllib.loads(text)
        entries = [Deviation.model_validate(entry) for entry in content.pop("deviation", [])]
    except OSError as error:
        raise WrongUsage(f"cannot read {name}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise WrongUsage(f"{name} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WrongUsage(f"{name}: {where}: {first['msg']}") from error
    if content:
        raise WrongUsage(f"{name}: unknown table {next(iter(content))!r}", remedy="entries are [[deviation]] tables")
    ids = [entry.id for entry in entries]
    for entry_id in ids:
        if ids.count(entry_id) > 1:
            raise WrongUsage(f"{name}: two entries have the id {entry_id}")
    return entries


def _any(globs: tuple[str, ...], text: str) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)
