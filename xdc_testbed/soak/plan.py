"""Fault plans: a TOML file says how many files are written and which fault comes when. Validates, changes nothing."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xdc_testbed import content
from xdc_testbed.drivers.base import Node
from xdc_testbed.errors import WrongUsage, nearest
from xdc_testbed.faults import commands
from xdc_testbed.faults.model import How, Order
from xdc_testbed.testbed.description import Group, groups

DEFAULT = "soak"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OfService(_Strict):
    """What faults of a service have in common. service: a systemd unit; node: one of its nodes, all by default."""

    service: str = Field(description="Unit such as kafka or event-router.")
    node: str | None = Field(default=None, description="One node; all that run the service by default.")


class Kill(OfService):
    """SIGKILL, once; systemd starts the service again."""

    kind: Literal["kill"]
    processes: str | None = Field(default=None, description="Only processes with this text in their command line.")


class Stop(OfService):
    """The service is down for as long as the step lasts."""

    kind: Literal["stop"]
    how: How = Field(default=How.STOP, description="In good order, by SIGKILL, or frozen.")


class DiskFull(OfService):
    """Nothing more can be written below a folder of the service's node."""

    kind: Literal["disk-full"]
    path: str = Field(description="Folder on the node.")
    leave_kib: int = Field(default=0, ge=0, description="KiB that may still be written.")


class Between(_Strict):
    """What faults of the network have in common. between: two sites or nodes, or one of them and all others."""

    between: tuple[str, ...] = Field(min_length=1, max_length=2, description="Two sites or nodes; one against all.")

    @property
    def places(self) -> tuple[str, str | None]:
        """The two sides; None: all others."""
        return self.between[0], self.between[1] if len(self.between) == 2 else None

    @property
    def said(self) -> str:
        """The two sides in words."""
        return " and ".join(self.between) if len(self.between) == 2 else f"{self.between[0]} and all others"


class Delay(Between):
    """Each round trip takes longer."""

    kind: Literal["delay"]
    milliseconds: float = Field(gt=0, le=10_000, description="Added to each round trip.")

    def __str__(self) -> str:
        return f"round trips between {self.said} take {self.milliseconds:g} ms more"


class Partition(Between):
    """Every packet is lost."""

    kind: Literal["partition"]

    def __str__(self) -> str:
        return f"no packet between {self.said}"


class ClockSkew(_Strict):
    """The token issuer dates its tokens wrong."""

    kind: Literal["clock-skew"]
    seconds: float = Field(description="Ahead of the true time; behind when negative.")
    lifetime: int | None = Field(default=None, ge=1, description="Seconds that tokens live at most meanwhile.")
    service: str = "token-issuer"


PlannedFault = Annotated[
    Kill | Stop | DiskFull | Delay | Partition | ClockSkew,
    Field(discriminator="kind"),
]


class Step(_Strict):
    """Faults that begin together. What was killed is back at once; everything else is undone after `lasts`."""

    name: str = Field(min_length=1, max_length=60, description="What the line of the report is called.")
    at: float = Field(ge=0, description="Seconds after the first file; later when the step before takes longer.")
    lasts: float = Field(gt=0, description="Seconds until the faults are undone, and the step's files are counted.")
    faults: tuple[PlannedFault, ...] = Field(min_length=1, description="Made in this order.")
    must_say: str | None = Field(
        default=None,
        description="A dead letter of the step has to have this in its reason; the step goes on until one has.",
    )


class Plan(_Strict):
    """A soak: how many files are written, and which faults come when. Times in seconds."""

    title: str = Field(description="One line for the report.")
    seconds: float = Field(gt=0, le=86_400, description="How long files are written.")
    files_per_second: float = Field(default=2.0, gt=0, le=200, description="New files, spread evenly.")
    transferred: float = Field(
        default=0.25, ge=0, le=1, description="Share of the files that is copied to the other site; the rest is not."
    )
    file_size: int = Field(default=4096, ge=1, le=100_000_000, description="Bytes of each file.")
    recover: float = Field(
        default=90.0, gt=0, description="Seconds after a fault until services are back and all files have ended."
    )
    step: tuple[Step, ...] = Field(min_length=1, description="The faults, in turn.")

    @model_validator(mode="after")
    def _in_turn(self) -> Plan:
        for before, after in zip(self.step, self.step[1:], strict=False):
            if after.at < before.at + before.lasts:
                raise ValueError(f"step '{after.name}' begins at {after.at:g} s, before '{before.name}' has ended")
        last = self.step[-1]
        if last.at + last.lasts > self.seconds:
            raise ValueError(f"step '{last.name}' ends after the soak: at {last.at + last.lasts:g} s")
        names = [step.name for step in self.step]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two steps are called '{twice}'")
        return self


def shipped() -> list[str]:
    """Names of the plans that come with the kit."""
    return sorted(path.stem for path in (content.root() / "inventory" / "plans").glob("*.toml"))


def load(name_or_file: str = DEFAULT) -> Plan:
    """A plan of the kit by its name, or any by its file. Raises WrongUsage with one line that names the culprit."""
    path = Path(name_or_file)
    if name_or_file in shipped():
        path = content.root() / "inventory" / "plans" / f"{name_or_file}.toml"
    elif not path.is_file():
        raise WrongUsage(
            f"no plan and no file '{name_or_file}'{nearest(name_or_file, shipped())}",
            remedy=f"plans: {', '.join(shipped())}; or give a file",
        )
    try:
        return Plan.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} is not TOML: {error}", remedy="mend the line that the message names") from None
    except ValidationError as error:
        raise WrongUsage(f"{path.name}: {_first(error)}", remedy="see docs/howto/soak.md") from None


def orders(step: Step, nodes: Sequence[Node]) -> list[list[Order]]:
    """What the nodes have to do for each fault of a step, in turn. Raises WrongUsage when the testbed has no such
    service, node or site.
    """
    return [_orders(fault, nodes) for fault in step.faults]


def sentences(step: Step, made: Sequence[Sequence[Order]]) -> list[str]:
    """The faults of a step in words; made: their orders, in the same turn."""
    return [
        str(fault)
        if isinstance(fault, Between)
        else f"{orders[0].fault} ({', '.join(dict.fromkeys(order.node for order in orders))})"
        for fault, orders in zip(step.faults, made, strict=True)
    ]


def services(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Which nodes run which units."""
    known = groups()
    found: dict[str, list[str]] = {}
    for node in nodes:
        for unit in [unit for group in node.groups for unit in _units(known[group])]:
            found.setdefault(unit, []).append(node.name)
    return found


def _units(group: Group) -> tuple[str, ...]:
    return (*group.units, *group.sources)


def _orders(fault: PlannedFault, nodes: Sequence[Node]) -> list[Order]:
    match fault:
        case Delay():
            return commands.delay(nodes, *fault.places, milliseconds=fault.milliseconds)
        case Partition():
            return commands.partition(nodes, *fault.places)
        case ClockSkew():
            places = _nodes_of(fault.service, None, nodes)
            return [
                order
                for place in places
                for order in commands.clock_skew(nodes, place, fault.seconds, lifetime=fault.lifetime)
            ]
        case _:
            places = _nodes_of(fault.service, fault.node, nodes)
            return [order for place in places for order in _of_service(fault, place, nodes)]


def _of_service(fault: Kill | Stop | DiskFull, place: str, nodes: Sequence[Node]) -> list[Order]:
    match fault:
        case Kill():
            return commands.kill(nodes, place, [fault.service], processes=fault.processes)
        case Stop():
            return commands.stop(nodes, place, [fault.service], fault.how)
        case DiskFull():
            return commands.disk_full(nodes, place, fault.path, leave_kib=fault.leave_kib)


def _nodes_of(service: str, node: str | None, nodes: Sequence[Node]) -> list[str]:
    known = services(nodes)
    if service not in known:
        raise WrongUsage(
            f"no node runs '{service}'{nearest(service, list(known))}",
            remedy=f"services of this testbed: {', '.join(sorted(known))}",
        )
    if node is None:
        return known[service]
    if node not in known[service]:
        raise WrongUsage(f"'{node}' does not run {service}", remedy=f"it runs on: {', '.join(known[service])}")
    return [node]


_FAULTS: dict[str, type[BaseModel]] = {
    "kill": Kill,
    "stop": Stop,
    "disk-full": DiskFull,
    "delay": Delay,
    "partition": Partition,
    "clock-skew": ClockSkew,
}


def _first(error: ValidationError) -> str:
    """One line for what is wrong first: the place in the file, and the nearest right word."""
    faults = error.errors()
    found = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])  # a slip before what it hides
    location = [part for part in found["loc"] if part not in _FAULTS]
    where = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    match found["type"]:
        case "extra_forbidden":
            return f"unknown key '{where}'{nearest(str(found['loc'][-1]), _keys_at(found['loc'][:-1]))}"
        case "missing":
            return f"missing key '{where}'"
        case "union_tag_invalid":
            given: Any = found.get("ctx", {}).get("tag", "")
            return f"{where}: unknown fault '{given}'{nearest(str(given), list(_FAULTS))}"
        case "union_tag_not_found":
            return f"missing key '{where}.kind'"
        case _:
            return f"{where}{': ' if where else ''}{str(found['msg']).removeprefix('Value error, ')}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    if not location:
        return list(Plan.model_fields)
    return list(_FAULTS[str(location[-1])].model_fields if location[-1] in _FAULTS else Step.model_fields)
