"""Rules that would set themselves off: found when rules are loaded, and refused. Pure.

What an action writes is known for the kit's own actions and declared for others: `writes = ["/data/out/**"]`, or
`["remote-storage:/data/out/**"]` for one endpoint. A run table is triggered by its files and says `run-complete`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdc_testbed.events.globs import meet
from xdc_testbed.events.model import EventType

if TYPE_CHECKING:
    from xdc_testbed.events.rules import Action, Match, Rule
    from xdc_testbed.events.runs import RunTable

_PACKAGE = "xdc"
_WRITES = (EventType.WRITTEN, EventType.MOVED)


@dataclass(frozen=True)
class Traffic:
    """Events of some kinds, about some paths. endpoints: empty for any."""

    types: tuple[EventType, ...]
    endpoints: tuple[str, ...]
    paths: tuple[str, ...]

    def meets(self, other: Traffic) -> bool:
        """Whether one event can belong to both."""
        return (
            bool(set(self.types) & set(other.types))
            and (not self.endpoints or not other.endpoints or bool(set(self.endpoints) & set(other.endpoints)))
            and any(meet(mine, theirs) for mine in self.paths for theirs in other.paths)
        )


@dataclass(frozen=True)
class _Station:
    name: str
    takes: Traffic
    gives: tuple[Traffic, ...]


def cycle(rules: Sequence[Rule], tables: Sequence[RunTable]) -> list[str] | None:
    """The names along a shortest loop, the first again at the end; None when there is none."""
    stations = [_of_rule(rule) for rule in rules] + [_of_table(table) for table in tables]
    follows = {
        station.name: [other.name for other in stations if any(given.meets(other.takes) for given in station.gives)]
        for station in stations
    }
    found = [way for name in follows if (way := _way_back(name, follows)) is not None]
    return min(found, key=len) if found else None


def writes(action: Action, match: Match) -> tuple[Traffic, ...]:
    """The events that follow from an action on what the rule matches, as far as it is known."""
    declared = tuple(_declared(text) for text in action.writes)
    return declared + tuple(_known(action.name, action.parameters, match))


def is_known(name: str) -> bool:
    """Whether the action is one of the kit's, whose outputs are known."""
    return _kit_action(name) in ("calibrate", "transfer", "catalogue", "qos", "noop")


def _of_rule(rule: Rule) -> _Station:
    match = rule.match
    takes = Traffic(match.types, match.endpoints, match.paths)
    return _Station(rule.name, takes, tuple(each for action in rule.action for each in writes(action, match)))


def _of_table(table: RunTable) -> _Station:
    complete = Traffic((EventType.RUN_COMPLETE,), table.endpoints, table.folders)
    return _Station(f"run {table.name}", Traffic(table.types, table.endpoints, table.globs), (complete,))


def _known(name: str, parameters: Mapping[str, Any], match: Match) -> Iterator[Traffic]:
    kind = _kit_action(name)
    if kind in ("calibrate", "transfer", "catalogue"):
        yield Traffic((EventType.READ,), match.endpoints, match.paths)
    match kind:
        case "calibrate":
            yield Traffic(_WRITES, match.endpoints, (f"{parameters.get('proc', '/data/proc')}/**/CORR-*",))
        case "catalogue":
            at = (str(parameters["at"]),) if "at" in parameters else match.endpoints
            yield Traffic(_WRITES, at, (f"{parameters.get('catalogue', '/data/catalogue')}/**",))
        case "transfer":
            destination = (str(parameters["destination"]),) if "destination" in parameters else ()
            paths = (str(parameters["destination_path"]),) if "destination_path" in parameters else match.paths
            yield Traffic(_WRITES, destination, paths)
        case "qos":
            origin = (str(parameters["origin"]),) if "origin" in parameters else ()
            raw = f"{parameters.get('raw', '/data/raw')}/**"
            yield Traffic((EventType.QOS_CHANGED, EventType.STAGED), origin, (raw,))


def _kit_action(name: str) -> str | None:
    *_, package, action = name.split("/")
    return action if package == _PACKAGE else None


def _declared(text: str) -> Traffic:
    endpoint, _, path = text.partition(":") if not text.startswith("/") else ("", "", text)
    return Traffic(_WRITES, (endpoint,) if endpoint else (), (path,))


def _way_back(start: str, follows: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The shortest way from a station to itself, breadth first."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for name in follows[way[-1]]:
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None
