"""Replay what was captured from the real product against the emulator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dcache_captures import FOLDER, load
from dcache_peer import Peer
from dcache_replay import Replay, known_differences
from dcache_rig import DcacheUnderTest, emulated
from dcache_wire import Wire
from storage_rig import HOST, Authority, TokenIssuer, folder

_WEBDAV, _TPC, _MACAROON = load("webdav"), load("tpc"), load("macaroon")
_AUTH = {"Authorization": "Basic dGVzdGVyOnNlY3JldA=="}
_UNTRUSTED = "localhost:18444"


Copies = tuple[Replay, dict[str, list[str]]]


@pytest.fixture(scope="module")
def fresh(authority: Authority, issuer: TokenIssuer) -> Iterator[DcacheUnderTest]:
    """An emulator that nobody else has written to."""
    with emulated(authority, issuer, tables={"webdav": {"marker_period": 0.3}}) as started:
        yield started


@pytest.fixture(scope="module")
def webdav(fresh: DcacheUnderTest) -> Replay:
    """All captures of WebDAV, replayed in their order."""
    replay = Replay(fresh)
    for name, exchanges in _WEBDAV.items():
        for path, body in _NEEDED.get(name, {}).items():
            _upload(fresh, path, body)
        replay.run(name, exchanges, certificate=name == "put-x509")
    return replay


# Files that were there before a capture was made, and are not of a capture before it.
_NEEDED: dict[str, dict[str, bytes]] = {
    "put-http": {"/data/hello.txt": b"hello\n"},
    "get-restored": {"/tape/qos3.bin": b"q" * 100_000},
    "move-exists": {"/data/dig2.bin": b"2", "/data/dig3.bin": b"3"},
}


@pytest.fixture(scope="module")
def macaroon(fresh: DcacheUnderTest, webdav: Replay) -> Replay:
    """All captures of macaroons, replayed in their order."""
    replay = Replay(fresh)
    for path in ("/data/hello.txt", "/public/dc1.bin", "/data/src.bin"):
        _upload(fresh, path, b"hello\n")
    for name, exchanges in _MACAROON.items():
        replay.run(name, exchanges)
    return replay


@pytest.fixture(scope="module")
def tpc(fresh: DcacheUnderTest, authority: Authority, macaroon: Replay) -> Iterator[Copies]:
    """All captures of third-party copies, and where the emulator asked the other side otherwise than the product."""
    asked: dict[str, list[str]] = {}
    with _peers(authority) as peers:
        own = {captured: f"{captured.split(':')[0]}:{peer.port}" for captured, peer in peers.items()}
        replay = Replay(fresh, own, secrets=macaroon.secrets)
        _upload(fresh, "/data/src.bin", b"s" * 500_000)
        for name, exchanges in _TPC.items():
            replay.run(name, exchanges)
            asked[name] = _compare_asked(name, [request for peer in peers.values() for request in peer.requests()])
        yield replay, asked


@pytest.mark.parametrize("capture", [name for name, exchanges in _WEBDAV.items() if exchanges])
def test_webdav_answers_as_the_product_did(capture: str, webdav: Replay) -> None:
    _judge("webdav", capture, webdav.differences[capture])


@pytest.mark.parametrize("capture", [name for name, exchanges in _MACAROON.items() if exchanges])
def test_macaroons_are_given_and_taken_as_the_product_did(capture: str, macaroon: Replay) -> None:
    _judge("macaroon", capture, macaroon.differences[capture])


@pytest.mark.parametrize("capture", [name for name, exchanges in _TPC.items() if exchanges])
def test_third_party_copies_are_answered_as_the_product_did(capture: str, tpc: Copies) -> None:
    _judge("tpc", capture, tpc[0].differences[capture])


@pytest.mark.parametrize("capture", [name for name, exchanges in _TPC.items() if exchanges])
def test_the_other_side_is_asked_as_the_product_did(capture: str, tpc: Copies) -> None:
    assert not tpc[1][capture], "\n".join(tpc[1][capture])


def test_every_capture_is_replayed() -> None:
    for name, captures in (("webdav", _WEBDAV), ("tpc", _TPC), ("macaroon", _MACAROON)):
        files = {path.stem for path in (FOLDER / name).glob("*.http") if path.read_bytes().strip()}
        assert files == set(captures), name
        assert set(known_differences(name)) <= files
    empty = [name for name, exchanges in {**_WEBDAV, **_TPC, **_MACAROON}.items() if not exchanges]
    assert empty == ["cancel-client"]  # holds the head of an answer only; see test_dcache_tpc.py


def _judge(folder_: str, capture: str, found: list[str]) -> None:
    reason = known_differences(folder_).get(capture)
    if reason is None:
        assert not found, "\n".join(found)
    else:
        assert found, f"no longer different: remove it from differences.toml ({reason})"


def _upload(dcache: DcacheUnderTest, path: str, body: bytes) -> None:
    answer = Wire(dcache.ca).ask("PUT", dcache.webdav + path, _AUTH, body)
    assert answer.code == 201, answer


@contextmanager
def _peers(authority: Authority) -> Iterator[dict[str, Peer]]:
    hosts = authority.folder / "hosts"
    with folder("untrusted") as home:
        stranger = Authority.make(home)
        peers = {
            "127.0.0.1:18080": Peer(),
            "localhost:18443": Peer((hosts / f"{HOST}.pem", hosts / f"{HOST}.key")),
            _UNTRUSTED: Peer((stranger.folder / "hosts" / f"{HOST}.pem", stranger.folder / "hosts" / f"{HOST}.key")),
        }
        try:
            yield peers
        finally:
            for peer in peers.values():
                peer.stop()


_ASKED = re.compile(r"^--- [\d.]+ \d+\n(.*?)(?=^--- |\Z)", re.MULTILINE | re.DOTALL)
_COMPARED = {"authorization", "content-length", "expect", "scitag", "want-digest", "x-foo"}


def _compare_asked(capture: str, own: list[tuple[str, str, dict[str, str]]]) -> list[str]:
    """Where the requests to the other side differ from the captured ones."""
    file = FOLDER / "tpc" / f"{capture}.peer.txt"
    captured = []
    for block in _ASKED.findall(file.read_text() if file.exists() else ""):
        first, *lines = [line for line in block.splitlines() if line.strip()]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ")
        captured.append((method, path, headers))
    wanted = [(method, path, _kept(headers)) for method, path, headers in captured]
    found = [(method, path, _kept(headers)) for method, path, headers in own]
    return [] if wanted == found else [f"asked {found}", f"instead of {wanted}"]


def _kept(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in _COMPARED}
