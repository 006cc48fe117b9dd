"""From what a user asks for to orders for nodes, and the commands that carry them out there. Runs nothing.

    orders = commands.delay(nodes, "desy", "remote", milliseconds=25)
    for node, argv, stdin in commands.apply(orders): over SSH, as root: run argv with stdin
    statuses = commands.answers(stdout)

A place is a node or a site. With two places a fault is between them; with one, between it and all others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from pydantic import ValidationError

from xdc_testbed.errors import WrongUsage, XdcError, nearest
from xdc_testbed.faults.model import ClockSkew, Delay, DiskFull, Fault, How, Kill, Order, Partition, Status, Stop

AGENT = ("/opt/xdc-testbed/venv/bin/python", "-m", "xdc_testbed.faults")


class Machine(Protocol):
    """What has to be known of a node; a driver's Node fits."""

    @property
    def name(self) -> str:
        """Its name in the testbed."""
        ...

    @property
    def site(self) -> str:
        """Where it stands."""
        ...

    @property
    def address(self) -> str:
        """Its IPv4 address inside the testbed's network."""
        ...


AnyMachine = TypeVar("AnyMachine", bound=Machine)


@dataclass(frozen=True)
class NodeCommand:
    """A command for one node, to be run there as root. stdin: what it reads."""

    node: str
    argv: tuple[str, ...]
    stdin: bytes = b""


def delay(nodes: Sequence[Machine], place: str, other: str | None = None, *, milliseconds: float) -> list[Order]:
    """Let the round trip between two places (or from one to all others) take longer."""
    here, there = _sides(nodes, place, other)
    return _orders(
        "delay",
        (place, other),
        [(node, _fault(Delay, peers=_blocks(there), milliseconds=milliseconds)) for node in here],
    )


def partition(nodes: Sequence[Machine], place: str, other: str | None = None, *, ssh_port: int = 22) -> list[Order]:
    """Lose every packet between two places (or between one and all others), except SSH."""
    here, there = _sides(nodes, place, other)
    return _orders(
        "partition",
        (place, other),
        [(node, _fault(Partition, peers=_blocks(there), ssh_port=ssh_port)) for node in here],
    )


def stop(nodes: Sequence[Machine], place: str, units: Sequence[str], how: How = How.STOP) -> list[Order]:
    """Take systemd units down, on one node or on all nodes of a site."""
    return _orders(
        "stop",
        (place,),
        [(node, _fault(Stop, units=tuple(units), how=how)) for node in members(nodes, place)],
    )


def disk_full(nodes: Sequence[Machine], place: str, path: str, *, leave_kib: int = 64) -> list[Order]:
    """Let a folder of a node run full after `leave_kib` KiB."""
    full = [(node, _fault(DiskFull, path=PurePosixPath(path), leave_kib=leave_kib)) for node in members(nodes, place)]
    return _orders("disk-full", (place,), full)


def kill(nodes: Sequence[Machine], place: str, units: Sequence[str], *, processes: str | None = None) -> list[Order]:
    """Kill systemd units, or some of their processes, once, on one node or on all nodes of a site."""
    return _orders(
        "kill",
        (place,),
        [(node, _fault(Kill, units=tuple(units), processes=processes)) for node in members(nodes, place)],
    )


def clock_skew(nodes: Sequence[Machine], place: str, seconds: float, *, lifetime: int | None = None) -> list[Order]:
    """Let the clock of the token issuer on a node be wrong."""
    return _orders(
        "clock-skew",
        (place,),
        [(node, _fault(ClockSkew, seconds=seconds, lifetime=lifetime)) for node in members(nodes, place)],
    )


def apply(orders: Sequence[Order]) -> list[NodeCommand]:
    """The commands that carry the orders out, one for each node."""
    lines: dict[str, list[str]] = defaultdict(list)
    for order in orders:
        lines[order.node].append(order.model_dump_json())
    return [NodeCommand(node, (*AGENT, "apply"), "\n".join(said).encode() + b"\n") for node, said in lines.items()]


def listing(nodes: Iterable[Machine]) -> list[NodeCommand]:
    """The commands that list the faults of the nodes."""
    return [NodeCommand(node.name, (*AGENT, "list")) for node in nodes]


def clear(nodes: Iterable[Machine], fault_id: str | None = None) -> list[NodeCommand]:
    """The commands that undo one fault on every node that has it, or all faults."""
    return [NodeCommand(node.name, (*AGENT, "clear", *([fault_id] if fault_id else []))) for node in nodes]


def answers(stdout: str | bytes) -> list[Status]:
    """Read what the agent said. Raises XdcError when it is not an agent's answer."""
    text = stdout.decode(errors="replace") if isinstance(stdout, bytes) else stdout
    try:
        return [Status.model_validate_json(line) for line in text.splitlines() if line.strip()]
    except ValidationError:
        raise XdcError(
            f"the node gave no answer about its faults: {text.strip()[:200]}",
            remedy="is the kit on the node? xdc-testbed up",
        ) from None


def members(nodes: Sequence[AnyMachine], place: str) -> list[AnyMachine]:
    """The node of this name, or all nodes of the site of this name. Raises WrongUsage, naming the nearest."""
    found = [node for node in nodes if place == node.name] or [node for node in nodes if place == node.site]
    if not found:
        known = sorted({node.name for node in nodes} | {node.site for node in nodes})
        raise WrongUsage(
            f"no node or site '{place}'{nearest(place, known)}",
            remedy=f"nodes and sites: {', '.join(known)}",
        )
    return found


def _sides(nodes: Sequence[Machine], place: str, other: str | None) -> tuple[list[Machine], list[Machine]]:
    """Who applies a fault of the network, and who its peers are: one side is enough, so the smaller one."""
    first = members(nodes, place)
    names = {node.name for node in first}
    second = members(nodes, other) if other is not None else [node for node in nodes if node.name not in names]
    if not second:
        raise WrongUsage(f"'{place}' is the whole testbed: nothing is on the other side", remedy="name two places")
    if names & {node.name for node in second}:
        raise WrongUsage(f"'{place}' and '{other}' overlap", remedy="name two nodes, or two sites")
    return (first, second) if len(first) <= len(second) else (second, first)


def _blocks(nodes: Iterable[Machine]) -> tuple[IPv4Network, ...]:
    return tuple(sorted(collapse_addresses(IPv4Network(node.address) for node in nodes)))


def _fault(
    model: type[Delay] | type[Partition] | type[Stop] | type[DiskFull] | type[Kill] | type[ClockSkew], **fields: object
) -> Fault:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WrongUsage(
            f"{where}: {str(first['msg']).removeprefix('Value error, ')}",
            remedy="see: xdc-testbed fault --help",
        ) from None


def _orders(kind: str, places: tuple[str | None, ...], faults: Sequence[tuple[Machine, Fault]]) -> list[Order]:
    """Orders with one id for all nodes, which is the same when the user asks for the same again."""
    said = "|".join(
        [kind, *(place or "*" for place in places), *sorted({fault.model_dump_json() for _, fault in faults})]
    )
    fault_id = f"{kind}-{hashlib.sha256(said.encode()).hexdigest()[:6]}"
    return [Order(id=fault_id, node=node.name, fault=fault) for node, fault in faults]
