"""Packet filter rules of faults, in a chain of their own, so that nobody else's rules are touched.

Every rule carries the fault's id as its comment; the chain goes away with its last rule. Pure builders first.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from ipaddress import IPv4Network

from xdc_testbed.faults.shell import Run

CHAIN = "XDC-FAULTS"
_HOOKS = {"filter": ("INPUT", "OUTPUT"), "mangle": ("PREROUTING",)}


def partition_rules(fault_id: str, peers: Sequence[IPv4Network], ssh_port: int) -> list[list[str]]:
    """Rules of table `filter` that lose every packet from and to the peers, except our SSH server's."""
    comment = ["-m", "comment", "--comment", fault_id]
    rules = []
    for peer in peers:
        rules += [
            ["-s", str(peer), "-p", "tcp", "--dport", str(ssh_port), *comment, "-j", "RETURN"],
            ["-d", str(peer), "-p", "tcp", "--sport", str(ssh_port), *comment, "-j", "RETURN"],
            ["-s", str(peer), *comment, "-j", "DROP"],
            ["-d", str(peer), *comment, "-j", "DROP"],
        ]
    return rules


def queue_rules(fault_id: str, peers: Sequence[IPv4Network], queue: int) -> list[list[str]]:
    """Rules of table `mangle` that hand packets received from the peers to a queue; without a reader they
    pass.

    On the receiving side: at the sender, TCP small queues would throttle a connection to a few Mbit/s.
    """
    target = ["-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass"]
    return [["-s", str(peer), "-m", "comment", "--comment", fault_id, *target] for peer in peers]


def add(run: Run, table: str, rules: Sequence[Sequence[str]]) -> None:
    """Add the rules that are not there yet; makes the chain first when it is missing."""
    if run(*_iptables(table), "-S", CHAIN, check=False).returncode != 0:
        run(*_iptables(table), "-N", CHAIN)
    for hook in _HOOKS[table]:
        if run(*_iptables(table), "-C", hook, "-j", CHAIN, check=False).returncode != 0:
            run(*_iptables(table), "-I", hook, "1", "-j", CHAIN)
    for rule in rules:
        if run(*_iptables(table), "-C", CHAIN, *rule, check=False).returncode != 0:
            run(*_iptables(table), "-A", CHAIN, *rule)


def present(run: Run, table: str, fault_id: str) -> bool:
    """Whether a rule of this fault is in the chain, and the chain in use."""
    hooked = all(run(*_iptables(table), "-C", hook, "-j", CHAIN, check=False).returncode == 0 for hook in _HOOKS[table])
    return hooked and any(_comment(rule) == fault_id for rule in _rules(run, table))


def remove(run: Run, table: str, fault_id: str) -> None:
    """Remove the rules of this fault, and the chain after the last rule of any fault."""
    rules = _rules(run, table)
    mine = [rule for rule in rules if _comment(rule) == fault_id]
    for rule in mine:
        run(*_iptables(table), "-D", CHAIN, *rule)
    if len(mine) < len(rules) or run(*_iptables(table), "-S", CHAIN, check=False).returncode != 0:
        return
    for hook in _HOOKS[table]:
        run(*_iptables(table), "-D", hook, "-j", CHAIN, check=False)
    run(*_iptables(table), "-X", CHAIN)


def _iptables(table: str) -> tuple[str, ...]:
    return ("iptables", "-w", "10", "-t", table)


def _rules(run: Run, table: str) -> list[list[str]]:
    """Rules of our chain as iptables prints them, without `-A CHAIN`; [] when there is no chain."""
    listed = run(*_iptables(table), "-S", CHAIN, check=False)
    if listed.returncode != 0:
        return []
    return [shlex.split(line)[2:] for line in listed.text.splitlines() if line.startswith("-A ")]


def _comment(rule: Sequence[str]) -> str | None:
    return rule[rule.index("--comment") + 1] if "--comment" in rule else None
