"""What a client of the WLCG tape interface relies on, against an emulator whose pool keeps no copies of tape files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from dcache_rig import DcacheUnderTest, emulated, until
from dcache_wire import Wire
from frontend_client import Client
from storage_rig import Authority


@pytest.fixture(scope="module")
def evicting(authority: Authority) -> Iterator[Client]:
    """A client of that emulator."""
    with emulated(authority, tables={"qos": {"evict_s": 0.0}}) as dcache:
        yield Client(dcache, "tester")


def _archived(client: Client, name: str) -> str:
    path = f"/tape/{name}"
    client.put(path)
    until(lambda: _locality(client, path) == "TAPE", f"{path} is not on tape only")
    return path


def _locality(client: Client, path: str) -> str:
    found = client.json("POST", "/tape/archiveinfo", {"paths": [path]})
    return str(found[0]["locality"])


def _status(client: Client, request: str) -> dict[str, Any]:
    found: dict[str, Any] = client.json("GET", f"/tape/stage/{request}")
    return found


def test_staged_file_stays_on_disk_until_it_is_released(evicting: Client) -> None:
    path = _archived(evicting, "a.h5")
    files = [{"path": path, "diskLifetime": "PT1H"}]
    request = evicting.json("POST", "/tape/stage", {"files": files})["requestId"]
    until(lambda: _status(evicting, request)["files"][0]["state"] == "COMPLETED", "it was not staged")
    assert _locality(evicting, path) == "DISK_AND_TAPE"
    assert evicting.ask("POST", f"/tape/release/{request}", {"paths": [path]}).code == 200
    until(lambda: _locality(evicting, path) == "TAPE", "it was not released")


def test_disk_lifetime_ends_by_itself(evicting: Client) -> None:
    path = _archived(evicting, "b.h5")
    files = [{"path": path, "diskLifetime": "PT2S"}]
    request = evicting.json("POST", "/tape/stage", {"files": files})["requestId"]
    until(lambda: "completedAt" in _status(evicting, request), "it did not end")
    until(lambda: _locality(evicting, path) == "TAPE", "it stayed on disk")


def test_request_names_what_failed(evicting: Client) -> None:
    path = _archived(evicting, "c.h5")
    request = evicting.json("POST", "/tape/stage", {"files": [{"path": path}, {"path": "/tape/none.h5"}]})["requestId"]
    until(lambda: "completedAt" in _status(evicting, request), "it did not end")
    states = {file["path"]: file["state"] for file in _status(evicting, request)["files"]}
    assert states == {path: "COMPLETED", "/tape/none.h5": "FAILED"}


def test_others_may_not_stage(evicting: Client) -> None:
    path = _archived(evicting, "d.h5")
    assert evicting.act(path, "chmod", mode=0o600).code == 201
    other = Client(evicting.dcache, "other")
    request = other.json("POST", "/tape/stage", {"files": [{"path": path}]})["requestId"]
    until(lambda: "completedAt" in _status(other, request), "it did not end")
    assert _status(other, request)["files"][0]["state"] == "FAILED"
    assert _locality(evicting, path) == "TAPE"


def test_tape_keeps_nothing_of_a_removed_file(evicting: Client) -> None:
    path = _archived(evicting, "e.h5")
    assert evicting.dcache.root is not None
    copy = evicting.dcache.root / "tape" / str(evicting.names(path)["pnfsId"])
    assert copy.stat().st_size == 1000
    assert evicting.ask("DELETE", f"/namespace{path}").code == 200
    until(lambda: not copy.exists(), "the tape keeps the file")


def test_file_on_tape_is_read_and_both_ways_are_billed(evicting: Client) -> None:
    path = _archived(evicting, "f.h5")
    assert evicting.read(path) == b"x" * 1000
    assert evicting.dcache.emulator is not None
    pnfsid = evicting.names(path)["pnfsId"]
    records = [record for record in evicting.dcache.emulator.billing() if record.get("pnfsid") == pnfsid]
    moved = [record for record in records if record["msgType"] in ("store", "restore")]
    assert [(record["msgType"], record["billingPath"], record["fileSize"]) for record in moved] == [
        ("store", path, 1000),
        ("restore", "Unknown", 1000),
    ]


@pytest.mark.needs("frontend")
def test_interface_is_found_without_a_login(dcache: DcacheUnderTest) -> None:
    answer = Wire(dcache.ca).ask("GET", f"{dcache.frontend}/.well-known/wlcg-tape-rest-api")
    assert answer.code == 200
    assert b'"version": "v1"' in answer.body


@pytest.fixture
def mortal(authority: Authority) -> Iterator[Client]:
    """A client of an emulator of the test's own, in which staging takes a moment."""
    with emulated(authority, tables={"qos": {"evict_s": 0.0, "stage_s": 1.5}}) as dcache:
        yield Client(dcache, "tester")


def _kill(client: Client) -> None:
    assert client.dcache.restart is not None
    client.dcache.restart(signal.SIGKILL)


def test_staging_goes_on_after_kill_9_and_the_file_stays_until_it_is_released(mortal: Client) -> None:
    path = _archived(mortal, "a.h5")
    files = [{"path": path, "diskLifetime": "PT1H"}, {"path": "/tape/none.h5"}]
    request = mortal.json("POST", "/tape/stage", {"files": files})["requestId"]
    until(lambda: _states(mortal, request) == ["STARTED", "FAILED"], "it does not run")
    before = _status(mortal, request)
    _kill(mortal)
    after = _status(mortal, request)
    assert (after["createdAt"], after["files"][1]) == (before["createdAt"], before["files"][1])
    until(lambda: _states(mortal, request) == ["COMPLETED", "FAILED"], "it was not staged")
    ended = _status(mortal, request)
    _kill(mortal)
    assert _status(mortal, request) == ended
    _archived(mortal, "b.h5")  # what has no pin has gone from disk by then
    assert _locality(mortal, path) == "DISK_AND_TAPE"
    assert mortal.ask("POST", f"/tape/release/{request}", {"paths": [path]}).code == 200
    until(lambda: _locality(mortal, path) == "TAPE", "it was not released")


def test_a_pin_ends_when_its_time_is_over_also_after_kill_9(mortal: Client) -> None:
    path = _archived(mortal, "c.h5")
    files = [{"path": path, "diskLifetime": "PT4S"}]
    request = mortal.json("POST", "/tape/stage", {"files": files})["requestId"]
    until(lambda: _states(mortal, request) == ["COMPLETED"], "it was not staged")
    _kill(mortal)
    until(lambda: _locality(mortal, path) == "TAPE", "it stayed on disk")


def test_others_learn_nothing_of_a_request_after_a_restart_either(mortal: Client) -> None:
    path = _archived(mortal, "d.h5")
    request = mortal.json("POST", "/tape/stage", {"files": [{"path": path}]})["requestId"]
    _kill(mortal)
    assert Client(mortal.dcache, "other").ask("GET", f"/tape/stage/{request}").code == 403
    assert mortal.ask("DELETE", f"/tape/stage/{request}").code == 200
    _kill(mortal)
    assert mortal.ask("GET", f"/tape/stage/{request}").code == 404


def _states(client: Client, request: str) -> list[str]:
    return [file["state"] for file in _status(client, request)["files"]]
