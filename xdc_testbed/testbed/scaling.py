"""More or fewer nodes of one kind: what may be asked for, and how a node ends its work before it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xdc_testbed.drivers.base import Node
from xdc_testbed.errors import WrongUsage, XdcError, nearest
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.testbed import ssh
from xdc_testbed.testbed.description import MOST_SCALED, Description, groups
from xdc_testbed.testbed.state import State

_DRAIN = 'systemctl stop "$@" && systemctl show --property Result --value "$@"'
_DRAIN_DEADLINE = 420.0
"""Longer than systemd gives the units, which know how long their work may take."""


def wanted(words: Sequence[str]) -> dict[str, int]:
    """Read `faas=2`. Raises WrongUsage."""
    counts: dict[str, int] = {}
    for word in words:
        name, separator, number = word.partition("=")
        if not (name and separator and number.isdecimal()):
            raise WrongUsage(f"'{word}' is not <name>=<number>", remedy="for example: xdc-testbed scale faas=2")
        counts[name] = int(number)
    return counts


def check(state: State, counts: Mapping[str, int]) -> None:
    """Raises WrongUsage when this testbed cannot have so many of these."""
    known = Description.model_validate(state.description).scaled
    for name, count in counts.items():
        if name not in known:
            raise WrongUsage(
                f"nothing called '{name}' can be scaled in testbed '{state.name}'{nearest(name, list(known))}",
                remedy=f"there is: {', '.join(known)}" if known else "describe it: [scaled.<name>] in testbed.toml",
            )
        if not 0 <= count <= MOST_SCALED:
            raise WrongUsage(f"{name}={count} is too many", remedy=f"a number from 0 to {MOST_SCALED}")
    if state.driver == "hosts":
        raise WrongUsage(
            "the driver hosts makes no machines, so it cannot scale",
            remedy="describe a machine with the group openwhisk_invoker in testbed.toml, then up",
        )
    if "verify" not in state.phases:
        raise WrongUsage(
            f"testbed '{state.name}' is not wholly up", remedy=f"xdc-testbed up --name {state.name}, then scale"
        )


def drain(nodes: Sequence[Node], known_hosts: Path, report: Reporter) -> None:
    """Let nodes that are about to go end their work. One that is lost already has none to end: it is only told."""
    known = groups()
    work = [
        (node, units)
        for node in nodes
        if (units := [unit for group in node.groups if known[group].drain for unit in known[group].units])
    ]
    if not work:
        return
    with phase(report, "drain", ", ".join(node.name for node, _ in work)), ThreadPoolExecutor(16) as pool:
        said = pool.map(lambda one: _drained(one[0], known_hosts, one[1]), work)
        for (node, _), problem in zip(work, said, strict=True):
            if problem:
                report(Event("warning", f"{node.name} did not end its work: {problem}; what ran there has failed"))
            else:
                report(Event("step", f"node {node.name}: drained", host=node.name, status="changed"))


def _drained(node: Node, known_hosts: Path, units: Sequence[str]) -> str | None:
    """Stop units and wait. Returns what went wrong."""
    words = ("sh", "-c", _DRAIN, "sh", *units)
    try:
        done = ssh.execute(node, known_hosts, *words, timeout=_DRAIN_DEADLINE, check=False)
    except XdcError as error:
        return error.message
    results = done.text.split()
    if done.returncode != 0 or set(results) != {"success"}:
        return ", ".join(results) or done.reason
    return None
