"""Fault plans: those of the kit fit the profile demo, and a wrong word is named with the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdc_testbed.drivers.base import Node
from xdc_testbed.errors import WrongUsage
from xdc_testbed.faults.model import ClockSkew, DiskFull, Kill, Partition
from xdc_testbed.soak import plan as plans
from xdc_testbed.testbed.description import load

STEP = """
title = "mine"
seconds = 60
[[step]]
name = "broker killed"
at = 5
lasts = 10
"""


def nodes() -> list[Node]:
    """The nodes of profile demo, without machines behind them."""
    described = load(profile="demo").description.nodes
    return [
        Node(
            name=name,
            site=node.site,
            groups=tuple(node.groups),
            fqdn=f"{name}.xdc.test",
            address=f"10.0.0.{number}",
            ssh_address="127.0.0.1",
            ssh_port=22,
            ssh_user="root",
            key_file="key",
            host_key="",
            driver="podman",
            resource_id=name,
        )
        for number, (name, node) in enumerate(described.items(), 10)
    ]


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", plans.shipped())
def test_every_plan_of_the_kit_fits_profile_demo(name: str) -> None:
    plan = plans.load(name)
    assert all(orders for step in plan.step for orders in plans.orders(step, nodes()))


def test_the_ten_minutes_hold_every_fault_that_the_pipeline_has_to_stand() -> None:
    plan = plans.load("soak")
    assert plan.seconds == 600
    faults = [order.fault for step in plan.step for group in plans.orders(step, nodes()) for order in group]
    killed = {unit for fault in faults if isinstance(fault, Kill) for unit in fault.units if not fault.processes}
    assert killed >= {"event-router.service", "kafka.service", "openwhisk.service", "xdc-dcache.service"}
    assert any(isinstance(fault, Kill) and fault.processes == "proxy.py" for fault in faults)
    assert {fault.seconds for fault in faults if isinstance(fault, ClockSkew)} == {300, -300}
    assert {str(fault.path) for fault in faults if isinstance(fault, DiskFull)} == {"/var/lib/kafka/data"}
    assert any(isinstance(fault, Partition) for fault in faults)


def test_the_short_one_takes_less_than_three_minutes() -> None:
    assert plans.load("soak-short").seconds < 180


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STEP + 'faults = [{ kind = "kill", servce = "kafka" }]', "unknown key 'step[1].faults[1].servce'"),
        (STEP + 'faults = [{ kind = "kill", servce = "kafka" }]', "did you mean 'service'?"),
        (STEP + 'faults = [{ kind = "kil", service = "kafka" }]', "unknown fault 'kil'; did you mean 'kill'?"),
        (STEP + 'faults = [{ service = "kafka" }]', "missing key 'step[1].faults[1].kind'"),
        ("secnds = 5\n" + STEP + 'faults = [{ kind = "kill", service = "kafka" }]', "did you mean 'seconds'?"),
        (STEP + 'last = 3\nfaults = [{ kind = "kill", service = "kafka" }]', "did you mean 'lasts'?"),
        (STEP.replace("at = 5", "at = 55") + 'faults = [{ kind = "kill", service = "kafka" }]', "ends after the soak"),
        (STEP + "faults = [", "is not TOML"),
    ],
)
def test_a_wrong_plan_gets_one_line_that_names_the_culprit(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongUsage) as wrong:
        plans.load(written(tmp_path, text))
    assert said in wrong.value.message
    assert "\n" not in wrong.value.message.strip()


def test_an_unknown_plan_names_the_nearest_one() -> None:
    with pytest.raises(WrongUsage, match="did you mean 'soak-short'"):
        plans.load("soak-shrt")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ('{ kind = "kill", service = "kafak" }', "no node runs 'kafak'; did you mean 'kafka'?"),
        ('{ kind = "kill", service = "kafka", node = "desy-client" }', "'desy-client' does not run kafka"),
        ('{ kind = "partition", between = ["desy", "remot"] }', "no node or site 'remot'; did you mean 'remote'?"),
    ],
)
def test_what_the_testbed_does_not_have_is_said_before_anything_is_made(tmp_path: Path, fault: str, said: str) -> None:
    plan = plans.load(written(tmp_path, f"{STEP}faults = [{fault}]"))
    with pytest.raises(WrongUsage) as wrong:
        plans.orders(plan.step[0], nodes())
    assert wrong.value.message == said
