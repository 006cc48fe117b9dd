"""Applying, listing and clearing on a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.errors import DeadlineExceeded, WrongUsage
from xdc_testbed.faults.agent import Agent
from xdc_testbed.faults.model import (
    ClockSkew,
    Delay,
    DiskFull,
    Fault,
    How,
    Kill,
    Means,
    Order,
    Partition,
    Record,
    Stop,
)
from xdc_testbed.faults.records import Records
from xdc_testbed.processes import CommandFailed

PEERS = (IPv4Network("10.0.0.20/32"), IPv4Network("10.0.0.21/32"))


def order(fault: Fault, fault_id: str = "fault-1") -> Order:
    return Order(id=fault_id, node="n1", fault=fault)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "faults")


@pytest.fixture
def agent(records: Records, node: Any, tmp_path: Path) -> Agent:
    return Agent(records, node, tmp_path / "systemd")


@pytest.mark.parametrize("fault", [Partition(peers=PEERS), Delay(peers=PEERS, milliseconds=5)])
def test_clearing_leaves_the_packet_filter_as_it_was(agent: Agent, node: Any, fault: Fault) -> None:
    before = {chain: list(rules) for chain, rules in node.chains.items()}
    agent.apply(order(fault))
    assert node.chains != before
    agent.clear("fault-1")
    assert node.chains == before
    assert node.active == set()


@pytest.mark.parametrize("fault", [Partition(peers=PEERS), Delay(peers=PEERS, milliseconds=5)])
def test_applying_twice_changes_nothing_the_second_time(agent: Agent, node: Any, fault: Fault) -> None:
    assert agent.apply(order(fault)).outcome == "applied"
    node.changes()
    assert agent.apply(order(fault)).outcome == "already"
    assert node.changes() == []


def test_clearing_one_of_two_partitions_leaves_the_other_in_force(agent: Agent, node: Any) -> None:
    agent.apply(order(Partition(peers=PEERS[:1]), "partition-a"))
    agent.apply(order(Partition(peers=PEERS[1:]), "partition-b"))
    agent.clear("partition-a")
    (left,) = agent.listing()
    assert (left.id, left.in_force) == ("partition-b", True)
    assert not any("partition-a" in rule for rule in node.chains["filter", "XDC-FAULTS"])


def test_two_delays_have_queues_of_their_own(agent: Agent, records: Records) -> None:
    for name in ("delay-a", "delay-b"):
        agent.apply(order(Delay(peers=PEERS, milliseconds=5), name))
    assert len({record.means.number for record in records.all()}) == 2


def test_the_rule_of_a_delay_comes_after_its_queue_has_a_reader(agent: Agent, node: Any) -> None:
    agent.apply(order(Delay(peers=PEERS, milliseconds=5)))
    programs = [words[0] for words in node.changes()]
    assert programs.index("systemd-run") < programs.index("iptables")


def test_netem_is_taken_where_the_kernel_has_it(agent: Agent, node: Any, records: Records) -> None:
    node.has_netem = True
    agent.apply(order(Delay(peers=PEERS, milliseconds=5)))
    assert records.all()[0].means == Means(method="netem", number=1, devices=("eth0",))


def test_an_id_cannot_mean_two_faults(agent: Agent) -> None:
    agent.apply(order(Partition(peers=PEERS)))
    with pytest.raises(WrongUsage, match="fault-1 is there and means something else"):
        agent.apply(order(Partition(peers=PEERS[:1])))


def test_a_fault_that_fails_half_way_leaves_neither_rules_nor_a_record(agent: Agent, node: Any) -> None:
    before = {chain: list(rules) for chain, rules in node.chains.items()}
    node.fail_on = "-d"
    with pytest.raises(CommandFailed):
        agent.apply(order(Partition(peers=PEERS)))
    node.fail_on = None
    assert node.chains == before
    assert agent.listing() == []


def test_a_fault_whose_agent_died_is_listed_as_not_in_force_and_can_be_cleared(agent: Agent, records: Records) -> None:
    fault = Partition(peers=PEERS)
    records.write(Record(id="fault-1", node="n1", fault=fault, applied_at=1.0, means=Means(method="iptables")))
    assert [status.in_force for status in agent.listing()] == [False]
    assert [status.outcome for status in agent.clear()] == ["cleared"]
    assert agent.listing() == []


def test_a_fault_that_a_reboot_ended_is_made_again_by_applying_it_again(agent: Agent, node: Any) -> None:
    fault = order(Partition(peers=PEERS))
    agent.apply(fault)
    node.__post_init__()
    del node.chains["filter", "XDC-FAULTS"]
    assert agent.apply(fault).outcome == "applied"
    assert agent.listing()[0].in_force


def test_clearing_what_is_not_there_is_no_error(agent: Agent) -> None:
    assert agent.clear("delay-0") == []


def test_a_stopped_service_is_held_down_and_runs_again_afterwards(agent: Agent, node: Any, tmp_path: Path) -> None:
    node.active = {"kafka.service"}
    agent.apply(order(Stop(units=("kafka",), how=How.STOP)))
    held = list((tmp_path / "systemd").rglob("*.conf"))
    assert node.active == set()
    assert "AssertPathExists=!" in held[0].read_text()
    agent.clear()
    assert node.active == {"kafka.service"}
    assert list((tmp_path / "systemd").iterdir()) == []


def test_a_service_that_was_down_before_stays_down_afterwards(agent: Agent, node: Any) -> None:
    agent.apply(order(Stop(units=("kafka",))))
    agent.clear()
    assert node.active == set()


def test_a_folder_inside_a_full_one_cannot_be_full_again(agent: Agent, records: Records) -> None:
    full = DiskFull.model_validate({"path": "/srv/data"})
    records.write(Record(id="disk-full-1", node="n1", fault=full, applied_at=1.0, means=Means(method="overlay")))
    with pytest.raises(WrongUsage, match="/srv/data is full already"):
        agent.apply(order(DiskFull.model_validate({"path": "/srv/data/proc"})))


def test_a_folder_that_is_not_there_cannot_be_full(agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no such folder"):
        agent.apply(order(DiskFull.model_validate({"path": str(tmp_path / "absent")})))
    assert agent.listing() == []


def test_a_killed_service_is_back_when_the_agent_answers_and_nothing_is_left_to_undo(agent: Agent, node: Any) -> None:
    node.active = {"kafka.service"}
    status = agent.apply(order(Kill(units=("kafka",))))
    assert (status.outcome, status.in_force) == ("applied", False)
    assert status.back_after is not None
    assert ("systemctl", "kill", "--signal=SIGKILL", "kafka.service") in node.said
    assert agent.listing() == []


def test_a_killed_service_that_stays_away_is_an_error_and_is_started(agent: Agent, node: Any) -> None:
    node.active, node.restarts = {"kafka.service"}, False
    with pytest.raises(DeadlineExceeded, match=r"kafka\.service did not come back"):
        agent.apply(order(Kill(units=("kafka",), within=0.2)))
    assert node.active == {"kafka.service"}
    assert agent.listing() == []


def test_a_service_that_does_not_run_cannot_be_killed(agent: Agent, node: Any) -> None:
    with pytest.raises(WrongUsage, match=r"kafka\.service does not run"):
        agent.apply(order(Kill(units=("kafka",))))
    assert node.active == set()


def test_a_wrong_clock_is_a_drop_in_that_clearing_takes_away(agent: Agent, node: Any, tmp_path: Path) -> None:
    node.active = {"token-issuer.service"}
    drop_in = tmp_path / "systemd" / "token-issuer.service.d" / "50-fault-1.conf"
    assert agent.apply(order(ClockSkew(seconds=-300, lifetime=240))).in_force
    assert {"Environment=XDC_ISSUER_CLOCK_OFFSET=-300", "Environment=XDC_ISSUER_LONGEST_LIFETIME=240"} <= set(
        drop_in.read_text().splitlines()
    )
    with pytest.raises(WrongUsage, match="is off already"):
        agent.apply(order(ClockSkew(seconds=300), "fault-2"))
    agent.clear("fault-1")
    assert not drop_in.parent.exists()
    assert [words[1] for words in node.said if words[1] in {"daemon-reload", "restart"}] == [
        "daemon-reload",
        "restart",
    ] * 2


def test_only_processes_with_the_word_in_their_command_line_are_killed(agent: Agent, node: Any) -> None:
    """The unit's main process stands for its control group; here it is a process of ours."""
    word = f"victim-{os.getpid()}"
    victim = subprocess.Popen([sys.executable, "-c", "input()", word], stdin=subprocess.PIPE)
    other = subprocess.Popen([sys.executable, "-c", "input()", "other"], stdin=subprocess.PIPE)
    try:
        node.active, node.main_pid = {"openwhisk.service"}, victim.pid
        agent.apply(order(Kill(units=("openwhisk",), processes=word)))
        assert victim.wait(timeout=10) == -signal.SIGKILL
        assert other.poll() is None
        with pytest.raises(WrongUsage, match=f"no process of .* has '{word}'"):
            agent.apply(order(Kill(units=("openwhisk",), processes=word)))
    finally:
        for process in (victim, other):
            process.kill()
            process.communicate()
