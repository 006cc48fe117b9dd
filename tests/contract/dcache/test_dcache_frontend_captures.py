"""Replay what was captured from the REST interface of the real product against the emulator."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dcache_captures import FOLDER
from dcache_rig import emulated, until
from dcache_wire import Wire
from frontend_client import Client
from frontend_replay import FrontendReplay, files
from storage_rig import Authority

DIFFERENCES: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("differences-frontend.toml").read_text()
)

_ORDER = tomllib.loads(Path(__file__).with_name("order-frontend.toml").read_text())
_HTTP_ORDER: list[str] = _ORDER["http"]
_QOS_ORDER: list[str] = _ORDER["qos"]
_BULK_ORDER: list[str] = _ORDER["bulk"]
_TAPE_ORDER: list[str] = _ORDER["tape"]
_CHANGES_OF_CLASS = ("disk-to-disktape", "disktape-to-tape", "tape-to-disktape", "disk-to-tape", "tape-to-disk",
                     "to-volatile", "to-nonsense", "pin", "unpin", "pin-badunit")  # fmt: skip
_SMALL = {"frontend": {"channels_per_user": 2, "max_backlog": 5, "anonymous": "READONLY"}}


@contextmanager
def replaying(authority: Authority, **tables: Any) -> Iterator[FrontendReplay]:
    """The instance that answers for `localhost:3880`."""
    with emulated(authority, tables=tables) as dcache:
        yield FrontendReplay({"localhost:3880": dcache})


def _client(replay: FrontendReplay) -> Client:
    return Client(replay.frontends["localhost:3880"], "tester")


def _flushed(client: Client, path: str) -> None:
    until(lambda: "NEARLINE" in client.names(path, locality="true")["fileLocality"], f"{path} was not written to tape")


@pytest.fixture(scope="module")
def http(authority: Authority) -> Iterator[FrontendReplay]:
    """The captures of folder http, replayed in the order in which they were made."""
    with replaying(authority) as replay, emulated(authority, tables=_SMALL) as small:
        replay.frontends["localhost:3881"] = small
        client = _client(replay)
        for path in ("/data/e1.bin", "/data/rd.bin"):
            client.put(path)
        client.put("/data/mvme.bin", b"0123456789")
        for name in _HTTP_ORDER:
            replay.run("http", name, certificate=name == "user-x509")
        yield replay


@pytest.fixture(scope="module")
def qos(authority: Authority) -> Iterator[FrontendReplay]:
    """The captures of folder qos, with the files that were there."""
    with replaying(authority) as replay:
        client = _client(replay)
        _make_listed_files(client)
        client.put("/tape/qos3.bin", b"q" * 100_000)
        client.put("/public/dc1.bin")
        assert client.act("/public/dc1.bin", "chmod", mode=0o644).code == 201
        admin = Client(client.dcache, "admin", "admin")
        assert admin.act("/public/dc1.bin", "chgrp", gid=0).code == 201
        _flushed(client, "/tape/qos3.bin")
        _give_away(client)
        for name in _QOS_ORDER:
            replay.run("qos", name)
            if name in _CHANGES_OF_CLASS:
                _follow_class(replay, name)
        yield replay


def _give_away(client: Client) -> None:
    """A file of somebody else at the path whose owner the captures do not name."""
    assert client.ask("DELETE", "/namespace/public/dc1.bin").code == 200
    Client(client.dcache, "admin").put("/public/dc1.bin")


def _make_listed_files(client: Client) -> None:
    """What lay in /data when its listing was captured."""
    for name in ("dir1", "loss"):
        assert client.act("/data", "mkdir", name=name).code == 201
    sizes = {"abort": 50_000, "e1": 200_000, "e2": 200_000, "p2p": 200_000, "zero": 0}
    for name, size in sizes.items():
        client.put(f"/data/{name}.bin", b"x" * size)
    client.put("/data/e3.bin", b"abc")
    client.put("/data/hello.txt", b"hello\n")
    for name in ("qos1", "qos2"):
        client.put(f"/data/{name}.bin", b"q" * 100_000)
    wire = Wire(client.dcache.ca)
    wrong = {**client.headers, "Expect": "100-continue", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    for name, headers in (("e4", wrong), ("norun", {**client.headers, "Expect": "100-continue"})):
        url = f"{client.dcache.webdav}/data/{name}.bin"
        answer = wire.ask("PUT", url, {**headers, "Content-Length": "3"}, b"abc", late=True)
        assert answer.code == 307, answer
        if name == "e4":
            wire.ask("PUT", answer.header("location"), {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, b"abc")


def _follow_class(replay: FrontendReplay, name: str) -> None:
    """Compare the states that a file goes through with those that were seen, and note the differences."""
    timeline = [state for _, state in json.loads((FOLDER / "qos" / f"{name}.timeline.json").read_text())]
    captured = (FOLDER / "qos" / f"{name}.http").read_text()
    path = captured.split(" /api/v1/namespace", 1)[1].split(" ", 1)[0]
    client, wanted, seen = _client(replay), json.loads(replay.translated(json.dumps(timeline))), []

    def state() -> bool:
        found = client.names(path, qos="true", locality="true", locations="true", optional="true")
        now = {key: found.get(key) for key in wanted[0]}
        if not seen or seen[-1] != now:
            seen.append(now)
        return now == wanted[-1]

    try:
        until(state, f"{path} did not come to its last state", patience=4.0)
    except AssertionError as error:
        replay.differences[name].append(str(error))
    if seen != wanted:
        replay.differences[name].append(f"states {seen}\n  instead of {wanted}")


@pytest.fixture(scope="module")
def bulk(authority: Authority) -> Iterator[FrontendReplay]:
    """The captures of folder bulk."""
    with replaying(authority) as replay:
        client = _client(replay)
        for number in (1, 2, 3, 4):
            client.put(f"/data/bulk{number}.bin")
        client.put("/tape/qos3.bin")
        assert client.act("/data", "mkdir", name="dir1").code == 201
        client.put("/data/dir1/w2moved.bin")
        for name in _BULK_ORDER:
            if name == "delete-request":
                uid = replay.ids["a7965495-8d02-4175-92b1-08cae71c0d0b"]
                assert client.ask("DELETE", f"/bulk-requests/{uid}").code == 204
                continue
            replay.run("bulk", name, patient="status" in name or name == "list")
        yield replay


@pytest.fixture(scope="module")
def tape(authority: Authority) -> Iterator[FrontendReplay]:
    """The captures of folder tape, with a pool that gives up its copy of a tape file soon."""
    with replaying(authority, qos={"evict_s": 0.0}) as replay:
        client = _client(replay)
        client.put("/tape/qos3.bin", b"q" * 100_000)
        client.put("/data/qos1.bin", b"q" * 100_000)
        assert client.act("/data/qos1.bin", "qos", target="disk+tape").code == 201
        _flushed(client, "/data/qos1.bin")
        until(lambda: client.names("/tape/qos3.bin", locality="true")["fileLocality"] == "NEARLINE", "no purge")
        for name in _TAPE_ORDER:
            replay.run("tape", name, patient=name == "stage-status-1")
        yield replay


@pytest.fixture(scope="module")
def ratelimit(authority: Authority) -> Iterator[FrontendReplay]:
    """The captures of folder ratelimit."""
    with emulated(authority, tables={"frontend": {"errors_allowed": 3}}) as dcache:
        replay = FrontendReplay({"localhost:3881": dcache})
        names = [*(f"frontend-bad-{number}" for number in range(1, 7)), "frontend-good-after"]
        for name in names:
            replay.run("ratelimit", name)
        yield replay


def _judge(replay: FrontendReplay, folder: str, name: str) -> None:
    found, reason = replay.differences[name], DIFFERENCES.get(folder, {}).get(name)
    if reason is None:
        assert not found, "\n".join(found)
    else:
        assert found, f"no longer different: remove it from differences-frontend.toml ({reason})"


@pytest.mark.parametrize("name", _HTTP_ORDER)
def test_events_and_names_are_answered_as_the_product_did(name: str, http: FrontendReplay) -> None:
    _judge(http, "http", name)


@pytest.mark.parametrize("name", _QOS_ORDER)
def test_storage_classes_are_answered_as_the_product_did(name: str, qos: FrontendReplay) -> None:
    _judge(qos, "qos", name)


@pytest.mark.parametrize("name", [name for name in _BULK_ORDER if name != "delete-request"])
def test_bulk_requests_are_answered_as_the_product_did(name: str, bulk: FrontendReplay) -> None:
    _judge(bulk, "bulk", name)


@pytest.mark.parametrize("name", _TAPE_ORDER)
def test_tape_is_answered_as_the_product_did(name: str, tape: FrontendReplay) -> None:
    _judge(tape, "tape", name)


@pytest.mark.parametrize("name", sorted(files("ratelimit")))
def test_wrong_logins_are_answered_as_the_product_did(name: str, ratelimit: FrontendReplay) -> None:
    _judge(ratelimit, "ratelimit", name)


def test_every_capture_of_the_frontend_is_replayed_or_listed() -> None:
    listed = DIFFERENCES["not-replayed"]
    replayed = {"http": _HTTP_ORDER, "qos": _QOS_ORDER, "bulk": _BULK_ORDER, "tape": _TAPE_ORDER}
    for folder, names in replayed.items():
        there = files(folder)
        assert there - {name for name in listed if name in there} == set(names) - {"delete-request"}, folder
        assert set(DIFFERENCES.get(folder, {})) <= there
    timelines = {path.name.removesuffix(".timeline.json") for path in (FOLDER / "qos").glob("*.json")}
    assert timelines == set(_CHANGES_OF_CLASS)
