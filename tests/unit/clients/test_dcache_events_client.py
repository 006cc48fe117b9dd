"""Channels, subscriptions and the stream of dCache's frontend, as a running dCache told them."""

from __future__ import annotations

import httpx2
import pytest
from dcache_replay import CAPTURES, Exchange, Replay

from xdc_testbed.clients.dcache import Busy, Dcache
from xdc_testbed.clients.dcache_events import GARBAGE, EventChannels, Notice
from xdc_testbed.clients.errors import NotFound, StorageError, Unreachable

CHANNEL = "/api/v1/events/channels/trvXKmazfCUyVLQ0k5U03A"


def streaming(body: bytes | httpx2.SyncByteStream, seen: list[httpx2.Request] | None = None) -> EventChannels:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        stream = httpx2.ByteStream(body) if isinstance(body, bytes) else body
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=stream)

    return EventChannels(Dcache("https://localhost:3880", transport=httpx2.MockTransport(answer)))


def notices(body: bytes, last: int | None = None) -> list[Notice]:
    with streaming(body).stream(CHANNEL, last, silence=1) as found:
        return list(found)


def test_a_channel_is_made_and_keeps_for_as_long_as_wanted() -> None:
    asked: list[tuple[str, str, bytes]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.method, request.url.path, request.read()))
        exchange = Exchange.load("channel-create")
        return httpx2.Response(204 if request.method == "PATCH" else exchange.status, headers=exchange.headers)

    channels = EventChannels(Dcache("https://localhost:3880", transport=httpx2.MockTransport(answer)))
    assert channels.create("reference", timeout=3600) == CHANNEL
    assert asked == [
        ("POST", "/api/v1/events/channels", b'{"client-id":"reference"}'),
        ("PATCH", CHANNEL, b'{"timeout":3600}'),
    ]


def test_channels_are_found_by_the_id_of_their_client() -> None:
    assert EventChannels(Replay("channel-list-clientid").client()).find("reference") == [CHANNEL]


def test_one_channel_too_many_is_refused() -> None:
    with pytest.raises(Busy):
        EventChannels(Replay("channel-limit-3").client()).create("reference", timeout=60)


@pytest.mark.parametrize("capture", ["sub-ok", "sub-same-target"])
def test_a_directory_is_watched_also_when_it_was_before(capture: str) -> None:
    replay = Replay(capture)
    flags = replay.exchanges[0].sent["flags"]
    found = EventChannels(replay.client()).subscribe(CHANNEL, "/data", flags)
    assert replay.asked_as_captured()
    assert found == f"{CHANNEL}/subscriptions/inotify/AAD5p2cTyGlEL6AlVZ3RQ61G"


def test_a_directory_that_is_not_there_cannot_be_watched() -> None:
    with pytest.raises(StorageError, match="No such file or directory /nope"):
        EventChannels(Replay("sub-notfound").client()).subscribe(CHANNEL, "/nope", ["IN_CREATE"])


def test_a_channel_that_is_gone_is_not_found() -> None:
    channels = EventChannels(Replay("channel-sse-404").client())
    with pytest.raises(NotFound), channels.stream(CHANNEL, None, silence=1):
        pass


def test_a_whole_upload_is_read_from_the_stream() -> None:
    found = [each for each in notices((CAPTURES / "inotify-dir-all.body").read_bytes()) if each.name == "zero.bin"]
    assert [(each.id, *each.mask) for each in found[:5]] == [
        (12, "IN_CREATE"),
        (13, "IN_OPEN"),
        (14, "IN_ATTRIB"),
        (15, "IN_CLOSE_WRITE"),
        (16, "IN_ATTRIB"),
    ]


def test_both_sides_of_a_move_have_one_cookie() -> None:
    found = notices((CAPTURES / "inotify-dir-all.body").read_bytes())
    moved = {each.name: each.cookie for each in found if each.id in (22, 23)}
    assert moved == {"up1.bin": "Juj/wseFxZEyYZbJwj6x+Q", "up1-renamed.bin": "Juj/wseFxZEyYZbJwj6x+Q"}


def test_words_of_the_system_have_no_number() -> None:
    found = notices((CAPTURES / "close-sub-and-delete-channel.body").read_bytes())
    system = [(each.what, each.id) for each in found if each.kind == "SYSTEM"]
    assert system[:2] == [("NEW_SUBSCRIPTION", None), ("SUBSCRIPTION_CLOSED", None)]
    assert [each.id for each in found if each.kind == "metronome"] == [46, 47, 48]


def test_what_was_dealt_with_last_is_said_when_connecting_again() -> None:
    seen: list[httpx2.Request] = []
    channels = streaming(b"", seen)
    for last in (None, 0, 41):
        with channels.stream(CHANNEL, last, silence=1) as found:
            assert list(found) == []
    assert [each.headers.get("Last-Event-ID") for each in seen] == [None, "0", "41"]


def test_a_stream_cut_in_the_middle_is_unreachable() -> None:
    class Cut(httpx2.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield (CAPTURES / "frontend-shutdown.body").read_bytes()
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")

    seen: list[Notice] = []
    with pytest.raises(Unreachable), streaming(Cut()).stream(CHANNEL, None, silence=1) as found:
        seen.extend(found)
    assert [each.what for each in seen] == ["NEW_SUBSCRIPTION", "SHUTDOWN"]


@pytest.mark.parametrize("data", ["{", "7", '{"event": 3}', '{"event": {"mask": 7}}'])
def test_a_notice_that_cannot_be_read_is_garbage_and_the_next_one_is_read(data: str) -> None:
    good = 'data: {"event":{"name":"a","mask":["IN_CREATE"]},"subscription":"https://h/s"}'
    found = notices(f"event: inotify\nid: 4\ndata: {data}\n\nevent: inotify\nid: 5\n{good}\n\n".encode())
    assert [(each.kind, each.id) for each in found] == [(GARBAGE, 4), ("inotify", 5)]


def test_a_subscription_keeps_the_odd_letters_of_its_name() -> None:
    data = '{"event":{"mask":["IN_CREATE"]},"subscription":"https://h/c/AAB+x%2Fy"}'
    assert Notice.parse("inotify", "1", data).subscription == "/c/AAB+x%2Fy"
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.raw_path.decode())
        return httpx2.Response(204)

    EventChannels(Dcache("https://h", transport=httpx2.MockTransport(answer))).unsubscribe("/c/AAB+x%2Fy")
    assert asked == ["/c/AAB+x%2Fy"]
