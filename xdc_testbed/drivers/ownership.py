"""Whose is what in a cloud, and how it goes: exact ownership, and a sweep in the order of what depends on what.

A thing is a testbed's when its description, its exact name, a tag or its metadata says so: a thing that was interrupted
between its making and its tagging has no tag, floating addresses have no name, key pairs have nothing but a name. What
says nothing is never touched, not even inside our networks; then it is told why they cannot go.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from xdc_testbed.drivers.base import Seen
from xdc_testbed.errors import XdcError
from xdc_testbed.progress import Event, Reporter

ORDER = (
    "server",
    "floating address",
    "router interface",
    "router",
    "port",
    "subnet",
    "network",
    "security group rule",
    "security group",
    "volume",
    "server group",
    "key pair",
)
"""In which order things go; what is left over by one round (a port that nova still holds) goes in the next."""

_ROUNDS = 20
"""Rounds in which nothing has moved."""
_PATIENCE = 10
_PAUSE = 3.0


@dataclass(frozen=True, eq=False)
class Thing:
    """Something in a project. inside: ids of what it is a part of: a port's network, an interface's router."""

    kind: str
    id: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    status: str = ""
    inside: tuple[str, ...] = ()

    @property
    def owner(self) -> str | None:
        """Id of the testbed that it says it belongs to."""
        found = re.match(r"xdc-testbed=([0-9a-z]+)(?: |$)", self.description)
        if found:
            return found.group(1)
        for tag in self.tags:
            if tag.startswith("xdc-testbed="):
                return tag.removeprefix("xdc-testbed=")
        if "xdc_testbed" in self.metadata:
            return self.metadata["xdc_testbed"]
        named = re.fullmatch(r"xdc-([0-9a-f]{10})(?:-[a-z0-9-]+)?", self.name)  # an id has no hyphen: the name is exact
        return named.group(1) if named else None

    @property
    def testbed(self) -> Seen:
        """Name and origin of its testbed, as far as it says them."""
        return Seen(self._said("name"), self._said("origin"))

    def _said(self, word: str) -> str:
        """What a tag says, or metadata; empty for nothing."""
        prefix = f"xdc-{word}="
        tagged = next((tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix)), "")
        return tagged or self.metadata.get(f"xdc_{word}", "")

    @property
    def expires(self) -> datetime | None:
        """Until when its testbed is needed."""
        said = " ".join([self.description, *self.tags, f"expires={self.metadata.get('xdc_expires', '')}"])
        found = re.search(r"expires=(\d{8}T\d{6}Z)", said)
        return datetime.strptime(found.group(1), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if found else None


class Project(Protocol):
    """What a sweep needs of a cloud."""

    def things(self) -> list[Thing]:
        """Everything in the project that a testbed could own."""
        ...

    def remove(self, thing: Thing) -> None:
        """Ask for its removal; it may go later. Raises XdcError with the cloud's reason."""
        ...


def owned(things: Iterable[Thing], testbed_id: str) -> list[Thing]:
    """What is exactly this testbed's, parts included, in the order in which it has to go."""
    listed = list(things)
    own = {thing.id for thing in listed if thing.owner == testbed_id}
    # Parts have no mark of their own: interfaces of our routers, rules of our groups.
    parts = {
        thing.id
        for thing in listed
        if thing.kind in ("router interface", "security group rule") and own & set(thing.inside)
    }
    return sorted((t for t in listed if t.id in own | parts), key=lambda thing: ORDER.index(thing.kind))


def orphans(own: Iterable[Thing], known: Collection[str]) -> list[Thing]:
    """What is ours and in no state. known: ids in Terraform's state, where an interface is known by its port.

    What goes with something that is in the state anyhow (a rule that came with its group) is an orphan as well, when
    Terraform does not know it.
    """
    return [thing for thing in own if thing.id not in known]


def testbeds(things: Iterable[Thing]) -> dict[str, Seen]:
    """Every testbed of the project, by id."""
    found: dict[str, Seen] = {}
    for thing in things:
        if thing.owner:
            known, said = found.get(thing.owner, Seen()), thing.testbed
            found[thing.owner] = Seen(known.name or said.name, known.origin or said.origin)
    return found


def expired(things: Iterable[Thing], now: datetime) -> list[str]:
    """Ids of testbeds of which something says that its time is over, and nothing that it is not."""
    ends: dict[str, datetime] = {}
    for thing in things:
        if thing.owner and thing.expires:
            ends[thing.owner] = max(thing.expires, ends.get(thing.owner, thing.expires))
    return sorted(owner for owner, end in ends.items() if end < now)


def sweep(
    project: Project,
    find: Callable[[], Sequence[Thing]],
    report: Reporter,
    *,
    pause: float = _PAUSE,
    deadline: float = 600.0,
) -> dict[Thing, str]:
    """Remove what `find` finds until it finds nothing, or nothing moves any more.

    pause: seconds between two rounds. Returns what is left, with the reason for each.
    """
    until = time.monotonic() + deadline
    asked: set[str] = set()
    reasons: dict[str, str] = {}
    before: set[str] = set()
    still = 0
    found = list(find())
    while found and still < _ROUNDS and time.monotonic() < until:
        for thing in _ready(found, patience=still < _PATIENCE):
            if thing.kind == "server" and thing.id in asked and still % _PATIENCE:
                continue  # nova is at it
            try:
                project.remove(thing)
            except XdcError as error:
                reasons[thing.id] = error.message
                continue
            reasons.pop(thing.id, None)
            if thing.id not in asked:
                report(Event("step", f"{thing.kind} {thing.name or thing.id} removed", status="changed"))
            asked.add(thing.id)
        now = {thing.id for thing in found}
        still = still + 1 if now == before else 0
        before = now
        found = list(find())
        if found:
            time.sleep(pause)
    return {thing: reasons.get(thing.id, "the cloud has not removed it yet") for thing in found}


def _ready(found: Sequence[Thing], *, patience: bool) -> list[Thing]:
    """What can go now: servers before all that they hold, as long as there is patience with them.

    Rules go with their group.
    """
    servers = [thing for thing in found if thing.kind == "server"]
    if servers and patience:
        return servers
    groups = {thing.id for thing in found if thing.kind == "security group"}
    return [thing for thing in found if thing.kind != "security group rule" or not groups & set(thing.inside)]
