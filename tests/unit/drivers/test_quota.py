"""Is there room in the project: one table, before anything is made."""

from __future__ import annotations

from xdc_testbed.drivers.quota import Limit, findings


def short(need: dict[str, int], have: dict[str, int], limits: dict[str, Limit]) -> dict[str, tuple[str, str]]:
    """What is short: found and needed."""
    return {f.what: (f.found, f.needed) for f in findings(need, have, limits) if not f.ok}


def test_a_quota_that_is_short_by_one_port_is_found() -> None:
    assert short({"ports": 8}, {}, {"ports": Limit(10, 3)}) == {"quota: ports": ("7 of 10 free", "8")}
    assert short({"ports": 7}, {}, {"ports": Limit(10, 3)}) == {}


def test_what_is_there_already_is_not_needed_twice() -> None:
    assert short({"instances": 6}, {"instances": 4}, {"instances": Limit(6, 4)}) == {}
    (row,) = findings({"instances": 6}, {"instances": 4}, {"instances": Limit(6, 4)})
    assert row.needed == "2 more than the 4 there are"


def test_no_limit_is_room_for_everything() -> None:
    assert short({"cores": 9999}, {}, {"cores": Limit(-1, 5)}) == {}


def test_members_of_a_server_group_are_counted_per_group() -> None:
    (row,) = findings({"server_group_members": 20}, {}, {"server_group_members": Limit(10, 0)})
    assert not row.ok
    assert "openstack.spread = false" in row.remedy


def test_a_quota_that_the_cloud_does_not_tell_and_what_is_not_needed_are_no_lines() -> None:
    assert findings({"volumes": 2, "ports": 0}, {}, {"ports": Limit(1, 1)}) == []


def test_a_project_over_its_quota_has_nothing_free() -> None:
    assert Limit(3, 4).free == 0
