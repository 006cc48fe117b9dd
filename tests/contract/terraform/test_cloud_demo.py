"""The profile `cloud-demo` as Terraform lays it out: nothing is made, no cloud is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xdc_testbed.drivers.cloud import Flavor
from xdc_testbed.drivers.openstack import OpenStack
from xdc_testbed.drivers.terraform import Engine, Terraform, Workspace
from xdc_testbed.testbed import machines, secrets
from xdc_testbed.testbed.description import Description, load

ID = "0a1b2c3d4e"
LAYOUT = ("testbed_id", "testbed_name", "testbed_origin", "domain", "expires", "networks", "external_network", "nodes")
Laid = Callable[[int], dict[str, Any]]


def described() -> Description:
    """The profile, with the one thing that is the user's to give."""
    description = load(profile="cloud-demo", environ={}).description
    options = description.openstack.model_copy(update={"admin_cidrs": ("192.0.2.0/28",)})
    return description.model_copy(update={"openstack": options})


@pytest.fixture
def laid(engine: Engine, tmp_path: Path) -> Laid:
    """What the layout module makes of so many function nodes."""
    cloud = SimpleNamespace(
        image=lambda _: "image-1",
        external_network=lambda _: ("net-1", "public"),
        flavor=lambda name, ram: Flavor("flavor-1", name, 2, ram, 10),
    )

    def evaluated(count: int) -> dict[str, Any]:
        description = described().expanded({"faas": count})
        secrets.ensure_ssh_key(tmp_path / "keys" / "id_ed25519", "test")
        driver = machines.driver(description, tmp_path)
        assert isinstance(driver, OpenStack)
        driver.cloud = cloud  # type: ignore[assignment]
        variables = driver._variables(machines.request(description, ID, tmp_path, installed=False))
        layout = Terraform(engine, Workspace.of_the_kit("modules/layout", tmp_path / "tf"), logs=tmp_path / "logs")
        layout.prepare({word: variables[word] for word in (*LAYOUT, "ports", "admin_cidrs", "spread")})
        return dict(layout.evaluated(layout.plan()))

    return evaluated


def test_six_nodes_and_two_function_nodes_are_instances_and_one_has_a_floating_address(laid: Laid) -> None:
    found = laid(2)
    assert found["need"]["instances"] == 8
    assert found["need"]["floating_ips"] == 1
    assert found["jump"] == "desy-client"


def test_scaling_moves_no_address_of_another_node(laid: Laid) -> None:
    before, after = laid(1)["ports"], laid(3)["ports"]
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2


def test_invokers_come_in_to_the_controller_from_the_testbed_only(laid: Laid) -> None:
    rules = [rule for rule in laid(2)["rules"].values() if rule["first"] == 3235]
    assert [(rule["group"], rule["cidr"]) for rule in rules] == [("openwhisk", None)]
