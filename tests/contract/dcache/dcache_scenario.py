"""Every captured exchange made again, in one emulator: WebDAV first, then macaroons, then third-party copies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dcache_captures import FOLDER, load
from dcache_peer import Peer
from dcache_replay import Replay
from dcache_rig import DcacheUnderTest
from dcache_wire import Wire
from storage_rig import HOST, Authority, folder

WEBDAV, TPC, MACAROON = load("webdav"), load("tpc"), load("macaroon")
BASIC = {"Authorization": "Basic dGVzdGVyOnNlY3JldA=="}
_UNTRUSTED = "localhost:18444"
_ASKED = re.compile(r"^--- [\d.]+ \d+\n(.*?)(?=^--- |\Z)", re.MULTILINE | re.DOTALL)
_COMPARED = {"authorization", "content-length", "expect", "scitag", "want-digest", "x-foo"}
# Files that were there before a capture was made, and are not of a capture before it.
_NEEDED: dict[str, dict[str, bytes]] = {
    "put-http": {"/data/hello.txt": b"hello\n"},
    "get-restored": {"/tape/qos3.bin": b"q" * 100_000},
    "move-exists": {"/data/dig2.bin": b"2", "/data/dig3.bin": b"3"},
}


@dataclass(frozen=True)
class Replays:
    """Capture -> where the emulator's answer differs, by kind; asked: where it asked the other side of a third-party
    copy otherwise than the product did."""

    webdav: dict[str, list[str]]
    macaroon: dict[str, list[str]]
    tpc: dict[str, list[str]]
    asked: dict[str, list[str]]


def replay(dcache: DcacheUnderTest, authority: Authority) -> Replays:
    """Make all captured requests to an emulator that nobody else has written to."""
    webdav = Replay(dcache)
    for name, exchanges in WEBDAV.items():
        for path, body in _NEEDED.get(name, {}).items():
            upload(dcache, path, body)
        webdav.run(name, exchanges, certificate=name == "put-x509")
    macaroon = Replay(dcache)
    for path in ("/data/hello.txt", "/public/dc1.bin", "/data/src.bin"):
        upload(dcache, path, b"hello\n")
    for name, exchanges in MACAROON.items():
        macaroon.run(name, exchanges)
    asked: dict[str, list[str]] = {}
    with _peers(authority) as peers:
        own = {captured: f"{captured.split(':')[0]}:{peer.port}" for captured, peer in peers.items()}
        tpc = Replay(dcache, own, secrets=macaroon.secrets)
        upload(dcache, "/data/src.bin", b"s" * 500_000)
        for name, exchanges in TPC.items():
            tpc.run(name, exchanges)
            asked[name] = _compare_asked(name, [request for peer in peers.values() for request in peer.requests()])
    return Replays(webdav.differences, macaroon.differences, tpc.differences, asked)


def upload(dcache: DcacheUnderTest, path: str, body: bytes) -> None:
    """Make a file, as tester."""
    answer = Wire(dcache.ca).ask("PUT", dcache.webdav + path, BASIC, body)
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
