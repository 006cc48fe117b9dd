"""What a client of the events API relies on, against the emulator or a real dCache."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from dcache_rig import DcacheUnderTest, until
from dcache_wire import Wire
from frontend_client import Client, EventStream

from xdc_testbed.emulators.dcache.changes import Change, Changes
from xdc_testbed.emulators.dcache.config import Frontend
from xdc_testbed.emulators.dcache.entries import Entry
from xdc_testbed.emulators.dcache.frontend.channels import WATCH_QUEUE, Registrar
from xdc_testbed.emulators.dcache.frontend.selectors import Inotify
from xdc_testbed.emulators.dcache.frontend.watches import Watches
from xdc_testbed.emulators.dcache.subject import Subject

pytestmark = pytest.mark.needs("frontend")


@pytest.fixture
def client(dcache: DcacheUnderTest) -> Client:
    """The user who owns the directory of the cases."""
    return Client.of(dcache)


@pytest.fixture
def folder(client: Client) -> Iterator[str]:
    """A directory of the case's own."""
    name = f"events-{secrets.token_hex(6)}"
    assert client.act(client.dcache.directory, "mkdir", name=name).code == 201
    path = f"{client.dcache.directory}/{name}"
    yield path
    client.webdav("DELETE", path)


@pytest.fixture
def channel(client: Client) -> Iterator[str]:
    """A channel, deleted afterwards."""
    url = client.channel()
    yield url
    client.ask("DELETE", url)


def masks(stream: EventStream) -> list[str]:
    """The first mask of every inotify event so far."""
    return [event.payload["mask"][0] for event in stream.seen() if event.kind == "inotify"]


def test_written_file_is_closed_exactly_once(client: Client, folder: str, channel: str) -> None:
    with client.stream(channel) as stream:
        assert client.watch(channel, folder, "IN_CLOSE_WRITE").code == 201
        for number in range(5):
            client.put(f"{folder}/{quote(f'file {number} ü#%.h5')}")
        stream.until(6)
    names = [event.payload["name"] for event in stream.seen()[1:]]
    assert names == [f"file {number} ü#%.h5" for number in range(5)]


def test_watch_is_not_recursive_but_new_directories_are_told(client: Client, folder: str, channel: str) -> None:
    with client.stream(channel) as stream:
        assert client.watch(channel, folder, "IN_CREATE", "IN_CLOSE_WRITE").code == 201
        assert client.act(folder, "mkdir", name="run1").code == 201
        stream.until(2)
        assert client.watch(channel, f"{folder}/run1", "IN_CLOSE_WRITE").code == 201
        client.put(f"{folder}/run1/a.h5")
        stream.until(4)
    told = [event.payload for event in stream.seen() if event.kind == "inotify"]
    assert told == [{"name": "run1", "mask": ["IN_CREATE", "IN_ISDIR"]}, {"name": "a.h5", "mask": ["IN_CLOSE_WRITE"]}]


def test_watch_follows_its_directory_to_another_name(client: Client, folder: str, channel: str) -> None:
    assert client.act(folder, "mkdir", name="old").code == 201
    assert client.act(f"{folder}/old", "mkdir", name="inner").code == 201
    with client.stream(channel) as stream:
        assert client.watch(channel, f"{folder}/old", "IN_CLOSE_WRITE", "IN_MOVE_SELF").code == 201
        assert client.watch(channel, f"{folder}/old/inner", "IN_CLOSE_WRITE").code == 201
        assert client.act(f"{folder}/old", "mv", destination=f"{folder}/new").code == 201
        stream.until(3)
        client.put(f"{folder}/new/a.h5")
        client.put(f"{folder}/new/inner/b.h5")
        stream.until(5)
    assert masks(stream) == ["IN_MOVE_SELF", "IN_CLOSE_WRITE", "IN_CLOSE_WRITE"]


def test_both_names_of_a_rename_have_one_cookie(client: Client, folder: str, channel: str) -> None:
    client.put(f"{folder}/a.h5")
    with client.stream(channel) as stream:
        assert client.watch(channel, folder, "IN_MOVE").code == 201
        assert client.act(f"{folder}/a.h5", "mv", destination=f"{folder}/b.h5").code == 201
        stream.until(3)
    first, second = [event.payload for event in stream.seen()[1:]]
    assert (first["name"], second["name"]) == ("a.h5", "b.h5")
    assert first["cookie"] == second["cookie"]


def test_client_that_comes_back_misses_nothing(client: Client, folder: str, channel: str) -> None:
    with client.stream(channel) as stream:
        assert client.watch(channel, folder, "IN_CLOSE_WRITE").code == 201
        client.put(f"{folder}/0.h5")
        last = stream.until(2)[-1].number
    for number in (1, 2, 3):
        client.put(f"{folder}/{number}.h5")
    with client.stream(channel, str(last)) as back:
        client.put(f"{folder}/4.h5")
        names = [event.payload["name"] for event in back.until(4)]
    assert names == ["1.h5", "2.h5", "3.h5", "4.h5"]


@pytest.mark.needs("another user")
def test_other_users_neither_read_nor_watch(dcache: DcacheUnderTest, client: Client, folder: str, channel: str) -> None:
    other = Client.of(dcache, 1)
    assert other.ask("GET", channel, Accept="text/event-stream").code == 403
    assert client.act(folder, "chmod", mode=0o700).code == 201
    own = other.channel()
    answer = other.watch(own, folder)
    assert answer.code == 400
    assert b"Permission denied" in answer.body
    assert other.ask("DELETE", own).code == 204


def test_wrong_password_opens_no_channel(dcache: DcacheUnderTest) -> None:
    answer = Wire(dcache.ca).ask(
        "POST", f"{dcache.frontend}/api/v1/events/channels", {"Authorization": "Basic bm9ib2R5Om5vcGU="}
    )
    assert (answer.code, answer.body) == (401, b"")
    assert answer.header("www-authenticate").startswith("Basic")


def test_channel_without_a_client_ends_after_its_timeout(client: Client) -> None:
    channel = client.channel()
    assert client.ask("PATCH", channel, {"timeout": 1}).code == 204
    until(lambda: client.ask("GET", channel, Accept="application/json").code == 404, "the channel did not end", 20)


def test_channel_with_a_client_lives_on(client: Client, folder: str, channel: str) -> None:
    with client.stream(channel) as stream:
        assert client.ask("PATCH", channel, {"timeout": 1}).code == 204
        assert client.ask("POST", f"{channel}/subscriptions/metronome", {"delay": 0.5, "count": 4}).code == 201
        stream.until(6)
        assert client.json("GET", channel) == {"timeout": 1}


def test_macaroon_sees_only_what_lies_below_its_path(client: Client, folder: str) -> None:
    for name in ("mine", "yours"):
        assert client.act(folder, "mkdir", name=name).code == 201
    asked = {"caveats": ["activity:LIST,READ_METADATA"], "validity": "PT5M"}
    url = f"{client.dcache.webdav}{folder}/mine"
    answer = client.ask("POST", url, asked, Content_Type="application/macaroon-request")
    assert answer.code == 200, answer
    macaroon = answer.body.decode().split('"macaroon"')[1].split('"')[1]
    wire, bearer = Wire(client.dcache.ca), {"Authorization": f"Bearer {macaroon}", "Content-Type": "application/json"}
    opened = wire.ask("POST", f"{client.dcache.frontend}/api/v1/events/channels", bearer, b"{}")
    assert opened.code == 201, opened
    channel = opened.header("location")
    for name, expected in (("mine", 201), ("yours", 400)):
        body = f'{{"path": "{folder}/{name}"}}'.encode()
        assert wire.ask("POST", f"{channel}/subscriptions/inotify", bearer, body).code == expected
    assert client.ask("DELETE", channel).code == 204


def test_client_that_vanished_from_a_silent_channel_is_noticed_at_the_next_event(client: Client, folder: str) -> None:
    channel, other = client.channel(), client.channel()
    assert client.ask("PATCH", channel, {"timeout": 1}).code == 204
    stream = client.stream(channel)
    assert client.watch(channel, folder, "IN_CLOSE_WRITE").code == 201
    stream.until(1)
    stream.close()
    with client.stream(other) as clock:
        assert client.ask("POST", f"{other}/subscriptions/metronome", {"delay": 1.5, "count": 1}).code == 201
        clock.until(3)
    assert client.ask("DELETE", other).code == 204
    assert client.ask("GET", channel, Accept="application/json").code == 200
    client.put(f"{folder}/wakes.h5")
    until(lambda: client.ask("GET", channel, Accept="application/json").code == 404, "the channel did not end", 20)


def _entry(name: str) -> Entry:
    return Entry(
        pnfsid="0000" + "A" * 32, parent=None, path=name, is_dir=True, size=512, uid=1, gid=1, mode=0o755, created=0,
        modified=0, accessed=0, changed=0, checksums={}, latency="ONLINE", retention="REPLICA", pools=(),
        on_tape=False, target_qos=None, policy=None, policy_state=None, labels=frozenset(), xattrs={}, storage="a:b@c",
    )  # fmt: skip


def test_slow_client_is_told_that_events_were_dropped() -> None:
    async def scenario() -> list[str]:
        changes = Changes()
        watches = Watches(changes)
        watches.start()
        channel = Registrar(Frontend()).open("https://h/api/v1/events/channels", Subject("u", 1, (1,)), None)
        watch, _ = watches.watch(channel, _entry("/d"), Inotify("/d", None))
        stream = channel.connect(None)

        def burst() -> None:
            for number in range(WATCH_QUEUE + 500):
                changes.tell(Change("IN_CREATE", f"{number:036X}", f"/d/{number}", False))

        thread = threading.Thread(target=burst)
        thread.start()
        while thread.is_alive() or watches.pending:
            await asyncio.sleep(0)
        assert watch.waiting == WATCH_QUEUE
        text = b""
        while text.count(b"\n\n") < WATCH_QUEUE + 1:
            text += await stream.take() or b""
        watches.stop()
        channel.close()
        return text.decode().split("\n\n")

    blocks = asyncio.run(scenario())
    assert '"name":"999"' in blocks[WATCH_QUEUE - 1]
    assert '"mask":["IN_Q_OVERFLOW"]' in blocks[WATCH_QUEUE]
    assert f"id: {WATCH_QUEUE}\n" in blocks[WATCH_QUEUE]
