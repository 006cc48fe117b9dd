"""More or fewer nodes of one kind: what is described, what may be asked for, what ends its work first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from demo_nodes import node

from xdc_testbed.drivers.base import Change, Finding, Node, Request
from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.processes import Completed
from xdc_testbed.progress import Event, Reporter, silent
from xdc_testbed.testbed import ansible, kit, pki, scaling, ssh
from xdc_testbed.testbed.ansible import Outcome
from xdc_testbed.testbed.description import Description, Explained, load
from xdc_testbed.testbed.lifecycle import Testbed
from xdc_testbed.testbed.state import PhaseRecord, State

FAAS = {"site": "desy", "groups": ["openwhisk_invoker"]}


def described(count: int = 1) -> Description:
    """One node, and function nodes."""
    nodes = {"desy-functions": {"site": "desy", "groups": ["openwhisk"]}}
    return Description.model_validate({"nodes": nodes, "scaled": {"faas": {**FAAS, "count": count}}})


def state_of(description: Description, **values: object) -> State:
    """The state of a testbed that is wholly up."""
    verified = {"verify": PhaseRecord(fingerprint="f", finished=1.0, seconds=1.0)}
    known = {"id": "0a1b2c3d4e", "name": "demo", "driver": "podman", "created": 1.0, "phases": verified}
    return State.model_validate(known | {"description": description.model_dump(mode="json")} | values)


# -- description ------------------------------------------------------------------------------------------------------


def test_scaled_nodes_are_numbered_and_come_after_the_others() -> None:
    assert list(described(2).expanded().nodes) == ["desy-functions", "faas-1", "faas-2"]


def test_the_number_that_scale_has_made_wins_over_the_described_one() -> None:
    assert list(described(2).expanded({"faas": 1}).nodes) == ["desy-functions", "faas-1"]


def test_a_node_with_the_name_of_a_scaled_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "testbed.toml"
    file.write_text('[nodes.faas-1]\nsite = "desy"\ngroups = ["xcache"]\n')
    with pytest.raises(WrongUsage, match=r"nodes\.faas-1: is a name of the nodes of scaled\.faas"):
        load(file, environ={})


def test_an_unknown_group_of_scaled_nodes_is_named_with_its_table(tmp_path: Path) -> None:
    file = tmp_path / "testbed.toml"
    file.write_text('[scaled.faas]\ngroups = ["openwhisk_invokr"]\n')
    with pytest.raises(WrongUsage, match=r"scaled\.faas\.groups: .*did you mean 'openwhisk_invoker'"):
        load(file, environ={})


def test_a_wrong_key_of_scaled_nodes_names_the_nearest_right_one(tmp_path: Path) -> None:
    file = tmp_path / "testbed.toml"
    file.write_text("[scaled.faas]\ncuont = 3\n")
    with pytest.raises(WrongUsage, match=r"unknown key 'scaled\.faas\.cuont'; did you mean 'count'"):
        load(file, environ={})


def test_the_profile_of_the_cloud_has_two_function_nodes_on_instances() -> None:
    description = load(profile="cloud-demo", environ={}).description
    assert description.driver == "openstack"
    functions = [name for name, one in description.expanded().nodes.items() if "openwhisk_invoker" in one.groups]
    assert functions == ["faas-1", "faas-2"]


# -- what may be asked for --------------------------------------------------------------------------------------------


def test_numbers_are_read() -> None:
    assert scaling.wanted(["faas=2", "other=0"]) == {"faas": 2, "other": 0}


@pytest.mark.parametrize("word", ["faas", "faas=", "=2", "faas=two", "faas=-1", "faas=1.5"])
def test_what_is_no_number_is_refused(word: str) -> None:
    with pytest.raises(WrongUsage, match="is not <name>=<number>"):
        scaling.wanted([word])


def test_an_unknown_kind_is_told_with_those_there_are() -> None:
    with pytest.raises(
        WrongUsage, match="nothing called 'fas' can be scaled in testbed 'demo'; did you mean"
    ) as caught:
        scaling.check(state_of(described()), {"fas": 1})
    assert caught.value.remedy == "there is: faas"


def test_too_many_are_refused() -> None:
    with pytest.raises(WrongUsage, match="faas=21 is too many"):
        scaling.check(state_of(described()), {"faas": 21})


def test_machines_of_others_are_not_made() -> None:
    with pytest.raises(WrongUsage, match="driver hosts makes no machines"):
        scaling.check(state_of(described(), driver="hosts"), {"faas": 1})


def test_a_testbed_that_is_not_wholly_up_is_brought_up_first() -> None:
    with pytest.raises(WrongUsage, match="not wholly up") as caught:
        scaling.check(state_of(described(), phases={}), {"faas": 1})
    assert caught.value.remedy == "xdc-testbed up --name demo, then scale"


def test_the_description_of_a_testbed_has_the_nodes_that_scale_has_made(tmp_path: Path) -> None:
    bed = Testbed(tmp_path, "demo")
    bed.folder.open("podman")
    bed.folder.write(state_of(described(), counts={"faas": 3}))
    assert [name for name in bed.description().nodes if name.startswith("faas")] == ["faas-1", "faas-2", "faas-3"]


# -- what goes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Completed | XdcError]:
    """What nodes say to being drained; those that are not named say success."""
    said: dict[str, Completed | XdcError] = {}

    def execute(asked: Node, known_hosts: Path, *words: str, timeout: float, check: bool) -> Completed:
        assert words[-1] == "openwhisk-invoker"
        answer = said.get(asked.name, completed(0, "success\n"))
        if isinstance(answer, XdcError):
            raise answer
        return answer

    monkeypatch.setattr(ssh, "execute", execute)
    return said


def completed(code: int, text: str) -> Completed:
    """A command that has ended."""
    return Completed(args=("ssh",), returncode=code, stdout=text.encode(), stderr=b"", seconds=0.1)


def test_function_nodes_end_their_work_and_others_have_none(answers: dict[str, Completed | XdcError]) -> None:
    told: list[Event] = []
    scaling.drain([node("faas-2", "openwhisk_invoker"), node("x", "xcache")], Path("known"), told.append)
    assert [(event.host, event.status) for event in told if event.kind == "step"] == [("faas-2", "changed")]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(completed(0, "exit-code\n"), "exit-code"), (XdcError("no route to faas-1"), "no route to faas-1")],
)
def test_a_node_that_cannot_end_its_work_is_told_and_goes_all_the_same(
    answers: dict[str, Completed | XdcError], answer: Completed | XdcError, words: str
) -> None:
    answers["faas-1"] = answer
    told: list[Event] = []
    scaling.drain([node("faas-1", "openwhisk_invoker")], Path("known"), told.append)
    warnings = [event.text for event in told if event.kind == "warning"]
    assert warnings == [f"faas-1 did not end its work: {words}; what ran there has failed"]


# -- one run ----------------------------------------------------------------------------------------------------------


class Machines:
    """A driver that makes what it is asked for, in memory."""

    name = "podman"
    kinds = "container"
    boot_seconds = 1.0

    def __init__(self) -> None:
        self.there: list[str] = []

    def check(self, request: Request) -> list[Finding]:
        """All is well."""
        return []

    def plan(self, request: Request) -> list[Change]:
        """By name."""
        wanted = [one.name for one in request.nodes]
        changes = [Change("keep" if name in self.there else "create", "node", name) for name in wanted]
        return changes + [Change("remove", "node", name) for name in self.there if name not in wanted]

    def create(self, request: Request, report: Reporter) -> list[Node]:
        """At once."""
        self.there = [one.name for one in request.nodes]
        return self.nodes(request)

    def nodes(self, request: Request) -> list[Node]:
        """All of them."""
        return [node(one.name, *one.groups) for one in request.nodes]


@dataclass
class Ran:
    """What was done, in order: playbook and the nodes that it was limited to, or the units that were stopped."""

    done: list[tuple[str, str | None]] = field(default_factory=list)
    fail: str = ""


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """No Ansible, no SSH, no certificates, no images; a driver in memory."""
    told, driver = Ran(), Machines()

    def play(name: str, *, limit: str | None, phase: object, **_: object) -> Outcome:
        told.done.append((name, limit))
        if name == told.fail:
            told.fail = ""
            raise XdcError("the playbook failed")
        if callable(phase):
            phase("Verify services")
        return Outcome(name)

    def execute(asked: Node, *_: object, **__: object) -> Completed:
        told.done.append(("drain", asked.name))
        return completed(0, "success\n")

    monkeypatch.setattr(Testbed, "driver", lambda *_: driver)
    monkeypatch.setattr(Testbed, "units", lambda *_: {})
    monkeypatch.setattr(ansible, "run_playbook", play)
    monkeypatch.setattr(ssh, "execute", execute)
    monkeypatch.setattr(ssh, "wait_ready", lambda *_, **__: {})
    monkeypatch.setattr(pki, "ensure", lambda *_, **__: None)
    monkeypatch.setattr(kit, "archive", lambda folder: (folder / "kit.tar", "digest"))
    return told


@pytest.fixture
def bed(ran: Ran, tmp_path: Path) -> Testbed:
    """A testbed that is up, with one function node."""
    made = Testbed(tmp_path, "demo")
    made.up(Explained(described(1), {}), silent)
    ran.done.clear()
    return made


def test_new_nodes_alone_are_configured_and_the_others_learn_their_names(bed: Testbed, ran: Ran) -> None:
    bed.scale({"faas": 3}, silent)
    assert ran.done == [("names", "desy-functions,faas-1"), ("up", "faas-2,faas-3")]
    assert [one.name for one in bed.nodes()] == ["desy-functions", "faas-1", "faas-2", "faas-3"]


def test_nodes_that_go_are_drained_first_and_nothing_is_configured(bed: Testbed, ran: Ran) -> None:
    bed.scale({"faas": 0}, silent)
    assert ran.done == [("drain", "faas-1"), ("names", None)]
    assert [one.name for one in bed.nodes()] == ["desy-functions"]


def test_the_same_number_again_changes_nothing(bed: Testbed, ran: Ran) -> None:
    assert bed.scale({"faas": 1}, silent).skipped == ["site", "verify"]
    assert ran.done == []


def test_up_after_scale_keeps_the_number_and_has_nothing_to_do(bed: Testbed, ran: Ran) -> None:
    bed.scale({"faas": 2}, silent)
    ran.done.clear()
    again = bed.up(Explained(described(1), {}), silent)
    assert (again.skipped, ran.done) == (["site", "verify"], [])
    assert len(again.nodes) == 3


def test_after_a_failure_the_same_command_configures_everything_that_may_be_half_done(bed: Testbed, ran: Ran) -> None:
    ran.fail = "up"
    with pytest.raises(XdcError, match="the playbook failed"):
        bed.scale({"faas": 2}, silent)
    ran.done.clear()
    bed.scale({"faas": 2}, silent)
    assert ran.done == [("up", None)]


def test_where_the_rest_is_not_as_described_everything_is_configured(bed: Testbed, ran: Ran) -> None:
    state = bed.folder.read()
    state.phases["verify"] = PhaseRecord(fingerprint="of another kit", finished=1.0, seconds=1.0)
    bed.folder.write(state)
    bed.scale({"faas": 2}, silent)
    assert ran.done == [("up", None)]


def test_up_with_fewer_described_nodes_drains_those_that_go(bed: Testbed, ran: Ran) -> None:
    bed.up(Explained(described(0), {}), silent)
    assert ran.done == [("drain", "faas-1"), ("up", None)]
