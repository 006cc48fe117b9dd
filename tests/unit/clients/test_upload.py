"""Uploads of bytes that cannot be had twice, against a server that says what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from xdc_testbed.clients import upload as uploads
from xdc_testbed.clients.errors import StorageDenied, StorageError, Unreachable
from xdc_testbed.clients.upload import upload

Talk = Callable[[socket.socket, bytes], None]


@contextmanager
def server(*talks: Talk) -> Iterator[str]:
    """A server that talks so on its first, second, ... connection. A talk gets the head of the request."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for talk in talks:
            connection, _ = listening.accept()
            with connection:
                talk(connection, head_of(connection))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        listening.close()
        thread.join(10)


def head_of(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return head


def taking(size: int, seen: list[bytes], answer: bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n") -> Talk:
    """Wants the file, reads `size` bytes of it, and answers."""

    def talk(connection: socket.socket, head: bytes) -> None:
        seen.append(head)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.append(read(connection, size))
        connection.sendall(answer)

    return talk


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def saying(answer: bytes) -> Talk:
    return lambda connection, _: connection.sendall(answer)


def send(url: str, size: int, parts: Iterator[bytes]) -> None:
    upload(f"{url}/data/file", size, parts, headers=lambda _: {"Authorization": "Bearer T"}, tls=None, timeout=5)


def never() -> Iterator[bytes]:
    raise AssertionError("nothing was to be sent")
    yield b""


def test_the_parts_are_sent_when_the_server_wants_them() -> None:
    seen: list[bytes] = []
    with server(taking(6, seen)) as url:
        send(url, 6, iter([b"abc", b"", b"def"]))
    assert seen[0].startswith(b"PUT /data/file HTTP/1.1\r\n")
    for line in (b"Content-Length: 6", b"Expect: 100-continue", b"Authorization: Bearer T"):
        assert line in seen[0].split(b"\r\n")
    assert seen[1] == b"abcdef"


def test_a_redirect_costs_nothing_of_the_file() -> None:
    seen: list[bytes] = []
    with server(taking(3, seen)) as pool:
        location = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {pool}/pool?uuid=1\r\nContent-Length: 0\r\n\r\n"
        with server(saying(location.encode())) as door:
            send(door, 3, iter([b"abc"]))
    assert seen[0].startswith(b"PUT /pool?uuid=1 HTTP/1.1\r\n")
    assert seen[1] == b"abc"


def test_a_refusal_comes_before_anything_is_sent() -> None:
    with (
        server(saying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nno way")) as url,
        pytest.raises(StorageDenied, match=r"PUT http://localhost:\d+/data/file: HTTP 403: no way"),
    ):
        send(url, 3, never())


@pytest.mark.parametrize(
    "framing", ["Content-Length: 9\r\n\r\nno space!", "Transfer-Encoding: chunked\r\n\r\n9\r\nno space!\r\n0\r\n\r\n"]
)
def test_a_refusal_in_the_middle_is_told_as_it_is(framing: str) -> None:
    answer = f"HTTP/1.1 507 Insufficient Storage\r\n{framing}".encode()
    with (
        server(taking(4, [], answer)) as url,
        pytest.raises(StorageError, match="HTTP 507: no space!"),
    ):
        send(url, 4, iter([b"abcd"]))


def test_a_server_that_knows_nothing_of_asking_first_gets_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PATIENCE", 0.1)
    got: list[bytes] = []

    def silent(connection: socket.socket, _: bytes) -> None:
        got.append(read(connection, 3))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n:-)")

    with server(silent) as url:
        send(url, 3, iter([b"abc"]))
    assert got == [b"abc"]


def test_a_server_that_goes_away_is_unreachable() -> None:
    def leaves(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read(connection, 10)

    with server(leaves) as url, pytest.raises(Unreachable, match="PUT"):
        send(url, 1 << 30, (bytes(1 << 20) for _ in range(1 << 10)))
    with server(*[lambda *_: None] * 2) as url, pytest.raises(Unreachable, match="closed without an answer"):
        send(url, 3, never())
    with pytest.raises(Unreachable, match="refused"):
        send(url, 3, never())


def test_a_server_that_takes_no_more_is_unreachable_after_the_time_that_is_given() -> None:
    ended = threading.Event()

    def stuck(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        ended.wait(10)

    with server(stuck) as url:
        with pytest.raises(Unreachable, match="timed out"):
            upload(
                f"{url}/f", 1 << 30, (bytes(1 << 20) for _ in range(1 << 10)),
                headers=lambda _: {}, tls=None, timeout=0.2,
            )  # fmt: skip
        ended.set()


def test_a_connection_that_is_lost_before_anything_was_sent_is_made_once_more() -> None:
    seen: list[bytes] = []
    with server(lambda *_: None, taking(3, seen)) as url:
        send(url, 3, iter([b"abc"]))
    assert seen[1] == b"abc"


def test_an_endless_redirect_ends_as_an_error() -> None:
    with (
        server(*[saying(b"HTTP/1.1 307 Again\r\nLocation: /again\r\n\r\n")] * 6) as url,
        pytest.raises(StorageError, match="too many redirects"),
    ):
        send(url, 3, never())


def test_what_the_parts_raise_goes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("the source has gone")

    def wants(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while connection.recv(100):
            pass

    with server(wants) as url, pytest.raises(LookupError, match="the source has gone"):
        send(url, 2, broken())


def test_fewer_bytes_than_announced_are_a_defect() -> None:
    def wants(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while connection.recv(100):
            pass

    with server(wants) as url, pytest.raises(ValueError, match="1 bytes where 2 were announced"):
        send(url, 2, iter([b"a"]))
