"""Whose is what in a cloud: exact ownership, orphans of an interrupted apply, and a sweep that ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from xdc_testbed.drivers import ownership
from xdc_testbed.drivers.base import Seen
from xdc_testbed.drivers.ownership import Thing, expired, orphans, owned, sweep
from xdc_testbed.errors import XdcError
from xdc_testbed.progress import Event, silent

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
SAYS_A = f"xdc-testbed={A} expires=20261201T000000Z"


@dataclass
class FakeProject:
    """Things in memory. holds: id -> ids that must go first; slow: servers that go a round later; stuck: never go."""

    there: list[Thing]
    holds: dict[str, set[str]] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def things(self) -> list[Thing]:
        """What there is; what was slow goes now."""
        return list(self.there)

    def remove(self, thing: Thing) -> None:
        """Remove it, or refuse as a cloud does."""
        self.asked.append(thing.id)
        if self.holds.get(thing.id, set()) & {one.id for one in self.there}:
            raise XdcError(f"{thing.id} is in use")
        if thing.id in self.slow:
            self.slow.discard(thing.id)
        elif thing.id not in self.stuck:
            self.there = [one for one in self.there if one.id != thing.id]


@pytest.mark.parametrize(
    "thing",
    [
        Thing("router", "1", "anything", description=SAYS_A),
        Thing("port", "1", tags=("other", f"xdc-testbed={A}")),
        Thing("server", "1", metadata={"xdc_testbed": A}),
        Thing("key pair", "1", f"xdc-{A}"),
        Thing("server group", "1", f"xdc-{A}-desy"),
    ],
)
def test_each_mark_alone_says_whose_a_thing_is(thing: Thing) -> None:
    assert thing.owner == A
    assert owned([thing], B) == []


@pytest.mark.parametrize(
    "thing",
    [
        Thing("network", "1", "xdc"),
        Thing("network", "1", "my-xdc-aaaaaaaaaa"),
        Thing("network", "1", "xdc-aaaa"),
        Thing("network", "1", "default", description=f"not xdc-testbed={A}"),
        Thing("network", "1", "prod", description="xdc-testbed"),
        Thing("floating address", "1", "203.0.113.9"),
        Thing("port", "1", inside=("net", "")),
    ],
)
def test_what_carries_no_mark_is_nobodys(thing: Thing) -> None:
    assert thing.owner is None
    assert owned([thing], A) == []


def test_an_id_is_matched_whole_never_as_a_prefix() -> None:
    longer = Thing("network", "1", f"xdc-{A}0", description=f"xdc-testbed={A}0")
    assert owned([longer], A) == []


def test_parts_of_what_is_ours_are_ours_and_strangers_inside_it_are_not() -> None:
    network = Thing("network", "n", description=SAYS_A)
    router, group = Thing("router", "r", description=SAYS_A), Thing("security group", "g", description=SAYS_A)
    parts = [Thing("router interface", "i", inside=("r", "n")), Thing("security group rule", "x", inside=("g",))]
    strangers = [
        Thing("port", "p", "vm of somebody", inside=("n", "")),
        Thing("security group rule", "y", inside=("h",)),
    ]
    found = owned([network, router, group, *parts, *strangers], A)
    assert [thing.id for thing in found] == ["i", "r", "n", "x", "g"]


def test_orphans_are_what_is_ours_and_in_no_state() -> None:
    things = [Thing("server", str(n), description=SAYS_A) for n in range(3)]
    assert [thing.id for thing in orphans(things, {"0", "2", "unknown"})] == ["1"]


def test_a_testbed_is_expired_only_when_all_that_it_says_is_over() -> None:
    things = [
        Thing("network", "1", description=SAYS_A),
        Thing("server", "2", tags=(f"xdc-testbed={B}", "xdc-name=b", "xdc-origin=0f", "xdc-expires=20261201T000000Z")),
        Thing("volume", "3", metadata={"xdc_testbed": B, "xdc_expires": "20270101T000000Z"}),
        Thing("key pair", "4", "xdc-cccccccccc"),
    ]
    assert expired(things, datetime(2026, 12, 2, tzinfo=UTC)) == [A]
    assert expired(things, datetime(2026, 11, 30, tzinfo=UTC)) == []
    assert ownership.testbeds(things) == {A: Seen(), B: Seen("b", "0f"), "cccccccccc": Seen()}


def test_a_sweep_waits_for_servers_and_goes_on_until_nothing_is_left() -> None:
    things = [
        Thing("network", "n", description=SAYS_A),
        Thing("port", "p", description=SAYS_A),
        Thing("volume", "v", metadata={"xdc_testbed": A}),
        Thing("server", "s", description=SAYS_A),
        Thing("network", "other", description=f"xdc-testbed={B}"),
    ]
    project = FakeProject(things, holds={"n": {"p"}, "p": {"s"}, "v": {"s"}}, slow={"s"})
    said: list[Event] = []
    assert sweep(project, lambda: owned(project.things(), A), said.append, pause=0) == {}
    assert [thing.id for thing in project.there] == ["other"]
    assert project.asked[0] == "s"
    assert len([event for event in said if "network" in event.text]) == 1


def test_what_cannot_go_is_told_with_the_clouds_reason() -> None:
    network, stranger = Thing("network", "n", description=SAYS_A), Thing("port", "p", "somebody's")
    project = FakeProject([network, stranger], holds={"n": {"p"}})
    assert sweep(project, lambda: owned(project.things(), A), silent, pause=0) == {network: "n is in use"}
    assert stranger in project.there
    assert "p" not in project.asked


def test_a_server_that_never_goes_does_not_keep_the_rest() -> None:
    server, volume = Thing("server", "s", description=SAYS_A), Thing("volume", "v", metadata={"xdc_testbed": A})
    project = FakeProject([server, volume], stuck={"s"})
    assert list(sweep(project, lambda: owned(project.things(), A), silent, pause=0)) == [server]
