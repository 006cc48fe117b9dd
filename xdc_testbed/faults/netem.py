"""Delay by the kernel's netem, for the packets to some peers only.

A classful root queue (htb) sends what belongs to no class straight out, and each fault has one class with a
netem queue and the filters that choose it. Removing the root queue gives the interface back what it had by
default; an interface with a queue that somebody else set is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Network

from xdc_testbed.errors import XdcError
from xdc_testbed.faults.shell import Run

_ROOT = "7d:"
_BY_DEFAULT = {"noqueue", "mq", "pfifo_fast", "fq_codel", "fq"}


def available(run: Run) -> bool:
    """Whether the kernel has netem and htb: asked by a queue without any delay on the loopback interface."""
    for kind in (("netem", "delay", "0ms"), ("htb",)):
        if run("tc", "qdisc", "add", "dev", "lo", "root", "handle", "7e:", *kind, check=False).returncode != 0:
            return False
        run("tc", "qdisc", "del", "dev", "lo", "root")
    return True


def devices(run: Run, peers: Sequence[IPv4Network]) -> tuple[str, ...]:
    """The interfaces by which the peers are reached."""
    found = set()
    for peer in peers:
        words = run("ip", "-o", "route", "get", str(peer.network_address)).text.split()
        found.add(words[words.index("dev") + 1])
    return tuple(sorted(found))


def delay_commands(device: str, number: int, peers: Sequence[IPv4Network], milliseconds: float) -> list[list[str]]:
    """The class, its netem queue, and a filter for each peer. number: of the class, and the filters' rank."""
    class_id = f"{_ROOT}{number:x}"
    choose = ["tc", "filter", "add", "dev", device, "parent", _ROOT, "protocol", "ip", "pref", str(number)]
    return [
        [
            "tc",
            "class",
            "replace",
            "dev",
            device,
            "parent",
            _ROOT,
            "classid",
            class_id,
            "htb",
            "rate",
            "100gbit",
            "quantum",
            "60000",
        ],
        [
            "tc",
            "qdisc",
            "replace",
            "dev",
            device,
            "parent",
            class_id,
            "netem",
            "delay",
            f"{milliseconds:g}ms",
            "limit",
            "100000",
        ],
        *([*choose, "u32", "match", "ip", "dst", str(peer), "flowid", class_id] for peer in peers),
    ]


def add(run: Run, devices: Sequence[str], number: int, peers: Sequence[IPv4Network], milliseconds: float) -> None:
    """Delay packets to the peers on these interfaces. Raises XdcError when somebody else's queue is there."""
    for device in devices:
        root = _root_kind(run, device)
        if root in _BY_DEFAULT:
            run("tc", "qdisc", "replace", "dev", device, "root", "handle", _ROOT, "htb")
        elif root != "ours":
            raise XdcError(
                f"{device} already has a {root} queue that is not ours",
                remedy=f"remove it first: tc qdisc del dev {device} root",
            )
        run("tc", "filter", "del", "dev", device, "parent", _ROOT, "pref", str(number), check=False)
        for command in delay_commands(device, number, peers, milliseconds):
            run(*command)


def present(run: Run, devices: Sequence[str], number: int) -> bool:
    """Whether each interface has this fault's class."""
    return bool(devices) and all(f"{_ROOT}{number:x}" in _classes(run, device) for device in devices)


def remove(run: Run, devices: Sequence[str], number: int) -> None:
    """Remove this fault's class and filters, and the root queue after the last class of any fault."""
    for device in devices:
        if _root_kind(run, device) != "ours":
            continue
        run("tc", "filter", "del", "dev", device, "parent", _ROOT, "pref", str(number), check=False)
        run("tc", "class", "del", "dev", device, "classid", f"{_ROOT}{number:x}", check=False)
        if not _classes(run, device):
            run("tc", "qdisc", "del", "dev", device, "root")


def _root_kind(run: Run, device: str) -> str:
    """The kind of an interface's root queue, or `ours`."""
    for queue in json.loads(run("tc", "-j", "qdisc", "show", "dev", device).text or "[]"):
        if queue.get("root"):
            return "ours" if queue["handle"] == _ROOT else str(queue["kind"])
    return "noqueue"


def _classes(run: Run, device: str) -> list[str]:
    listed = run("tc", "class", "show", "dev", device, check=False).text.splitlines()
    return [words[2] for words in map(str.split, listed) if len(words) > 2 and words[2].startswith(_ROOT)]
