"""The container driver against an engine in memory: plans, networks, and removal by exact id."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.drivers import containers
from xdc_testbed.drivers.base import NodeRequest, Request
from xdc_testbed.drivers.containers import LABEL, POOL, Containers
from xdc_testbed.drivers.engine import NodeContainer
from xdc_testbed.errors import RequirementMissing, WrongUsage
from xdc_testbed.processes import Completed
from xdc_testbed.progress import silent

ID = "0123456789"
IMAGE = "localhost/xdc-testbed/node:one"


@dataclass
class FakeEngine:
    """Containers and networks in memory, with the commands that the driver gives."""

    kind: str = "podman"
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    nets: dict[str, dict[str, Any]] = field(default_factory=dict)
    vols: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *args: str, timeout: float, check: bool = True) -> Completed:
        """Remove, start or make a network."""
        self.said.append(args)
        match args:
            case ("start", name):
                self.made[name]["State"] = "running"
            case ("volume", "rm", "-f", name):
                del self.vols[name]
            case ("network", "create", "--driver", "bridge", "--subnet", subnet, *labels, name):
                pairs = dict(word.split("=", 1) for word in labels if word.startswith(LABEL))
                self.nets[name] = {"name": name, "labels": pairs, "subnets": [{"subnet": subnet}]}
        return Completed(args, 0, b"", b"", 0.0)

    def remove(self, containers: Sequence[str], *, grace: int, check: bool = True) -> None:
        """Remove containers by the start of their id or by name."""
        self.said.append(("remove", str(grace), str(check), *containers))
        self.made = {n: c for n, c in self.made.items() if c["Id"][:12] not in containers and n not in containers}

    def remove_network(self, name: str, *, check: bool = True) -> None:
        """Remove a network."""
        self.said.append(("remove-network", str(check), name))
        del self.nets[name]

    def volumes(self, label: str) -> list[str]:
        """Volumes of one id."""
        return [name for name, owner in self.vols.items() if label == f"{LABEL}={owner}"]

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Containers with this label, exactly where it has a value."""
        key, _, value = label.partition("=")
        return [c for c in self.made.values() if key in c["Labels"] and value in ("", c["Labels"][key])]

    def networks(self, label: str) -> list[dict[str, Any]]:
        """Every network of this machine."""
        return list(self.nets.values())

    def bridge_option(self, name: str) -> list[str]:
        """podman takes none."""
        return []

    def run_node(self, node: NodeContainer) -> None:
        """A container that runs."""
        ports = [dict(zip(("host_port", "container_port"), one.split(":")[1:], strict=True)) for one in node.publish]
        self.made[node.name] = {
            "Id": hashlib.sha256(node.name.encode()).hexdigest(),
            "Names": [node.name],
            "State": "running",
            "Labels": node.labels,
            "Ports": ports,
        }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine of this machine, without rights over its routes and firewall."""
    fake = FakeEngine()
    monkeypatch.setattr(containers.Engine, "find", lambda *_: fake)
    monkeypatch.setattr(containers.os, "geteuid", lambda: 1000)
    return fake


@pytest.fixture
def driver(engine: FakeEngine, tmp_path: Path) -> Containers:
    """The driver on that engine."""
    return Containers(engine="auto", subnet="auto", state_dir=tmp_path)


@pytest.fixture
def wanted(tmp_path: Path) -> Request:
    """Two nodes at two sites, with keys."""
    keys = tmp_path / "keys"
    (keys / "hosts").mkdir(parents=True)
    for path in (keys / "id_ed25519.pub", keys / "hosts" / "a.pub", keys / "hosts" / "b.pub"):
        path.write_text(f"ssh-ed25519 {path.stem} remark\n")
    nodes = (
        NodeRequest("a", "desy", ("kafka",), 1024, 2.0, publish=(29092,)),
        NodeRequest("b", "remote", ("xrootd",), 512, 1.0),
    )
    return Request(ID, "demo", "xdc.test", nodes, tmp_path, IMAGE, installed=True)


def plan(driver: Containers, request: Request) -> list[tuple[str, str]]:
    """The plan in short."""
    return [(change.action, change.name) for change in driver.plan(request)]


def changed(request: Request, **changes: Any) -> Request:
    """The request with other values."""
    return Request(**{**vars(request), **changes})


# -- plan and create --------------------------------------------------------------------------------------------------


def test_on_an_empty_machine_every_node_is_created(driver: Containers, wanted: Request) -> None:
    assert plan(driver, wanted) == [("create", "a"), ("create", "b")]


def test_nodes_that_are_there_and_fit_are_kept(driver: Containers, wanted: Request, engine: FakeEngine) -> None:
    driver.create(wanted, silent)
    before = dict(engine.made)
    assert plan(driver, wanted) == [("keep", "a"), ("keep", "b")]
    driver.create(wanted, silent)
    assert engine.made == before


def test_a_node_is_returned_as_it_is_reached(driver: Containers, wanted: Request, engine: FakeEngine) -> None:
    first, second = driver.create(wanted, silent)
    assert (first.fqdn, first.ssh_address, first.host_key) == ("a.xdc.test", "127.0.0.1", "ssh-ed25519 a")
    assert list(first.published) == ["29092"]
    assert second.published == {}
    assert first.installed
    subnet = ipaddress.IPv4Network(engine.nets[f"xdc-{ID}"]["subnets"][0]["subnet"])
    assert subnet.subnet_of(POOL)
    assert ipaddress.IPv4Address(first.address) in subnet


@pytest.mark.parametrize("change", [{"image": "localhost/xdc-testbed/node:two"}, {"domain": "other.test"}])
def test_what_a_running_container_cannot_change_replaces_it(
    driver: Containers, wanted: Request, change: dict[str, Any]
) -> None:
    driver.create(wanted, silent)
    assert plan(driver, changed(wanted, **change)) == [("replace", "a"), ("replace", "b")]


def test_other_services_on_a_node_do_not_replace_it(driver: Containers, wanted: Request) -> None:
    driver.create(wanted, silent)
    moved = tuple(NodeRequest(**{**vars(node), "groups": ("client",)}) for node in wanted.nodes)
    assert plan(driver, changed(wanted, nodes=moved)) == [("keep", "a"), ("keep", "b")]


def test_a_node_that_stopped_is_started(driver: Containers, wanted: Request, engine: FakeEngine) -> None:
    driver.create(wanted, silent)
    engine.made[f"xdc-{ID}-b"]["State"] = "exited"
    assert [node.name for node in driver.nodes(wanted)] == ["a"]
    assert plan(driver, wanted) == [("keep", "a"), ("start", "b")]
    assert [node.name for node in driver.create(wanted, silent)] == ["a", "b"]


def test_a_node_that_is_no_longer_described_is_removed(driver: Containers, wanted: Request) -> None:
    driver.create(wanted, silent)
    fewer = changed(wanted, nodes=wanted.nodes[:1])
    assert plan(driver, fewer) == [("keep", "a"), ("remove", "b")]
    driver.create(fewer, silent)
    assert plan(driver, wanted) == [("keep", "a"), ("create", "b")]


def test_a_missing_key_is_told_with_the_way_out(driver: Containers, wanted: Request, tmp_path: Path) -> None:
    (tmp_path / "keys" / "id_ed25519.pub").unlink()
    with pytest.raises(RequirementMissing, match=r"id_ed25519\.pub is gone"):
        driver.create(wanted, silent)


# -- network ----------------------------------------------------------------------------------------------------------


def test_two_testbeds_never_share_a_subnet(driver: Containers, wanted: Request, engine: FakeEngine) -> None:
    driver.create(wanted, silent)
    taken = engine.nets[f"xdc-{ID}"]["subnets"][0]["subnet"]
    del engine.nets[f"xdc-{ID}"]
    engine.nets["somebody"] = {"name": "somebody", "labels": {}, "subnets": [{"subnet": taken}]}
    driver.create(wanted, silent)
    assert engine.nets[f"xdc-{ID}"]["subnets"][0]["subnet"] != taken


def test_a_subnet_that_is_taken_is_refused(engine: FakeEngine, wanted: Request, tmp_path: Path) -> None:
    engine.nets["somebody"] = {"name": "somebody", "labels": {}, "subnets": [{"subnet": "10.89.77.0/25"}]}
    with pytest.raises(WrongUsage, match="already in use"):
        Containers(engine="auto", subnet="10.89.77.0/24", state_dir=tmp_path).create(wanted, silent)


def test_a_subnet_that_is_none_is_refused(engine: FakeEngine, wanted: Request, tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"podman\.subnet"):
        Containers(engine="auto", subnet="10.89.77.1/24", state_dir=tmp_path).create(wanted, silent)


# -- removal ----------------------------------------------------------------------------------------------------------


def test_destroy_leaves_nothing_of_its_id(driver: Containers, wanted: Request, engine: FakeEngine) -> None:
    driver.create(wanted, silent)
    engine.vols["data"] = ID
    assert {resource.kind for resource in driver.resources(ID)} == {"container", "volume", "network"}
    driver.destroy(ID, silent)
    assert driver.leftovers(ID) == []
    assert (engine.made, engine.nets, engine.vols) == ({}, {}, {})


def test_destroy_leaves_an_id_alone_that_only_begins_alike(
    driver: Containers, wanted: Request, engine: FakeEngine
) -> None:
    driver.create(wanted, silent)
    driver.create(changed(wanted, testbed_id=ID + "0"), silent)
    driver.destroy(ID, silent)
    assert len(driver.resources(ID + "0")) == 3


def test_destroy_of_nothing_does_nothing(driver: Containers, engine: FakeEngine) -> None:
    driver.destroy(ID, silent)
    assert engine.said == []


def test_things_that_stay_are_leftovers(driver: Containers, wanted: Request, engine: FakeEngine) -> None:
    driver.create(wanted, silent)
    assert {resource.name for resource in driver.leftovers(ID)} == {f"xdc-{ID}-a", f"xdc-{ID}-b", f"xdc-{ID}"}
