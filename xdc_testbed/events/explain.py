"""Why rules match an event, or why not: each condition by its name. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import loops
from xdc_testbed.events.model import EventType, RunData, StorageData, StorageEvent, fault
from xdc_testbed.events.rules import Condition, Rule, Rules
from xdc_testbed.events.runs import Arrival, RunTable


@dataclass(frozen=True)
class RuleVerdict:
    """One rule and one event."""

    rule: Rule
    conditions: list[Condition]

    @property
    def matches(self) -> bool:
        """Whether all conditions hold."""
        return all(condition.fits for condition in self.conditions)


def verdicts(rules: Rules, event: StorageEvent) -> list[RuleVerdict]:
    """Every rule's, in the order of the file."""
    return [RuleVerdict(rule, rule.match.conditions(event)) for rule in rules.rule]


def runs(rules: Rules, event: StorageEvent) -> list[tuple[RunTable, list[Arrival]]]:
    """Every run table, with what the event means for a run of it."""
    return [(table, list(table.arrivals(event, now=event.data.closed_at))) for table in rules.run]


def lines(rules: Rules, event: StorageEvent) -> Iterator[str]:
    """For a person at a terminal."""
    yield f"{event.type.word} {event.data.endpoint}:{event.subject} by rules {rules.version}"
    for verdict in verdicts(rules, event):
        yield f"  rule {verdict.rule.name}: {'matches' if verdict.matches else 'does not match'}"
        for condition in verdict.conditions:
            sign = "yes" if condition.fits else "NO "
            yield f"    {sign} {condition.key}: wanted {_shown(condition.wanted)}, is {_shown(condition.found)}"
        if verdict.matches:
            for action in verdict.rule.action:
                yield f"    runs {action.name} {action.parameters or ''}".rstrip()
                follow = loops.writes(action, verdict.rule.match)
                for traffic in follow:
                    kinds = ", ".join(kind.word for kind in traffic.types)
                    yield f"      then {kinds}: {', '.join(traffic.paths)}"
                if not follow:
                    known = loops.is_known(action.name)
                    yield f"      writes {'nothing' if known else 'what nobody has declared'}"
    for table, arrivals in runs(rules, event):
        for arrival in arrivals:
            yield f"  run {table.name}: {arrival.kind} of {arrival.folder}, expected by {table.expect.by}"
        if not arrivals:
            yield f"  run {table.name}: not of it"


def read_event(path: Path) -> StorageEvent:
    """An event from a file of JSON. Raises WrongUsage, one line naming the key at fault."""
    try:
        return StorageEvent.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}", remedy="give the path of a readable file") from None
    except ValidationError as error:
        raise WrongUsage(
            f"{path} is not a storage event: {fault(error)}",
            remedy="see docs/reference/storage-event.schema.json",
        ) from None


def event_of(path: str, *, endpoint: str, kind: str, size: int | None, checksum: bool = False) -> StorageEvent:
    """The event that there would be of a file on a storage. Raises WrongUsage for an unknown kind of event."""
    try:
        event_type = EventType.from_word(kind)
    except ValueError as error:
        raise WrongUsage(str(error), remedy="give one of these with --type") from None
    run = None
    if event_type is EventType.RUN_COMPLETE:
        run = RunData(table="dry-run", run=path.rpartition("/")[2], by="count", files=1, revision=1)
    checksums = {"adler32": "00000001"} if checksum else {}
    data = StorageData(endpoint=endpoint, size=size, closed_at=time.time(), run=run, checksums=checksums)
    return StorageEvent.make(event_type, path, data, testbed="dry-run", session="dry-run")


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "unknown" if value is None else str(value)
