"""Packet filter rules and netem commands, word by word."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from xdc_testbed.errors import XdcError
from xdc_testbed.faults import netem, rules
from xdc_testbed.processes import Completed

PEER = IPv4Network("10.0.0.20/31")


def test_a_partition_lets_ssh_through_before_it_drops_anything() -> None:
    targets = [(rule[rule.index("-j") + 1], "22" in rule) for rule in rules.partition_rules("p-1", [PEER], 22)]
    assert targets == [("RETURN", True), ("RETURN", True), ("DROP", False), ("DROP", False)]


def test_every_rule_carries_the_id_of_its_fault() -> None:
    made = rules.partition_rules("p-1", [PEER], 22) + rules.queue_rules("p-1", [PEER], 7001)
    assert all(rule[rule.index("--comment") + 1] == "p-1" for rule in made)


def test_packets_pass_when_the_queue_has_no_reader() -> None:
    assert rules.queue_rules("d-1", [PEER], 7001)[0][-1] == "--queue-bypass"


def test_netem_delays_only_what_goes_to_the_peers() -> None:
    commands = [" ".join(words) for words in netem.delay_commands("eth0", 2, [PEER], 12.5)]
    assert commands[1] == "tc qdisc replace dev eth0 parent 7d:2 netem delay 12.5ms limit 100000"
    assert commands[2].endswith("u32 match ip dst 10.0.0.20/31 flowid 7d:2")


def test_a_queue_that_somebody_else_set_is_left_alone() -> None:
    said: list[tuple[str, ...]] = []

    def run(*words: str, check: bool = True) -> Completed:
        said.append(words)
        text = b'[{"kind": "tbf", "handle": "1:", "root": true}]' if "-j" in words else b""
        return Completed(words, 0, text, b"", 0.0)

    with pytest.raises(XdcError, match="eth0 already has a tbf queue"):
        netem.add(run, ["eth0"], 1, [PEER], 5.0)
    assert all("show" in words for words in said)
