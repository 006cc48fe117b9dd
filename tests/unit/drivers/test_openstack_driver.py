"""The OpenStack driver against a cloud in memory: what Terraform is told, what is checked, what is explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.drivers.base import NodeRequest, Request
from xdc_testbed.drivers.cloud import Flavor, _only
from xdc_testbed.drivers.openstack import NodeOptions, OpenStack, Options
from xdc_testbed.drivers.ownership import Thing
from xdc_testbed.drivers.quota import Limit
from xdc_testbed.drivers.terraform import Plan, TerraformFailed, Workspace
from xdc_testbed.drivers.terraform_events import read
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.progress import silent

ID = "aaaaaaaaaa"
CAPTURES = Path(__file__).parent / "captures"
OPTIONS = Options(
    cloud="fake",
    image="debian-12",
    flavor="auto",
    external_network="auto",
    admin_cidrs=("192.0.2.0/28",),
    public=(),
    cidr="10.77.0.0/24",
    dns_servers=(),
    spread=True,
    availability_zone=None,
    volume_type=None,
    expires_hours=24,
    terraform="auto",
    provider_mirror="auto",
    backend="subprocess",
    nodes={},
    ports=({"group": "all", "protocol": "tcp", "first": 22, "last": 22, "from": ["admin"]},),
)


@dataclass
class FakeCloud:
    """A project in memory."""

    there: list[Thing] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=lambda: {"debian-12": "image-1"})
    faults: dict[str, str] = field(default_factory=dict)
    project: str = "p1"

    def has(self, service: str) -> bool:
        """Everything but volumes."""
        return service != "block-storage"

    def image(self, wanted: str) -> str:
        """Its id."""
        return _only("image", wanted, [(one, name) for name, one in self.images.items()])

    def external_network(self, wanted: str) -> tuple[str, str] | None:
        """The one there is."""
        return ("net-1", "public")

    def flavor(self, wanted: str, *, ram: int) -> Flavor:
        """A flavor of that size."""
        return Flavor(f"flavor-{wanted}-{ram}", wanted, 2, ram, 10)

    def limits(self) -> dict[str, Limit]:
        """Room for ten."""
        return {"instances": Limit(10, len(self.there))}

    def things(self) -> list[Thing]:
        """All."""
        return list(self.there)

    def servers(self) -> list[Thing]:
        """Those among them."""
        return [thing for thing in self.there if thing.kind == "server"]

    def remove(self, thing: Thing) -> None:
        """At once."""
        self.there.remove(thing)

    def fault(self, server: str) -> str | None:
        """Why it failed."""
        return self.faults.get(server)

    def state_of(self, server: str) -> str:
        """In words."""
        return f"server {server} ERROR"

    def console(self, server: str) -> str:
        """Its console."""
        return "login:"


Made = Callable[..., OpenStack]


@pytest.fixture
def cloud() -> FakeCloud:
    """An empty project."""
    return FakeCloud()


@pytest.fixture
def driver(cloud: FakeCloud) -> Made:
    """The driver on it; options may be changed."""

    def made(**changes: Any) -> OpenStack:
        return OpenStack(replace(OPTIONS, **changes), state_dir=None, cloud=cloud)  # type: ignore[arg-type]

    return made


def request(folder: Path, names: str = "abc") -> Request:
    """Nodes a, b, c; c is the client's."""
    keys = folder / "keys"
    keys.mkdir(exist_ok=True)
    (keys / "id_ed25519.pub").write_text("ssh-ed25519 AAAA test\n")
    nodes = tuple(NodeRequest(name, "desy", ("client",) if name == "c" else (), 1024, 1.0) for name in names)
    return Request(ID, "demo", "xdc.test", nodes, folder, "", installed=False)


def test_only_the_clients_node_is_public_unless_others_are_named(driver: Made, tmp_path: Path) -> None:
    nodes = driver()._variables(request(tmp_path))["nodes"]
    assert {name: node["public"] for name, node in nodes.items()} == {"a": False, "b": False, "c": True}
    nodes = driver(public=("a", "b"))._variables(request(tmp_path))["nodes"]
    assert [name for name, node in nodes.items() if node["public"]] == ["a", "b"]


def test_a_node_keeps_its_number_when_others_come_and_go(driver: Made, tmp_path: Path) -> None:
    def numbers(names: str) -> dict[str, int]:
        nodes = driver()._variables(request(tmp_path, names))["nodes"]
        return {name: node["index"] for name, node in nodes.items()}

    assert numbers("bc") == {"b": 0, "c": 1}
    assert numbers("abc") == {"a": 2, "b": 0, "c": 1}
    assert numbers("dc") == {"d": 3, "c": 1}


def test_expiry_and_image_stay_what_they_were_at_first(driver: Made, cloud: FakeCloud, tmp_path: Path) -> None:
    first = driver()._variables(request(tmp_path))
    cloud.images["debian-12"] = "image-2"
    again = driver(expires_hours=9999)._variables(request(tmp_path))
    assert (again["expires"], again["image_id"]) == (first["expires"], "image-1")
    assert driver(image="debian-12")._variables(request(tmp_path))["image_id"] == "image-1"
    cloud.images["debian-13"] = "image-3"
    assert driver(image="debian-13")._variables(request(tmp_path))["image_id"] == "image-3"


def test_no_credential_is_among_the_variables(driver: Made, tmp_path: Path) -> None:
    said = str(driver()._variables(request(tmp_path)))
    assert "PRIVATE" not in said
    assert "password" not in said


def test_a_server_in_error_is_explained_in_novas_words(driver: Made, cloud: FakeCloud) -> None:
    outcome = read((CAPTURES / "apply-no-valid-host.jsonl").read_text().splitlines())
    server = outcome.errors[0].failed_server
    assert server is not None
    cloud.faults[server] = "No valid host was found."
    told = driver()._explained(TerraformFailed("apply: server node2: unexpected state 'ERROR'", outcome, remedy="log"))
    assert told.message.endswith("No valid host was found.")
    assert "run up again" in (told.remedy or "")


def test_evidence_of_a_node_is_state_and_console(driver: Made, cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.there.append(Thing("server", "s1", f"xdc-{ID}-a", f"xdc-testbed={ID}"))
    parts = driver().diagnose(request(tmp_path), "a").parts
    assert parts == {"state": "server s1 ERROR", "console": "login:"}
    assert "no server" in driver().diagnose(request(tmp_path), "b").parts["state"]


def test_down_without_state_removes_what_carries_the_id_and_nothing_else(driver: Made, cloud: FakeCloud) -> None:
    stranger = Thing("server", "s2", "somebody's")
    cloud.there += [Thing("server", "s1", f"xdc-{ID}-a"), Thing("key pair", "k", f"xdc-{ID}"), stranger]
    bed = driver()
    bed.destroy(ID, silent)
    assert (cloud.there, bed.leftovers(ID)) == ([stranger], [])


@dataclass
class FakeRunner:
    """Terraform that makes nothing; what is in the cloud when it applies is kept in `applied`."""

    cloud: FakeCloud
    folder: Path
    late: list[Thing] = field(default_factory=list)
    applied: list[list[Thing]] = field(default_factory=list)

    @property
    def workspace(self) -> Workspace:
        """Without a state."""
        return Workspace(self.folder, ".", self.folder)

    def prepare(self, variables: Mapping[str, Any]) -> None:
        """Nothing to do."""

    def known(self) -> dict[str, str]:
        """One server."""
        return {"server.b": "known"}

    def plan(self) -> Plan:
        """Meanwhile nova ends what a killed apply has ordered."""
        self.cloud.there += self.late
        return Plan((), self.folder / "plan", destroy=False)

    def apply(self, plan: Plan) -> None:
        """Look around."""
        self.applied.append(list(self.cloud.there))


def test_what_a_killed_apply_lost_is_shown_and_gone_before_the_next_one(
    driver: Made, cloud: FakeCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger, known = Thing("server", "s2", "somebody's"), Thing("server", "known", f"xdc-{ID}-b")
    cloud.there += [Thing("network", "n1", f"xdc-{ID}-lan"), stranger, known]
    runner = FakeRunner(cloud, tmp_path, late=[Thing("server", "s1", f"xdc-{ID}-a")])
    bed, wanted = driver(), request(tmp_path)
    monkeypatch.setattr(bed, "_runner", lambda *_: runner)
    shown = [(change.action, change.kind, change.name) for change in bed.plan(wanted) if change.action == "remove"]
    assert shown == [("remove", "lost server", f"xdc-{ID}-a"), ("remove", "lost network", f"xdc-{ID}-lan")]
    bed.create(wanted, silent)
    assert runner.applied == [[stranger, known]]


def test_where_people_come_from_must_be_said(driver: Made, tmp_path: Path) -> None:
    (finding,) = [f for f in driver(admin_cidrs=()).check(request(tmp_path)) if f.what == "admin_cidrs"]
    assert not finding.ok


def test_volumes_need_a_service_for_them(driver: Made, tmp_path: Path) -> None:
    found = driver(nodes={"a": NodeOptions(volumes={"data": 10})}).check(request(tmp_path))
    assert "service block-storage" in {f.what for f in found if not f.ok}


@pytest.mark.parametrize(
    ("wanted", "message", "remedy"),
    [
        ("debian-21", "the cloud has no image 'debian-21'", "near names: debian-12, debian-11"),
        ("twice", "2 things of kind image are called 'twice'", "give an id: 3, 4"),
    ],
)
def test_a_name_that_is_not_there_or_not_clear_is_told_with_the_way_out(wanted: str, message: str, remedy: str) -> None:
    there = [("1", "debian-12"), ("2", "debian-11"), ("3", "twice"), ("4", "twice")]
    with pytest.raises(RequirementMissing, match=message) as caught:
        _only("image", wanted, there)
    assert caught.value.remedy == remedy


def test_a_thing_is_found_by_name_and_by_id() -> None:
    assert _only("image", "debian-12", [("1", "debian-12")]) == "1"
    assert _only("image", "1", [("1", "debian-12")]) == "1"
