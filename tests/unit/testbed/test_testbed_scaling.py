"""More or fewer nodes of one kind: what is described, what may be asked for, what ends its work first."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdc_testbed.drivers.base import Node
from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.processes import Completed
from xdc_testbed.progress import Event
from xdc_testbed.testbed import scaling, ssh
from xdc_testbed.testbed.description import Description, load
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


def node(name: str, group: str) -> Node:
    """A node."""
    return Node(name, "desy", (group,), name, "10.0.0.1", "127.0.0.1", 22, "root", "k", "h", "podman", name)


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
