"""Security groups of neutron as rules of nftables: which rule opens what, and what is closed without any."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from xdc_testbed import content

sys.path.insert(0, str(content.root() / "roles" / "openstack" / "files" / "lib"))
import xdc_security


def port(name: str, *addresses: str, groups: tuple[str, ...] = ("web",), **more: Any) -> dict[str, Any]:
    """A port as neutron lists it."""
    return {
        "id": name,
        "mac_address": f"fa:16:3e:00:00:{name}",
        "fixed_ips": [{"ip_address": one} for one in addresses],
        "allowed_address_pairs": [],
        "port_security_enabled": True,
        "security_groups": list(groups),
        **more,
    }


def rule(**more: Any) -> dict[str, Any]:
    """A rule of group `web` as neutron lists it; without more it lets all of IPv4 in."""
    one: dict[str, Any] = {"security_group_id": "web", "direction": "ingress", "ethertype": "IPv4", "protocol": None}
    one |= dict.fromkeys(("port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id"))
    return one | more


def chains(text: str) -> dict[str, list[str]]:
    """The rules of each chain."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("chain "):
            name = line.split()[1]
            found[name] = []
        elif name and line != "}":
            found[name].append(line)
    return found


def entering(*rules: dict[str, Any], others: tuple[dict[str, Any], ...] = (), **more: Any) -> list[str]:
    """What these rules let in at a port of group `web`."""
    made = xdc_security.filters([port("01", "10.77.0.10"), *others], list(rules), **more)
    matches: list[str] = made["01"]["entering"]
    return matches


def test_all_is_closed_before_anything_is_known() -> None:
    for rules in chains(xdc_security.rule_set({})).values():
        assert rules[-1].endswith('"p*" drop')
        assert not any("accept" in rule or "goto" in rule for rule in rules)


def test_a_port_without_rules_lets_nothing_pass_but_answers() -> None:
    found = chains(xdc_security.rule_set({"p1": xdc_security.filters([port("01", "10.77.0.10")], [])["01"]}))
    stateful = ["ct state invalid drop", "ct direction reply accept", "ct state related accept", "drop"]
    assert found["p1-own"] == stateful
    assert found["p1-entering"] == ["meta nfproto != ipv4 drop", *stateful]


def test_a_port_without_port_security_lets_all_pass() -> None:
    made = xdc_security.filters([port("01", groups=(), port_security_enabled=False)], [])
    found = chains(xdc_security.rule_set({"p1": made["01"]}))
    assert found["leaving"][1] == 'iifname vmap { "p1" : accept }'
    assert found["entering"][1] == 'oifname vmap { "p1" : accept }'


def test_an_instance_sends_under_its_own_addresses_and_its_allowed_ones_only() -> None:
    pairs = [{"ip_address": "10.77.0.100"}, {"ip_address": "10.9.0.0/16", "mac_address": "fa:16:3e:00:00:99"}]
    made = xdc_security.filters([port("01", "10.77.0.10", "fd00::10", allowed_address_pairs=pairs)], [])
    assert chains(xdc_security.rule_set({"p1": made["01"]}))["p1-leaving"] == [
        "ether saddr fa:16:3e:00:00:01 ip saddr 10.77.0.10 goto p1-own",
        "ether saddr fa:16:3e:00:00:01 ip saddr 10.77.0.100 goto p1-own",
        "ether saddr fa:16:3e:00:00:99 ip saddr 10.9.0.0/16 goto p1-own",
        "drop",
    ]


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({}, "accept"),
        ({"protocol": "any"}, "accept"),
        ({"remote_ip_prefix": "0.0.0.0/0"}, "accept"),
        ({"protocol": "tcp"}, "meta l4proto 6 accept"),
        ({"protocol": "112"}, "meta l4proto 112 accept"),
        ({"protocol": "gre"}, "meta l4proto 47 accept"),
        ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, "meta l4proto 6 th dport 22-22 accept"),
        ({"protocol": "17", "port_range_min": 1, "port_range_max": 65535}, "meta l4proto 17 th dport 1-65535 accept"),
        ({"protocol": "icmp", "port_range_min": 0}, "meta l4proto 1 icmp type 0 accept"),
        (
            {"protocol": "icmp", "port_range_min": 8, "port_range_max": 0},
            "meta l4proto 1 icmp type 8 icmp code 0 accept",
        ),
        ({"remote_ip_prefix": "198.51.100.7"}, "ip saddr { 198.51.100.7/32 } accept"),
        ({"remote_ip_prefix": "198.51.100.7/24"}, "ip saddr { 198.51.100.0/24 } accept"),
    ],
)
def test_a_rule_is_a_match(more: dict[str, Any], match: str) -> None:
    assert entering(rule(**more)) == [match]


def test_what_leaves_is_matched_by_where_it_goes() -> None:
    made = xdc_security.filters([port("01", "10.77.0.10")], [rule(direction="egress", remote_ip_prefix="10.0.0.0/8")])
    assert (made["01"]["leaving"], made["01"]["entering"]) == (["ip daddr { 10.0.0.0/8 } accept"], [])


def test_a_group_means_all_addresses_of_its_ports() -> None:
    pairs = [{"ip_address": "10.77.0.12"}, {"ip_address": "10.9.0.0/16"}, {"ip_address": "10.9.1.0/24"}]
    others = (
        port("02", "10.77.0.11", "fd00::11", groups=("app", "web"), allowed_address_pairs=pairs),
        port("03", "10.77.0.13", groups=("db",)),
    )
    matches = entering(rule(remote_group_id="app", protocol="tcp"), others=others)
    assert matches == ["ip saddr { 10.9.0.0/16, 10.77.0.11/32, 10.77.0.12/32 } meta l4proto 6 accept"]


def test_a_group_of_addresses_means_those_of_ipv4() -> None:
    groups = [{"id": "office", "addresses": ["198.51.100.0/25", "198.51.100.128/25", "2001:db8::/32"]}]
    assert entering(rule(remote_address_group_id="office"), address_groups=groups) == [
        "ip saddr { 198.51.100.0/24 } accept"
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"remote_group_id": "empty"},
        {"remote_address_group_id": "unknown"},
        {"ethertype": "IPv6"},
        {"protocol": "ipv6-icmp"},
        {"security_group_id": "of somebody else"},
    ],
)
def test_a_rule_that_means_nobody_opens_nothing(more: dict[str, Any]) -> None:
    assert entering(rule(**more)) == []


def test_the_same_rules_are_the_same_text_in_whatever_order_they_come() -> None:
    one, two = rule(protocol="tcp"), rule(protocol="udp")
    assert entering(one, two, one) == entering(two, one)
