"""What the WebDAV client sends, follows, repeats and believes, with a server made of functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from xdc_testbed.clients.errors import AlreadyExists, NotFound, StorageDenied, StorageError, Unreachable
from xdc_testbed.clients.remote_file import RemoteFile
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import DeadlineExceeded

Answers = Callable[[httpx2.Request], httpx2.Response]
BASE = "https://door.test:8443"


class Server:
    """Answers by a function and remembers the requests with their bodies."""

    def __init__(self, answer: Answers) -> None:
        self.answer = answer
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        answer = self.answer(request)
        if not answer.is_stream_consumed:
            return answer
        unread = httpx2.ByteStream(answer.content)  # as from a network: not read yet
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=unread)

    def client(self, *, anonymous: bool = False) -> WebDav:
        return WebDav(BASE, token=None if anonymous else lambda: "T", transport=httpx2.MockTransport(self))


def always(status: int, **more: object) -> Server:
    return Server(lambda _: httpx2.Response(status, **more))  # type: ignore[arg-type]


def redirecting(location: str) -> Server:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "door.test" and request.url.port == 8443:
            return httpx2.Response(307, headers={"Location": location})
        return httpx2.Response(200, content=b"data")

    return Server(answer)


def test_the_token_goes_along() -> None:
    server = always(200)
    server.client().get("/data/f")
    assert server.requests[0].headers["Authorization"] == "Bearer T"


def test_without_a_token_there_is_no_authorization() -> None:
    server = always(200)
    server.client(anonymous=True).get("/data/f")
    assert "Authorization" not in server.requests[0].headers


def test_the_token_does_not_follow_a_redirect_to_another_host() -> None:
    server = redirecting("https://pool.test:1234/f?once=only")
    assert server.client().get("/data/f") == b"data"
    assert str(server.requests[1].url) == "https://pool.test:1234/f?once=only"
    assert "Authorization" not in server.requests[1].headers


def test_the_token_follows_a_redirect_to_the_same_host() -> None:
    server = redirecting("https://door.test:1234/f")
    server.client().get("/data/f")
    assert server.requests[1].headers["Authorization"] == "Bearer T"


def test_a_redirected_upload_is_sent_again_from_its_start(tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_bytes(b"12345")
    server = redirecting("https://pool.test:1234/f")
    assert server.client().put("/data/f", source).size == 5
    assert [request.content for request in server.requests] == [b"12345", b"12345"]
    assert server.requests[1].headers["Content-Length"] == "5"


def test_an_endless_redirect_ends_as_an_error() -> None:
    with pytest.raises(StorageError, match="too many redirects"):
        always(307, headers={"Location": f"{BASE}/data/f"}).client().get("/data/f")


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, StorageDenied), (403, StorageDenied), (404, NotFound), (412, AlreadyExists), (500, StorageError)],
)
def test_a_status_becomes_its_error(status: int, error: type[StorageError]) -> None:
    with pytest.raises(error) as raised:
        always(status, content=b"the reason").client().get("/data/f")
    assert raised.value.status == status
    assert "the reason" in raised.value.message


def test_an_error_does_not_show_what_a_redirect_carried() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if "once" in request.url.query.decode():
            return httpx2.Response(500)
        return httpx2.Response(302, headers={"Location": "https://pool.test/f?once=secret"})

    with pytest.raises(StorageError) as raised:
        Server(answer).client().get("/data/f")
    assert "secret" not in raised.value.message


def test_an_odd_path_is_quoted_once() -> None:
    server = always(200)
    server.client().get("/data/a b%20#?é")
    assert server.requests[0].url.raw_path == b"/data/a%20b%2520%23%3F%C3%A9"


def test_a_range_that_is_ignored_is_an_error() -> None:
    with pytest.raises(StorageError, match="range"):
        always(200, content=b"everything").client().get("/data/f", range=(0, 1))


def test_head_reads_size_checksum_and_time() -> None:
    headers = {"Content-Length": "7", "Digest": "adler32=0a0b0c0d", "Last-Modified": "Mon, 23 Nov 2026 20:49:08 GMT"}
    stat = always(200, headers=headers).client().head("/data/f")
    assert (stat.size, stat.checksums, stat.mtime) == (7, {"adler32": "0a0b0c0d"}, 1795466948.0)


def failing_first(error: type[httpx2.TransportError]) -> Server:
    left = [error("gone")]

    def answer(_: httpx2.Request) -> httpx2.Response:
        if left:
            raise left.pop()
        return httpx2.Response(200, content=b"data")

    return Server(answer)


def test_a_kept_connection_that_turns_out_dead_is_not_noticed() -> None:
    assert failing_first(httpx2.RemoteProtocolError).client().get("/data/f") == b"data"
    assert failing_first(httpx2.WriteError).client().put("/data/f", b"x").size == 1
    assert failing_first(httpx2.ConnectError).client().get("/data/f") == b"data"  # reset while it was made


def test_a_move_is_not_sent_twice() -> None:
    server = failing_first(httpx2.ReadError)
    with pytest.raises(Unreachable):
        server.client().move("/data/a", "/data/b")
    assert len(server.requests) == 1


def test_a_refused_connection_is_unreachable_with_a_remedy() -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(Unreachable) as raised:
        Server(refuse).client().get("/data/f")
    assert raised.value.remedy


class Breaking(httpx2.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"the first half"
        raise httpx2.ReadError("connection reset")


def test_a_download_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    server = Server(lambda _: httpx2.Response(200, stream=Breaking()))
    with pytest.raises(Unreachable):
        server.client().download("/data/f", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_move_names_the_destination_as_a_url() -> None:
    server = always(201)
    server.client().move("/data/a b", "/data/c d", overwrite=False)
    assert server.requests[0].headers["Destination"] == f"{BASE}/data/c%20d"
    assert server.requests[0].headers["Overwrite"] == "F"


def test_a_directory_that_is_there_is_made() -> None:
    listing = (
        b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>/data/d/</D:href><D:propstat><D:prop><D:resourcetype>'
        b"<D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        b"</D:multistatus>"
    )

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(405) if request.method == "MKCOL" else httpx2.Response(207, content=listing)

    Server(answer).client().mkcol("/data/d")
    with pytest.raises(StorageError):
        Server(answer).client().mkcol("/data/d", exist_ok=False)


def test_a_listing_leaves_the_directory_itself_out() -> None:
    listing = (
        b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>/data/d/</D:href></D:response>'
        b"<D:response><D:href>/data/d/f</D:href></D:response></D:multistatus>"
    )
    assert [entry.name for entry in always(207, content=listing).client().list("/data/d/")] == ["f"]


def test_a_copy_is_judged_by_its_last_line() -> None:
    body = b"Perf Marker\nTimestamp: 1\nStripe Bytes Transferred: 5\nEnd\nfailure: peer said 403\n"
    result = always(201, content=body).client().copy_pull("https://a.test/f", "/data/f", source_token="S")
    assert (result.ok, result.message, result.transferred) == (False, "peer said 403", 5)


def test_a_copy_that_is_refused_is_a_result_and_no_exception() -> None:
    result = always(412).client().copy_push("/data/f", "https://b.test/f", overwrite=False)
    assert (result.ok, result.status) == (False, 412)


def test_a_copy_that_does_not_end_is_given_up() -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("silence")

    with pytest.raises(DeadlineExceeded):
        Server(answer).client().copy_pull("https://a.test/f", "/data/f", timeout=5)


class Endless(httpx2.SyncByteStream):
    """A body that never ends, and knows whether somebody listens."""

    closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"Perf Marker\nTimestamp: 1\nEnd\n"

    def close(self) -> None:
        self.closed = True


def test_a_copy_that_is_cancelled_is_no_longer_listened_to() -> None:
    body = Endless()
    copy = always(202, stream=body).client().start_pull("https://a.test/f", "/data/f")
    assert copy.poll() is None
    assert not body.closed
    copy.cancel()
    assert body.closed


def test_a_macaroon_is_asked_for_as_products_want_it() -> None:
    server = always(200, json={"macaroon": "MDAx"})
    assert server.client().macaroon("/data/f", ["DOWNLOAD", "LIST"], "PT1M") == "MDAx"
    assert server.requests[0].headers["Content-Type"] == "application/macaroon-request"
    assert server.requests[0].content == b'{"caveats": ["activity:DOWNLOAD,LIST"], "validity": "PT1M"}'


def test_an_answer_without_a_macaroon_is_an_error() -> None:
    with pytest.raises(StorageError, match="no macaroon"):
        always(200, content=b"<html>").client().macaroon("/data/f", ["DOWNLOAD"])


# -- ranges -----------------------------------------------------------------------------------------------------------


def ranging(data: bytes, **headers: str) -> Server:
    """Serves ranges of some bytes."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "HEAD":
            return httpx2.Response(200, headers={"Content-Length": str(len(data)), **headers})
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        return httpx2.Response(206, content=data[int(first) : int(last) + 1])

    return Server(answer)


def test_a_range_fills_the_room_that_it_is_given() -> None:
    room = bytearray(4)
    ranging(b"0123456789").client().read_into("/f", 3, memoryview(room))
    assert room == b"3456"


def test_a_range_that_ends_early_is_an_error() -> None:
    with pytest.raises(StorageError, match="7 bytes of a range of 9"):
        ranging(b"0123456789").client().read_into("/f", 3, memoryview(bytearray(9)))
    with pytest.raises(StorageError, match="the range was ignored"):
        always(200, content=b"all").client().read_into("/f", 0, memoryview(bytearray(3)))


def test_a_range_that_breaks_off_is_asked_for_once_more() -> None:
    whole, broken = ranging(b"0123456789"), [httpx2.ReadError("gone")]

    class Breaking(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"34"
            raise broken[-1]

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(206, stream=Breaking()) if len(server.requests) == 1 else whole.answer(request)

    server = Server(answer)
    room = bytearray(4)
    server.client().read_into("/f", 3, memoryview(room))
    assert room == b"3456"
    server = Server(lambda _: httpx2.Response(206, stream=Breaking()))
    with pytest.raises(Unreachable, match="gone"):
        server.client().read_into("/f", 3, memoryview(room))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "now",
    [
        {"ETag": '"2"', "Digest": "adler32=00000001"},
        {"ETag": '"1"', "Digest": "adler32=00000002"},
        {"ETag": '"1"', "Digest": "adler32=00000001", "Last-Modified": "Fri, 27 Nov 2026 03:00:00 GMT"},
    ],
)
def test_a_remote_file_notices_that_it_is_another_one(now: dict[str, str]) -> None:
    server = ranging(b"0123456789", ETag='"1"', Digest="adler32=00000001")
    file = RemoteFile(server.client(), "/data/f")
    assert (file.name, file.size, file.adler32) == ("f", 10, "00000001")
    assert file.unchanged()
    server.answer = ranging(b"0123456789", **now).answer
    assert not file.unchanged()
    server.answer = lambda _: httpx2.Response(404)
    assert not file.unchanged()
