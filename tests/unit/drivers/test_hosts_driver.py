"""Own machines: whose they are, what they must have, and what is told when they cannot be had."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from xdc_testbed.drivers import hosts
from xdc_testbed.drivers.base import NodeRequest, Request, Seen, origin
from xdc_testbed.drivers.hosts import Hosts, Machine
from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.processes import Completed
from xdc_testbed.progress import silent

FACTS = {"system": "debian 12", "python": "3.11", "init": "systemd", "memory": "2048", "disk": "9000", "user": "0"}


@dataclass
class FakeSsh:
    """Machines in memory by address: what they say, and their marks."""

    facts: dict[str, dict[str, str]]
    marks: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    def __call__(self, args: Sequence[str | Path], *, timeout: float, check: bool = True) -> Completed:
        """Answer one command."""
        words = [str(word) for word in args]
        if words[0] == "ssh-keygen":
            return Completed(tuple(words), 1, b"", b"", 0.0)
        address, script = words[-2].partition("@")[2], shlex.split(words[-1])[-1]
        if address in self.dead:
            return Completed(tuple(words), 255, b"", b"Connection refused", 0.0)
        code, out = 0, ""
        if script.startswith("set -C"):
            if address in self.marks:
                code = 1
            else:
                self.marks[address] = shlex.split(script)[3]
        elif script.startswith("rm -f"):
            self.marks.pop(address, None)
        else:
            mark = {"owner": self.marks.get(address, "")}
            out = "\n".join(f"{key}={value}" for key, value in (self.facts[address] | mark).items())
        return Completed(tuple(words), code, out.encode(), b"", 0.0)


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    """Two machines that have all that is needed."""
    fake = FakeSsh({"10.0.0.1": dict(FACTS), "10.0.0.2": dict(FACTS)})
    monkeypatch.setattr(hosts, "run", fake)
    return fake


@pytest.fixture
def driver(ssh: FakeSsh, tmp_path: Path) -> Hosts:
    """The driver with these machines."""
    return Hosts(machines(), known_hosts=tmp_path / "known_hosts")


def machines(host_key: str | None = "ssh-ed25519 AAAA") -> dict[str, Machine]:
    """Machines a and b."""
    return {
        name: Machine(f"10.0.0.{number}", f"192.168.0.{number}", 22, "root", Path("/key"), host_key)
        for number, name in enumerate("ab", 1)
    }


def request(tmp_path: Path, testbed_id: str = "0123456789", names: str = "ab") -> Request:
    """What is asked for."""
    nodes = tuple(NodeRequest(name, "desy", (), 1024, 1.0) for name in names)
    return Request(testbed_id, f"bed-{testbed_id[0]}", "xdc.test", nodes, tmp_path, "", installed=False)


def test_machines_are_taken_once_and_kept_the_second_time(driver: Hosts, tmp_path: Path) -> None:
    wanted = request(tmp_path)
    assert [(c.action, c.name) for c in driver.plan(wanted)] == [("create", "a"), ("create", "b")]
    nodes = driver.create(wanted, silent)
    assert [(n.name, n.ssh_address, n.address) for n in nodes] == [
        ("a", "10.0.0.1", "192.168.0.1"),
        ("b", "10.0.0.2", "192.168.0.2"),
    ]
    assert {change.action for change in driver.plan(wanted)} == {"keep"}
    assert driver.nodes(wanted) == nodes


def test_a_machine_of_another_testbed_is_not_touched(driver: Hosts, ssh: FakeSsh, tmp_path: Path) -> None:
    driver.create(request(tmp_path), silent)
    before = dict(ssh.marks)
    other = request(tmp_path, "9999999999")
    (finding, _) = [f for f in driver.check(other) if not f.ok]
    assert finding.found == "belongs to testbed 'bed-0' (0123456789)"
    with pytest.raises(WrongUsage, match=re.escape("machine a belongs to testbed 'bed-0' (0123456789)")):
        driver.create(other, silent)
    driver.destroy("9999999999", silent)
    assert ssh.marks == before


def test_destroy_takes_the_marks_off_and_nothing_is_left(driver: Hosts, ssh: FakeSsh, tmp_path: Path) -> None:
    driver.create(request(tmp_path), silent)
    assert driver.testbeds() == {"0123456789": Seen("bed-0", origin(tmp_path))}
    driver.destroy("0123456789", silent)
    assert (ssh.marks, driver.leftovers("0123456789"), driver.testbeds()) == ({}, [], {})


def test_a_machine_that_left_the_description_is_in_the_plan(driver: Hosts, tmp_path: Path) -> None:
    driver.create(request(tmp_path), silent)
    assert [(c.action, c.name) for c in driver.plan(request(tmp_path, names="a"))] == [("keep", "a"), ("remove", "b")]


@pytest.mark.parametrize(
    ("fact", "value", "what"),
    [
        ("user", "1000", "a: root"),
        ("system", "ubuntu 24.04", "a: system"),
        ("python", "", "a: python"),
        ("init", "bash", "a: systemd"),
        ("memory", "512", "a: memory"),
        ("disk", "100", "a: disk"),
    ],
)
def test_what_a_machine_lacks_is_found_before_it_is_touched(
    driver: Hosts, ssh: FakeSsh, tmp_path: Path, fact: str, value: str, what: str
) -> None:
    ssh.facts["10.0.0.1"][fact] = value
    assert [finding.what for finding in driver.check(request(tmp_path)) if not finding.ok] == [what]


def test_a_machine_that_does_not_answer_is_a_finding_and_stops_down(
    driver: Hosts, ssh: FakeSsh, tmp_path: Path
) -> None:
    ssh.dead.add("10.0.0.2")
    assert [(f.what, f.found) for f in driver.check(request(tmp_path)) if not f.ok] == [
        ("machine b", "Connection refused")
    ]
    with pytest.raises(XdcError, match="machine b cannot be asked: Connection refused"):
        driver.leftovers("0123456789")


def test_a_node_without_a_machine_is_told_with_the_line_to_add(driver: Hosts, tmp_path: Path) -> None:
    (finding,) = driver.check(request(tmp_path, names="abc"))
    assert finding.remedy == 'add [hosts.machines.c] with address = "..." to testbed.toml'


def test_a_host_key_that_nobody_has_seen_is_not_trusted(ssh: FakeSsh, tmp_path: Path) -> None:
    driver = Hosts(machines(host_key=None), known_hosts=tmp_path / "known_hosts")
    assert {f.found for f in driver.check(request(tmp_path))} == {
        "machine a: the host key of 10.0.0.1 is not known",
        "machine b: the host key of 10.0.0.2 is not known",
    }


def test_a_damaged_mark_is_still_somebodys(driver: Hosts, ssh: FakeSsh, tmp_path: Path) -> None:
    ssh.marks["10.0.0.1"] = "{"
    assert not all(finding.ok for finding in driver.check(request(tmp_path)))
    with pytest.raises(WrongUsage):
        driver.create(request(tmp_path), silent)


def test_the_mark_is_json_with_id_and_name(driver: Hosts, ssh: FakeSsh, tmp_path: Path) -> None:
    driver.create(request(tmp_path), silent)
    mark = {"id": "0123456789", "name": "bed-0", "origin": origin(tmp_path), "node": "a"}
    assert json.loads(ssh.marks["10.0.0.1"]) == mark
