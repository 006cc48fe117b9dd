"""The emulator as a process: what survives its end, how it ends, and what it refuses to start with."""

from __future__ import annotations

import base64
import signal
import socket
import ssl
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dcache_door import Door, basic, bearer, opened
from dcache_rig import DcacheEmulator, DcacheUnderTest, emulated, until
from storage_rig import Authority, TokenIssuer

from xdc_testbed.emulators.dcache.__main__ import main


@pytest.fixture(scope="module")
def spare(authority: Authority) -> Iterator[DcacheUnderTest]:
    """An emulator for the cases that leave it as it was."""
    with emulated(authority) as started:
        yield started


def _emulator(dcache: DcacheUnderTest) -> DcacheEmulator:
    assert dcache.emulator is not None
    return dcache.emulator


def test_what_was_acknowledged_survives_kill_9_and_nothing_else_is_left(own_dcache: DcacheUnderTest) -> None:
    acknowledged: dict[str, bytes] = {}
    stop = threading.Event()

    def upload(door: Door, worker: int) -> None:
        for number in range(10_000):
            body = bytes([65 + worker]) * (10 + number * 997 % 50_000)
            try:
                if stop.is_set() or door.ask("PUT", f"{worker}-{number}", None, body).code != 201:
                    return
            except (OSError, ValueError):
                return
            acknowledged[f"{worker}-{number}"] = body

    with opened(own_dcache) as door:
        half = {"Content-Length": "1000000", "Expect": "100-continue"}
        assert door.ask("PUT", "never", half, late=True).code == 307
        workers = [threading.Thread(target=upload, args=(door, worker)) for worker in range(4)]
        for worker in workers:
            worker.start()
        until(lambda: len(acknowledged) > 40, "some uploads")
        _emulator(own_dcache).restart(signal.SIGKILL)
        stop.set()
        for worker in workers:
            worker.join(60)
        assert not door.exists("never")
        for name, body in acknowledged.items():
            answer = door.get(name, {"Want-Digest": "adler32"})
            assert answer.body == body, name
            assert answer.header("digest") == f"adler32={zlib.adler32(body):08x}"
        present = door.listing().count("<d:getcontentlength>")
        assert len(acknowledged) <= present <= len(acknowledged) + len(workers)
        assert own_dcache.root is not None
        assert len(list((own_dcache.root / "pools" / "pool1" / "data").iterdir())) == present


def test_metadata_survives_an_orderly_end(own_dcache: DcacheUnderTest) -> None:
    with opened(own_dcache) as door:
        door.put("file", b"hello", {"Want-Digest": "md5"})
        before = door.ask("HEAD", "file", {"Want-Digest": "md5"})
        assert _emulator(own_dcache).stop() == 0
        _emulator(own_dcache).start()
        after = door.ask("HEAD", "file", {"Want-Digest": "md5"})
        assert [before.header(name) for name in ("etag", "digest", "last-modified")] == [
            after.header(name) for name in ("etag", "digest", "last-modified")
        ]


def test_idle_connections_are_ended_with_a_word_and_a_busy_one_when_it_is_done(own_dcache: DcacheUnderTest) -> None:
    context = ssl.create_default_context(cafile=str(own_dcache.ca))
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    port = _emulator(own_dcache).ports["https"]
    with ExitStack() as stack:

        def connected() -> ssl.SSLSocket:
            plain = stack.enter_context(socket.create_connection(("localhost", port), 30))
            wrapped = context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
            return stack.enter_context(wrapped)

        idle, busy = connected(), connected()
        idle.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 ")
        login = basic("tester", "secret")["Authorization"]
        head = f"PUT /data/late HTTP/1.1\r\nHost: localhost\r\nAuthorization: {login}\r\nContent-Length: 10"
        busy.sendall(f"{head}\r\n\r\nhello".encode())
        with opened(own_dcache) as door:
            until(lambda: door.wire.ask("HEAD", f"{door.url}/data/late", door.headers).code == 200, "the upload began")
        stopping = threading.Thread(target=_emulator(own_dcache).stop)
        stopping.start()
        assert idle.recv(4096) == b""  # would raise without close_notify
        busy.sendall(b"world")
        assert busy.recv(4096).startswith(b"HTTP/1.1 201")
        assert busy.recv(4096) == b""
        stopping.join(30)


def test_it_says_what_it_is_and_no_credentials(spare: DcacheUnderTest) -> None:
    with opened(spare) as door:
        assert "emulator" in door.ask("OPTIONS", "").header("server")
        replace(door, headers=bearer("MDAxsecretmacaroon")).ask("GET", "file")
        door.ask("GET", "file?authz=eyJsecret.token.here")
    log = _emulator(spare).log()
    assert "EMULATOR of dCache" in log
    words = ["secretmacaroon", "eyJsecret", base64.b64encode(b"tester:secret").decode(), "dickerelch"]
    assert not [word for word in words if word in log]


def test_a_client_that_never_comes_is_given_up(authority: Authority) -> None:
    with emulated(authority, tables={"webdav": {"mover_timeout": 0.5}}) as dcache, opened(dcache) as door:
        wanted = {"Content-Length": "10", "Expect": "100-continue"}
        first = door.ask("PUT", "file", wanted, late=True)
        until(lambda: not door.exists("file"), "the file is gone")
        late = door.wire.ask("PUT", first.header("location"), wanted, b"x" * 10, late=True)
        assert (late.code, late.header("location")) == (307, door.at("file"))
        records = until(lambda: _of(dcache, door.path("file"), 2), "its records")
        assert {record["status"]["code"] for record in records} == {10006}


def test_a_url_of_no_mover_leads_back_to_its_own_door_only(spare: DcacheUnderTest) -> None:
    with opened(spare) as door:
        door.put("file", b"hello")
        pool = door.ask("GET", "file").header("location").partition("/data/")[0]
        known = (
            f"{pool}/data/x?dcache-http-uuid=none&dcache-http-ref={door.url.replace(':', '%3A').replace('/', '%2F')}"
        )
        assert door.wire.ask("GET", known).header("location") == f"{door.url}/data/x"
        other = f"{pool}/data/x?dcache-http-uuid=none&dcache-http-ref=https%3A%2F%2Fevil.example"
        assert (door.wire.ask("GET", other).code, door.wire.ask("GET", other).header("location")) == (400, "")


@pytest.mark.parametrize(("mode", "read", "write"), [("READONLY", 302, 401), ("FULL", 302, 403)])
def test_nobody_gets_what_the_door_is_set_to(authority: Authority, mode: str, read: int, write: int) -> None:
    with emulated(authority, tables={"webdav": {"anonymous": mode}}) as dcache, opened(dcache) as door:
        door.put("file", b"hello")
        nobody = replace(door, headers={})
        assert nobody.ask("GET", "file").code == read
        assert nobody.ask("PUT", "other", None, b"x").code == write


def test_without_redirects_the_door_gives_and_takes_all_bytes(authority: Authority) -> None:
    tables = {"webdav": {"redirect_on_read": False, "redirect_on_write": False}}
    with emulated(authority, tables=tables) as dcache, opened(dcache) as door:
        answer = door.ask("PUT", "file", {"Expect": "100-continue", "Content-Length": "5"}, b"hello", late=True)
        assert (answer.code, answer.continued) == (201, True)
        answer = door.ask("GET", "file", {"Range": "bytes=1-3"})
        assert (answer.code, answer.body) == (206, b"ell")


def test_the_scope_of_a_token_limits_it(authority: Authority, issuer: TokenIssuer) -> None:
    with emulated(authority, issuer) as dcache, opened(dcache) as door:
        door.put("in/file", b"hello")
        door.put("out", b"hello")

        def holder(scope: str) -> Door:
            return replace(door, headers=bearer(dcache.token(scope, "tester")))

        reader = holder(f"storage.read:{door.path('in')}")
        assert reader.get("in/file").body == b"hello"
        assert reader.ask("GET", "out").code == 403
        assert reader.ask("PUT", "in/new", None, b"x").code == 403
        creator = holder(f"storage.create:{door.folder}")
        creator.put("in/new", b"x")
        assert creator.ask("PUT", "in/new", None, b"y").code == 403
        assert creator.ask("DELETE", "in/new").code == 403
        assert holder(f"storage.modify:{door.folder}").ask("DELETE", "in/new").code == 204


def test_the_billing_file_holds_what_the_billing_cell_tells(spare: DcacheUnderTest) -> None:
    with opened(spare) as door:
        door.put("file", b"hello")
        records = until(lambda: _of(spare, door.path("file"), 2), "its records")
    assert [record["msgType"] for record in records] == ["transfer", "request"]
    assert "moverInfo" not in records[1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda text: text + "\nnonsense = 1\n", "nonsense"),
        (lambda text: text.replace('listen = "127.0.0.1"', "listen = 1"), "listen"),
        (lambda text: text.replace("certificate = ", "# "), "certificate"),
        (lambda text: text + '\n[[users]]\nname = "tester"\nuid = 1\ngid = 1\n', "same name"),
        (lambda text: text.replace('macaroon_secret = "', 'macaroon_secret = "/nowhere'), "macaroon_secret"),
        (lambda _: "= nonsense", "dcache.toml"),
    ],
    ids=["unknown key", "wrong type", "no certificate", "user twice", "secret that is not there", "no TOML"],
)
def test_a_configuration_that_is_wrong_is_refused_with_the_culprit(
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[str], str],
    reason: str,
) -> None:
    file = DcacheEmulator(tmp_path, authority).file
    file.write_text(spoil(file.read_text()))
    assert _main(monkeypatch, file, "--check") == 2
    assert reason in caplog.text


def test_a_configuration_that_is_good_is_said_to_be(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert _main(monkeypatch, DcacheEmulator(tmp_path, authority).file, "--check") == 0
    assert "is good" in caplog.text


def test_a_port_that_is_taken_is_refused(
    tmp_path: Path,
    authority: Authority,
    spare: DcacheUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken = _emulator(spare).ports["https"]
    file = DcacheEmulator(tmp_path, authority, tables={"webdav": {"port": taken}}).file
    assert _main(monkeypatch, file) == 2
    assert "cannot listen" in caplog.text


def test_a_folder_that_another_process_uses_is_refused(
    tmp_path: Path,
    authority: Authority,
    spare: DcacheUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    emulator = DcacheEmulator(tmp_path, authority)
    emulator.file.write_text(emulator.file.read_text().replace(str(emulator.root), str(spare.root)))
    assert _main(monkeypatch, emulator.file) == 2
    assert "in use by another process" in caplog.text


def _main(monkeypatch: pytest.MonkeyPatch, file: Path, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dcache-emulator", "--config", str(file), *options])
    return main()


def _of(dcache: DcacheUnderTest, path: str, count: int) -> list[dict[str, Any]]:
    found = [record for record in _emulator(dcache).billing() if record.get("transferPath") == path]
    return found if len(found) >= count else []
