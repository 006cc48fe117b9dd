"""Security groups by the kernel of this machine: what passes between instances of one network, and what does not."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cloud_rig import on_a_cloud


def test_instances_are_closed_until_their_rules_are_known() -> None:
    script = """
instance("a", "10.77.0.10", "any")
instance("b", "10.77.0.11", "any")
allow("any")
allow("any", "egress")
before = tried("a", "10.77.0.11", 22), ping("a", "10.77.0.1")
apply()
answer(before=before, after=(tried("a", "10.77.0.11", 22), ping("a", "10.77.0.1")))
"""
    assert on_a_cloud(script) == {"before": ["closed", "closed"], "after": ["open", "open"]}


def test_a_rule_lets_in_who_is_of_its_group_at_its_port_and_nobody_else() -> None:
    script = """
for name, address, group in (("a", "10.77.0.10", "app"), ("b", "10.77.0.11", "web"), ("c", "10.77.0.12", "db")):
    instance(name, address, group)
    allow(group, "egress")
allow("web", port=80, remote_group_id="app")
apply()
answer(
    member=tried("a", "10.77.0.11", 80),
    other_port=tried("a", "10.77.0.11", 22),
    no_member=tried("c", "10.77.0.11", 80),
    ping=ping("a", "10.77.0.11"),
)
"""
    assert on_a_cloud(script) == {"member": "open", "other_port": "closed", "no_member": "closed", "ping": "closed"}


def test_nothing_leaves_without_a_rule_but_answers_do() -> None:
    script = """
instance("a", "10.77.0.10", "out")
instance("b", "10.77.0.11", "in")
allow("out", "egress")
allow("out")
allow("in")
apply()
answer(
    asked=tried("a", "10.77.0.11", 22), pinged=ping("a", "10.77.0.11"),
    asks=tried("b", "10.77.0.10", 22), gateway=ping("b", "10.77.0.1"),
)
"""
    assert on_a_cloud(script) == {"asked": "open", "pinged": "open", "asks": "closed", "gateway": "closed"}


def test_an_icmp_type_is_let_in_by_its_number() -> None:
    script = """
for name, address, kind in (("a", "10.77.0.10", 0), ("b", "10.77.0.11", 8), ("c", "10.77.0.12", 13)):
    instance(name, address, name)
    allow(name, "egress")
    allow(name, protocol="icmp", port_range_min=kind)
apply()
answer(echo=ping("a", "10.77.0.11"), timestamp=ping("a", "10.77.0.12"))
"""
    assert on_a_cloud(script) == {"echo": "open", "timestamp": "closed"}


def test_an_open_connection_ends_with_the_rule_that_let_it_in_and_goes_on_with_it() -> None:
    script = """
instance("a", "10.77.0.10", "any")
instance("b", "10.77.0.11", "any")
allow("any", "egress")
apply()
closed = rules[:]
allow("any", port=22)
apply()
held = connection("a", "10.77.0.11", 22)
found = [said(held)]
opened, rules[:] = rules[:], closed
apply()
found.append(said(held))
rules[:] = opened
apply()
found.append(tried("a", "10.77.0.11", 22))
answer(found=found)
"""
    assert on_a_cloud(script) == {"found": ["open", "closed", "open"]}


def test_an_instance_is_heard_under_its_own_addresses_and_its_allowed_ones_only() -> None:
    script = """
instance("a", "10.77.0.10", "any", allowed_address_pairs=[{"ip_address": "10.77.0.100"}])
instance("b", "10.77.0.11", "any")
allow("any")
allow("any", "egress")
apply()
for address in ("10.77.0.100", "10.77.0.101"):
    subprocess.run(["ip", "-n", "i-a", "address", "add", f"{address}/24", "dev", "eth0"], check=True)
found = {"allowed": tried("a", "10.77.0.11", 22, "10.77.0.100"), "taken": tried("a", "10.77.0.11", 22, "10.77.0.101")}
found["led"] = tried("b", "10.77.0.100", 22)
ports["a"]["allowed_address_pairs"] = []
apply()
found["withdrawn"] = tried("b", "10.77.0.100", 22)
subprocess.run(["ip", "-n", "i-a", "link", "set", "eth0", "address", "fa:16:3e:00:00:0b"], check=True)
answer(**found, mac=tried("a", "10.77.0.11", 22, "10.77.0.10"))
"""
    assert on_a_cloud(script) == {
        "allowed": "open",
        "taken": "closed",
        "led": "open",
        "withdrawn": "closed",
        "mac": "closed",
    }


def test_a_port_without_port_security_is_neither_filtered_nor_held_to_its_address() -> None:
    script = """
instance("a", "10.77.0.10", port_security_enabled=False)
instance("b", "10.77.0.11", "any")
allow("any", "egress")
apply()
answer(from_secured=tried("b", "10.77.0.10", 22), to_secured=tried("a", "10.77.0.11", 22))
"""
    assert on_a_cloud(script) == {"from_secured": "open", "to_secured": "closed"}
