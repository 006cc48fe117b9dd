"""Replay what was captured of event streams: the same actions must give the same events in the same order.

Compared: kind, payload and subscription of every event, ids by their steps, and how the stream ends. Left out on both
sides: what listing a directory makes others see, which depends on how many parts of a client and of the service look,
and the second of two equal IN_OPEN in a row, which only some of the captured readers caused.
"""

from __future__ import annotations

import re
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from dcache_captures import FOLDER
from dcache_rig import DcacheUnderTest, emulated, until
from dcache_wire import Wire
from frontend_client import Client, Event, EventStream, read_event
from frontend_replay import FrontendReplay, files
from storage_rig import Authority

DIFFERENCES: dict[str, str] = tomllib.loads(Path(__file__).with_name("differences-frontend.toml").read_text())["sse"]
_X = b"x" * 2000
_PATIENCE = 4.0


def captured(name: str) -> tuple[list[Event], str]:
    """The events of a captured stream without those of listings, and how it ended: chunk, cut, or "" for not."""
    data = (FOLDER / "sse" / f"{name}.sse").read_bytes()
    how = re.search(rb"closed=(\w+)\)", data)
    raw = data.split(b"\r\n\r\n")[2:]
    body = b"\r\n\r\n".join(raw)
    blocks = re.findall(rb"(event: .*?)\n\n", body, re.DOTALL)
    events = [read_event(block.decode()) for block in blocks]
    ended = "cut" if how is not None and how.group(1) == b"EOF" else "chunk" if re.search(rb"\r\n0\r\n", body) else ""
    return _told([event for event in events if not event.noise]), ended


def _told(events: list[Event]) -> list[Event]:
    """The events without repeated openings."""
    pairs = zip([None, *events], events, strict=False)
    return [
        event
        for before, event in pairs
        if before is None or before.payload != event.payload or "IN_OPEN" not in str(event.payload)
    ]


def differences(name: str, stream: EventStream) -> list[str]:
    """Where a stream differs from the captured one."""
    wanted, ending = captured(name)
    try:
        own = _told(stream.until(len(wanted), patience=1.0 if name in DIFFERENCES else _PATIENCE))
    except AssertionError:
        own = _told(stream.seen())
    ids = FrontendReplay({})
    for one, other in zip(wanted, own, strict=False):
        ids.learn(
            str(one.data).replace("'", '"').replace('": "', '":"'),
            str(other.data).replace("'", '"').replace('": "', '":"'),
        )
    theirs = [(event.kind, ids.translated(str(event.payload)), event.number is None) for event in wanted]
    ours = [(event.kind, str(event.payload), event.number is None) for event in own]
    found = [] if theirs == ours else [f"events {ours}\n  instead of {theirs}"]
    numbers = [event.number for event in stream.seen(noise=True) if event.number is not None]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers)) if numbers else []):
        found.append(f"ids {numbers}")
    if ending and stream.end() != ending:
        found.append(f"ended with {stream.ended}, not {ending}")
    return found


def judge(name: str, found: list[str]) -> None:
    """Equal, or listed as different."""
    if name in DIFFERENCES:
        assert found, f"no longer different: remove it from differences-frontend.toml ({DIFFERENCES[name]})"
    else:
        assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def plain(authority: Authority) -> Iterator[DcacheUnderTest]:
    """An emulator with the product's limits."""
    with emulated(authority) as dcache:
        yield dcache


@pytest.fixture(scope="module")
def client(plain: DcacheUnderTest) -> Client:
    """Its first user."""
    return Client(plain, "tester")


@pytest.fixture(scope="module")
def evicting(authority: Authority) -> Iterator[Client]:
    """A client of an emulator whose pool gives up the copies of tape files at once."""
    with emulated(authority, tables={"qos": {"evict_s": 0.0}}) as dcache:
        yield Client(dcache, "tester")


def _mkdir(client: Client, name: str) -> str:
    assert client.act("/data", "mkdir", name=name).code == 201
    return f"/data/{name}"


def _watching(client: Client, path: str, *flags: str) -> tuple[EventStream, str]:
    """A new channel that listens to a path; its stream and the URL of the subscription."""
    channel = client.channel()
    stream = client.stream(channel)
    answer = client.watch(channel, path, *flags)
    assert answer.code == 201, answer
    stream.until(1)
    return stream, answer.header("location")


def _redirected(client: Client, path: str, body: bytes, md5: str = "", *, cut: bool = False) -> None:
    """An upload by way of the pool's port."""
    wire = Wire(client.dcache.ca)
    headers = {"Expect": "100-continue", "Content-Length": str(len(body) * (4 if cut else 1))}
    if md5:
        headers["Content-MD5"] = md5
    answer = wire.ask("PUT", client.dcache.webdav + path, {**client.headers, **headers}, body, late=True)
    assert answer.code == 307, answer
    headers.pop("Expect")
    wire.ask("PUT", answer.header("location"), headers, body, broken=cut)


def test_all_events_of_a_directory_and_every_way_to_come_back(client: Client) -> None:
    path = _mkdir(client, "sse")
    stream, _ = _watching(client, path)
    _redirected(client, f"{path}/up1.bin", _X)
    client.put(f"{path}/up2.bin", _X)
    client.put(f"{path}/zero.bin", b"")
    client.read(f"{path}/up1.bin")
    assert client.webdav("MKCOL", f"{path}/sub").code == 201
    for source, target in (("up1", "up1-renamed"), ("up1-renamed", "sub/up1")):
        headers = {"Destination": f"{client.dcache.webdav}{path}/{target}.bin"}
        assert client.webdav("MOVE", f"{path}/{source}.bin", headers).code == 201
    client.put(f"{path}/up2.bin", _X)
    assert client.webdav("DELETE", f"{path}/up2.bin").code == 204
    assert client.act(f"{path}/zero.bin", "chmod", mode=0o600).code == 201
    assert client.ask("DELETE", f"/namespace{path}/sub/up1.bin").code == 200
    assert client.ask("DELETE", f"/namespace{path}/sub").code == 200
    found = differences("inotify-dir-all", stream)
    last = max(event.number or 0 for event in stream.seen())
    channel = stream.channel
    judge("inotify-dir-all", found)

    stream.close()
    client.put(f"{path}/while-away.bin", _X)
    with client.stream(channel, str(last - 1)) as back:
        judge("reconnect-last-id-minus-3", differences("reconnect-last-id-minus-3", back))
    _nothing(client, channel, "reconnect-no-id", None)
    with client.stream(channel, "999999") as future:
        judge("reconnect-id-future", differences("reconnect-id-future", future))
    _nothing(client, channel, "reconnect-id-notnumber", "abc")
    first = client.stream(channel, "0")
    judge("reconnect-id-0", differences("reconnect-id-0", first))
    second = client.stream(channel)
    judge("competing-first", differences("competing-first", first))
    judge("competing-second", differences("competing-second", second))

    answer = client.watch(channel, "/data")
    second.until(1)
    assert client.ask("DELETE", answer.header("location")).code == 204
    second.until(3)
    selector = {"delay": 0.05, "message": "hi ${username} ${count}", "count": 3}
    assert client.ask("POST", f"{channel}/subscriptions/metronome", selector).code == 201
    second.until(8)
    for name in ("while-away.bin", "zero.bin"):
        assert client.ask("DELETE", f"/namespace{path}/{name}").code == 200
    assert client.ask("DELETE", f"/namespace{path}").code == 200
    second.until(13)
    assert client.ask("DELETE", channel).code == 204
    judge("close-sub-and-delete-channel", differences("close-sub-and-delete-channel", second))


def _nothing(client: Client, channel: str, name: str, last_id: str | None) -> None:
    """A stream that brings nothing old: the first thing on it is what happens afterwards."""
    assert captured(name) == ([], "")
    with client.stream(channel, last_id) as stream:
        metronome = client.ask("POST", f"{channel}/subscriptions/metronome", {"delay": 0.01, "count": 1})
        assert metronome.code == 201
        assert stream.until(1)[0].payload == "NEW_SUBSCRIPTION"
        stream.until(3)


def test_ring_that_is_too_small_loses_all_of_it(authority: Authority) -> None:
    with emulated(authority, tables={"frontend": {"max_backlog": 5}}) as dcache:
        client = Client(dcache, "tester")
        path = _mkdir(client, "loss")
        stream, _ = _watching(client, path)
        client.put(f"{path}/first.bin", _X)
        stream.until(7)
        stream.close()
        for name in ("a", "b", "e"):
            client.put(f"{path}/{name}.bin", _X)
        with client.stream(stream.channel, "5") as back:
            judge("event-loss-small-backlog", differences("event-loss-small-backlog", back))
            client.put(f"{path}/c.bin", _X)
            judge("event-loss-then-live", differences("event-loss-then-live", back))
            assert back.seen()[1].number == 24


@pytest.mark.parametrize(("name", "last_id"), [("noid", None), ("idminus1", "-1"), ("id0", "0")])
def test_what_happened_before_the_first_connection(name: str, last_id: str | None, client: Client) -> None:
    path = _mkdir(client, f"before-{name}")
    channel = client.channel()
    assert client.watch(channel, path).code == 201
    client.put(f"{path}/e2.bin", _X)
    if last_id is None:
        _nothing(client, channel, "subscribe-before-connect-noid", None)
        return
    with client.stream(channel, last_id) as stream:
        capture = f"subscribe-before-connect-{name}"
        judge(capture, differences(capture, stream))


def test_flags_choose_events_and_a_second_choice_replaces_the_first(client: Client) -> None:
    path = _mkdir(client, "flags")
    stream, location = _watching(client, path, "IN_CLOSE_WRITE", "IN_MOVED_TO")
    client.put(f"{path}/f.bin", _X)
    stream.until(2)
    for flags, name in ((["IN_CREATE"], "g"), (["IN_CLOSE_WRITE", "IN_MASK_ADD"], "h")):
        again = client.watch(stream.channel, path, *flags)
        assert (again.code, again.header("location")) == (303, location)
        client.put(f"{path}/{name}.bin", _X)
    assert client.json("GET", location) == {"path": path, "flags": ["IN_CLOSE_WRITE", "IN_CREATE"]}
    stream.until(4)
    assert client.watch(stream.channel, path, "IN_CREATE", "IN_ONESHOT").code == 303
    client.put(f"{path}/i.bin", _X)
    client.put(f"{path}/j.bin", _X)
    judge("flags-filter-merge-maskadd-oneshot", differences("flags-filter-merge-maskadd-oneshot", stream))


def test_uploads_that_fail_are_closed_as_well(client: Client) -> None:
    path = _mkdir(client, "failed")
    stream, _ = _watching(client, path)
    _redirected(client, f"{path}/badsum.bin", _X, md5="1B2M2Y8AsgTpgAmY7PhCfg==")
    _redirected(client, f"{path}/cut.bin", _X, cut=True)
    until(lambda: any(e.payload == {"name": "cut.bin", "mask": ["IN_CLOSE_WRITE"]} for e in stream.seen()), "no close")
    headers = {**client.headers, "Content-Length": "90000"}
    Wire(client.dcache.ca).ask("PUT", f"{client.dcache.webdav}{path}/cut2.bin", headers, _X, broken=True)
    until(lambda: any(e.payload == {"name": "cut2.bin", "mask": ["IN_DELETE"]} for e in stream.seen()), "no removal")
    judge("failed-uploads", differences("failed-uploads", stream))


def test_watched_file_tells_of_itself(client: Client) -> None:
    path = _mkdir(client, "one")
    client.put(f"{path}/w.bin", _X)
    stream, _ = _watching(client, f"{path}/w.bin")
    client.read(f"{path}/w.bin")
    assert client.act(f"{path}/w.bin", "mv", destination=f"{path}/w2.bin").code == 201
    assert client.ask("DELETE", f"/namespace{path}/w2.bin").code == 200
    judge("watch-file", differences("watch-file", stream))


@pytest.mark.parametrize("name", ["idle-420s", "ftp-upload-rename-delete"])
def test_upload_rename_and_removal_are_told_alike_by_every_door(name: str, client: Client) -> None:
    path = _mkdir(client, f"other-{name}")
    stream, _ = _watching(client, path)
    first = "after.bin" if name == "idle-420s" else "ftp.bin"
    client.put(f"{path}/{first}", _X)
    if name != "idle-420s":
        headers = {"Destination": f"{client.dcache.webdav}{path}/ftp2.bin"}
        assert client.webdav("MOVE", f"{path}/ftp.bin", headers).code == 201
        assert client.webdav("DELETE", f"{path}/ftp2.bin").code == 204
    judge(name, differences(name, stream))


def test_changes_of_class_are_attributes(client: Client) -> None:
    _mkdir(client, "dir1")
    for name in ("qos1", "qos2", "e1", "e2"):
        client.put(f"/data/{name}.bin", _X)
    channel = client.channel()
    stream = client.stream(channel)
    for path in ("/data", "/tape"):
        assert client.watch(channel, path).code == 201
    for name, target, final in (
        ("qos1.bin", "disk+tape", "disk+tape"),
        ("qos1.bin", "tape", "tape"),
        ("qos1.bin", "disk+tape", "disk+tape"),
        ("qos2.bin", "tape", "tape"),
        ("e2.bin", "volatile", "volatile"),
        ("e1.bin", "bogus", "volatile"),
        ("dir1", "tape", "tape"),
    ):
        assert client.act(f"/data/{name}", "qos", target=target).code == 201
        until(lambda: client.names(f"/data/{name}", qos="true")["currentQos"] == final, f"{name} is not {final}")  # noqa: B023
    judge("qos-transitions", differences("qos-transitions", stream))


def _purged(client: Client, name: str) -> str:
    path = f"/tape/{name}"
    client.put(path, _X)
    until(lambda: client.names(path, locality="true")["fileLocality"] == "NEARLINE", f"{path} was not purged")
    return path


def test_staging_is_three_attributes(evicting: Client) -> None:
    path = _purged(evicting, "qos3.bin")
    stream, _ = _watching(evicting, "/tape")
    answer = evicting.ask("POST", "/tape/stage", {"files": [{"path": path, "diskLifetime": "PT1H"}]})
    assert answer.code == 201
    judge("stage", differences("stage", stream))
    assert evicting.ask("DELETE", f"/namespace{path}").code == 200


def test_reading_from_tape_stages_first(evicting: Client) -> None:
    path = _purged(evicting, "qos3.bin")
    assert evicting.act(path, "pin", lifetime=60).code == 201
    until(lambda: evicting.names(path, locality="true")["fileLocality"] == "ONLINE_AND_NEARLINE", "not staged")
    assert evicting.act(path, "unpin").code == 201
    until(lambda: evicting.names(path, locality="true")["fileLocality"] == "NEARLINE", "not purged again")
    stream, _ = _watching(evicting, "/tape")
    assert evicting.read(path) == _X
    judge("read-restore", differences("read-restore", stream))


def test_server_that_stops_says_so_and_forgets_its_channels(plain: DcacheUnderTest, client: Client) -> None:
    stream, _ = _watching(client, "/data")
    assert plain.emulator is not None
    plain.emulator.stop(signal.SIGTERM)
    judge("frontend-shutdown", differences("frontend-shutdown", stream))
    plain.emulator.start()
    replay = FrontendReplay({"localhost:3880": plain})
    replay.run("sse", "channel-after-restart")
    assert replay.differences["channel-after-restart"] == []


def test_every_captured_stream_is_replayed() -> None:
    text = Path(__file__).read_text()
    names = files("sse", "sse") | files("sse")
    prefix = "subscribe-before-connect-"
    missing = {name for name in names if f'"{name}"' not in text and not name.startswith(prefix)}
    assert missing == set()
    assert set(DIFFERENCES) <= names
