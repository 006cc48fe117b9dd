"""A testbed by name: what is told when it is not there, and the proof after down."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_nodes import demo

from xdc_testbed.drivers.base import Node, Resource, Seen, origin
from xdc_testbed.errors import LeftOver, WrongUsage, XdcError
from xdc_testbed.progress import Event, Reporter, silent
from xdc_testbed.testbed import lifecycle, ssh
from xdc_testbed.testbed.description import Description
from xdc_testbed.testbed.lifecycle import Testbed


class FakeDriver:
    """Machines in memory, by testbed id. stubborn: ids whose things cannot be removed."""

    name = "podman"
    kinds = "container"

    def __init__(self) -> None:
        self.things: dict[str, list[Resource]] = {}
        self.seen: dict[str, Seen] = {}
        self.stubborn: set[str] = set()

    def testbeds(self) -> dict[str, Seen]:
        """What they say of themselves, by id."""
        return dict(self.seen)

    def resources(self, testbed_id: str) -> list[Resource]:
        """Everything of this id."""
        return list(self.things.get(testbed_id, []))

    def destroy(self, testbed_id: str, report: Reporter) -> None:
        """Remove it, unless it is stubborn."""
        if testbed_id not in self.stubborn:
            self.things.pop(testbed_id, None)
            self.seen.pop(testbed_id, None)

    def leftovers(self, testbed_id: str) -> list[Resource]:
        """What is still there."""
        return self.resources(testbed_id)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """The driver of every testbed in the test."""
    fake = FakeDriver()
    monkeypatch.setattr(Testbed, "driver", lambda *_: fake)
    return fake


@pytest.fixture
def bed(tmp_path: Path, driver: FakeDriver) -> Testbed:
    """A testbed with nodes."""
    testbed = Testbed(tmp_path, "demo")
    state = testbed.folder.open("podman")
    state.nodes = [node.to_json() for node in demo()]
    testbed.folder.write(state)
    driver.things[state.id] = [Resource("container", "1", "xdc-1"), Resource("network", "2", "xdc-2")]
    driver.seen[state.id] = Seen("demo", origin(testbed.folder.path))
    return testbed


def test_a_testbed_that_is_not_there_is_told_with_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="there is no testbed 'demo'") as caught:
        Testbed(tmp_path, "demo").require()
    assert caught.value.remedy == "xdc-testbed up --name demo"


def test_nodes_come_back_from_the_state_as_they_were(bed: Testbed) -> None:
    assert bed.nodes() == demo()


def test_an_unknown_node_is_told_with_the_names_of_those_there_are(bed: Testbed) -> None:
    with pytest.raises(WrongUsage, match="no node 'desy-strom'") as caught:
        bed.node("desy-strom")
    assert "desy-stream" in (caught.value.remedy or "")


def test_down_removes_everything_and_forgets_the_testbed(bed: Testbed, driver: FakeDriver) -> None:
    removed = bed.down(silent)
    assert [resource.kind for resource in removed] == ["container", "network"]
    assert driver.things == {}
    assert not bed.folder.path.exists()


def test_what_is_left_after_down_is_named_and_the_state_is_kept(
    bed: Testbed, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_until_gone", lambda look, **_: look())
    driver.stubborn = set(driver.things)
    with pytest.raises(LeftOver, match="2 things are left after down: container xdc-1, network xdc-2"):
        bed.down(silent)
    assert bed.folder.exists


def test_down_works_by_label_when_the_state_is_lost(bed: Testbed, driver: FakeDriver) -> None:
    bed.folder.remove()
    assert len(bed.down(silent)) == 2
    assert driver.things == {}


def test_down_works_by_label_when_the_state_is_damaged(bed: Testbed, driver: FakeDriver) -> None:
    (bed.folder.path / "state.json").write_text("{")
    assert len(bed.down(silent)) == 2
    assert driver.things == {}


def test_down_takes_only_what_belongs_to_the_name(bed: Testbed, driver: FakeDriver) -> None:
    driver.things["other"] = [Resource("container", "9", "xdc-9")]
    driver.seen["other"] = Seen("other", origin(bed.folder.path.parent / "other"))
    bed.down(silent)
    assert list(driver.things) == ["other"]


def test_down_leaves_what_another_state_folder_has_made_under_the_same_name(
    bed: Testbed, driver: FakeDriver, tmp_path: Path
) -> None:
    driver.things["theirs"] = [Resource("container", "9", "xdc-9")]
    driver.seen["theirs"] = Seen("demo", origin(tmp_path / "theirs" / "demo"))
    bed.down(silent)
    assert list(driver.things) == ["theirs"]
    with pytest.raises(WrongUsage, match="'demo' was not made from this state folder: theirs") as caught:
        bed.down(silent)
    assert "down --id theirs" in (caught.value.remedy or "")
    bed.down(silent, testbed_id="theirs")
    assert driver.things == {}


def test_a_second_down_is_told_that_there_is_nothing(bed: Testbed) -> None:
    bed.down(silent)
    with pytest.raises(WrongUsage, match="there is no testbed 'demo'"):
        bed.down(silent)


def test_down_tells_its_phases(bed: Testbed) -> None:
    told: list[Event] = []
    bed.down(told.append)
    assert [event.phase for event in told if event.kind == "phase-end"] == ["remove", "prove"]


# -- services that stay -----------------------------------------------------------------------------------------------


@pytest.fixture
def borrowing(bed: Testbed) -> Testbed:
    """The testbed, whose OpenWhisk is somebody else's."""
    state = bed.folder.read()
    whisk = {"openwhisk_source": "external", "openwhisk_external": {"url": "https://whisk.example.org"}}
    nodes = {"desy-functions": {"site": "desy", "groups": ["openwhisk"], "vars": whisk}}
    state.description = Description.model_validate({"nodes": nodes}).model_dump(mode="json")
    bed.folder.write(state)
    return bed


def test_down_takes_its_actions_off_an_openwhisk_that_stays(
    borrowing: Testbed, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def execute(node: Node, _: Path, *command: str, timeout: float) -> None:
        assert driver.things, "the node is still there"
        asked.append((node.name, command[-1]))

    monkeypatch.setattr(ssh, "execute", execute)
    borrowing.down(silent)
    ((node_name, command),) = asked
    assert node_name == "desy-functions"
    assert command.endswith("-m xdc_testbed.actions.deploy --config /etc/xdc-testbed/actions.toml --remove")


def test_actions_that_could_not_be_taken_off_are_told_after_everything_else_is_gone(
    borrowing: Testbed, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(*_: object, timeout: float) -> None:
        raise XdcError("no route to it")

    monkeypatch.setattr(ssh, "execute", execute)
    with pytest.raises(LeftOver, match=r"actions are left on https://whisk\.example\.org: no route to it"):
        borrowing.down(silent)
    assert driver.things == {}
    assert not borrowing.folder.path.exists()
