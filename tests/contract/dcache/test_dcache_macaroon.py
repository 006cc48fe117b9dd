"""Macaroons: what their caveats leave, also those that a holder has added."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dcache_door import Door, bearer
from dcache_rig import DcacheUnderTest
from dcache_wire import Answer
from pymacaroons import Macaroon


def _request(door: Door, name: str = "", **wish: object) -> Answer:
    headers = {"Content-Type": "application/macaroon-request"}
    return door.ask("POST", name, headers, json.dumps(wish).encode())


def _holder(door: Door, name: str = "", **wish: object) -> Door:
    """The door as one who holds nothing but a macaroon."""
    answer = _request(door, name, **wish)
    assert answer.code == 200, answer
    return replace(door, headers=bearer(json.loads(answer.body)["macaroon"]))


def _weaker(holder: Door, caveat: str) -> Door:
    """The same with a caveat that the holder adds himself."""
    macaroon = Macaroon.deserialize(holder.headers["Authorization"].split(" ")[1])
    macaroon.add_first_party_caveat(caveat)
    return replace(holder, headers=bearer(macaroon.serialize()))


def test_it_lets_do_what_its_activities_name(door: Door) -> None:
    door.put("file", b"hello")
    reader = _holder(door, caveats=["activity:DOWNLOAD,LIST"], validity="PT5M")
    assert reader.get("file").body == b"hello"
    assert reader.ask("PUT", "new", None, b"x").code == 403
    assert reader.ask("DELETE", "file").code == 403
    writer = _holder(door, caveats=["activity:UPLOAD,MANAGE"], validity="PT5M")
    writer.put("new", b"x")
    assert writer.ask("GET", "new").code == 403


def test_without_an_activity_it_lets_do_all_that_its_giver_may(door: Door) -> None:
    holder = _holder(door)
    holder.put("file", b"hello")
    assert holder.get("file").body == b"hello"
    assert holder.ask("DELETE", "file").code == 204


def test_it_counts_below_the_path_of_its_url_only(door: Door) -> None:
    door.put("in/file", b"in")
    door.put("out", b"out")
    holder = _holder(door, "in", caveats=["activity:DOWNLOAD"])
    assert holder.get("in/file").body == b"in"
    assert holder.ask("GET", "out").code == 403


def test_a_path_caveat_is_relative_to_the_url(door: Door) -> None:
    door.put("in/deep/file", b"deep")
    door.put("in/file", b"in")
    holder = _holder(door, "in", caveats=["path:/deep"])
    assert holder.get("in/deep/file").body == b"deep"
    assert holder.ask("GET", "in/file").code == 403


def test_a_holder_can_make_it_weaker_and_not_stronger(door: Door) -> None:
    door.put("file", b"hello")
    holder = _weaker(_holder(door, caveats=["activity:DOWNLOAD,UPLOAD"]), "activity:DOWNLOAD,DELETE")
    assert holder.get("file").body == b"hello"
    assert holder.ask("PUT", "new", None, b"x").code == 403
    assert holder.ask("DELETE", "file").code == 403


@pytest.mark.parametrize("caveat", ["before:2020-01-01T00:00:00Z", "ip:192.0.2.0/24", "nonsense:1"])
def test_a_caveat_that_is_not_met_refuses_the_login(door: Door, caveat: str) -> None:
    door.put("file", b"hello")
    assert _weaker(_holder(door), caveat).ask("GET", "file").status == "401 login failed"


def test_one_that_was_changed_is_refused(door: Door) -> None:
    holder = _holder(door)
    token = holder.headers["Authorization"].removeprefix("Bearer ")
    changed = token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]
    assert replace(holder, headers=bearer(changed)).ask("GET", "file").status == "401 login failed"


def test_it_ends_when_it_said_it_would(door: Door) -> None:
    holder = _holder(door, validity="PT1H")
    caveats = [str(each.caveat_id) for each in _read(holder).first_party_caveats()]
    assert [caveat.split(":")[0] for caveat in caveats] == ["iid", "id", "before", "path"]
    assert _read(holder).location == f"Optional[{door.folder}]"


def test_it_is_taken_in_the_url_too(door: Door) -> None:
    door.put("file", b"hello")
    token = _holder(door).headers["Authorization"].removeprefix("Bearer ")
    assert door.wire.ask("HEAD", f"{door.at('file')}?authz={token}").code == 200


@pytest.mark.needs("unencrypted door")
def test_it_is_neither_given_nor_taken_without_encryption(door: Door, dcache: DcacheUnderTest) -> None:
    plain = replace(door, url=str(dcache.plain))
    assert _request(plain).status == "400 Not secure transport"
    holder = replace(_holder(door), url=str(dcache.plain))
    assert holder.ask("GET", "file").status == "401 not allowed to send bearer token unencrypted"


def _read(holder: Door) -> Macaroon:
    return Macaroon.deserialize(holder.headers["Authorization"].split(" ")[1])
