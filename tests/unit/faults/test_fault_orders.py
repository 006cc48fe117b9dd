"""From what a user asks for to orders for nodes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.faults import commands
from xdc_testbed.faults.model import Delay, DiskFull, How, Partition, Stop


@dataclass(frozen=True)
class Machine:
    name: str
    site: str
    address: str


NODES = [
    Machine("desy-storage", "desy", "10.0.0.10"),
    Machine("desy-stream", "desy", "10.0.0.11"),
    Machine("desy-client", "desy", "10.0.0.12"),
    Machine("remote-storage", "remote", "10.0.0.20"),
    Machine("remote-cache", "remote", "10.0.0.21"),
]


def test_a_delay_between_sites_is_applied_on_the_smaller_side_only() -> None:
    orders = commands.delay(NODES, "desy", "remote", milliseconds=25)
    assert [order.node for order in orders] == ["remote-storage", "remote-cache"]
    assert all(isinstance(order.fault, Delay) for order in orders)


def test_the_peers_are_every_node_of_the_other_side_and_no_other_address() -> None:
    (first, _) = commands.delay(NODES, "desy", "remote", milliseconds=25)
    assert isinstance(first.fault, Delay)
    reached = {str(address) for block in first.fault.peers for address in block}
    assert reached == {"10.0.0.10", "10.0.0.11", "10.0.0.12"}


def test_one_place_means_everything_else_is_the_other_side() -> None:
    (order,) = commands.partition(NODES, "remote-cache")
    assert order.node == "remote-cache"
    assert isinstance(order.fault, Partition)
    assert sum(block.num_addresses for block in order.fault.peers) == 4


def test_all_nodes_that_one_command_reaches_share_one_id() -> None:
    orders = commands.partition(NODES, "desy", "remote")
    assert len({order.id for order in orders}) == 1
    assert orders[0].id.startswith("partition-")


def test_asking_for_the_same_again_gives_the_same_id_and_for_another_another() -> None:
    first = commands.delay(NODES, "desy", "remote", milliseconds=25)
    assert commands.delay(NODES, "desy", "remote", milliseconds=25) == first
    assert commands.delay(NODES, "desy", "remote", milliseconds=26)[0].id != first[0].id


def test_an_unknown_place_is_named_with_the_nearest_right_one() -> None:
    with pytest.raises(WrongUsage, match="no node or site 'remote-storag'; did you mean 'remote-storage'"):
        commands.partition(NODES, "remote-storag")


def test_two_places_that_overlap_are_refused() -> None:
    with pytest.raises(WrongUsage, match="overlap"):
        commands.partition(NODES, "desy", "desy-storage")


def test_a_place_with_nothing_on_the_other_side_is_refused() -> None:
    with pytest.raises(WrongUsage, match="whole testbed"):
        commands.partition(NODES[:3], "desy")


def test_a_service_is_stopped_by_its_full_unit_name() -> None:
    (order,) = commands.stop(NODES, "desy-stream", ["kafka"], How.KILL)
    assert order.fault == Stop(units=("kafka.service",), how=How.KILL)


def test_a_disk_is_full_below_one_absolute_folder() -> None:
    (order,) = commands.disk_full(NODES, "remote-storage", "/srv/data", leave_kib=128)
    assert isinstance(order.fault, DiskFull)
    assert order.fault.leave_kib == 128


@pytest.mark.parametrize("path", ["/", "srv/data", "/srv/../etc"])
def test_a_disk_cannot_be_full_below_a_path_like(path: str) -> None:
    with pytest.raises(WrongUsage, match="absolute path"):
        commands.disk_full(NODES, "remote-storage", path)


def test_a_delay_of_nothing_is_refused_with_the_culprit() -> None:
    with pytest.raises(WrongUsage, match="milliseconds"):
        commands.delay(NODES, "desy", "remote", milliseconds=0)


def test_each_node_gets_one_command_with_its_orders_on_standard_input() -> None:
    orders = commands.partition(NODES, "desy", "remote") + commands.delay(NODES, "remote-cache", milliseconds=5)
    by_node = {command.node: command for command in commands.apply(orders)}
    assert set(by_node) == {"remote-storage", "remote-cache"}
    kinds = [json.loads(line)["fault"]["kind"] for line in by_node["remote-cache"].stdin.splitlines()]
    assert kinds == ["partition", "delay"]
    assert by_node["remote-cache"].argv[-1] == "apply"


def test_clearing_without_an_id_clears_everything_everywhere() -> None:
    assert [command.argv[-1] for command in commands.clear(NODES)] == ["clear"] * len(NODES)
    assert commands.clear(NODES[:1], "delay-1")[0].argv[-2:] == ("clear", "delay-1")


def test_an_answer_that_is_none_is_an_error_with_a_remedy() -> None:
    with pytest.raises(XdcError, match="no answer about its faults: bash: python: not found"):
        commands.answers("bash: python: not found")
