"""Third-party copies: what arrives, and what is left when it does not."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from dcache_door import Door, bearer
from dcache_peer import CONTENT, Peer
from dcache_rig import DcacheUnderTest
from dcache_wire import Answer

pytestmark = pytest.mark.needs("way back")
_NONE = {"Credential": "none"}


@pytest.fixture(scope="module")
def peer(dcache: DcacheUnderTest) -> Iterator[Peer]:
    """Another storage, on this machine."""
    server = Peer(host=dcache.peer)
    yield server
    server.stop()


def _copy(door: Door, name: str, headers: dict[str, str]) -> Answer:
    answer = door.ask("COPY", name, {**_NONE, **headers})
    assert answer.code == 202, answer
    assert answer.header("content-type") == "text/perf-marker-stream"
    return answer


def _reading(door: Door, name: str) -> str:
    """A macaroon that lets read a name."""
    wish = {"caveats": ["activity:DOWNLOAD"], "validity": "PT5M"}
    given = door.ask("POST", name, {"Content-Type": "application/macaroon-request"}, json.dumps(wish).encode())
    assert given.code == 200, given
    return str(json.loads(given.body)["macaroon"])


def _last_line(answer: Answer) -> str:
    return answer.body.decode().splitlines()[-1]


def test_a_pulled_file_is_the_other_sides_and_has_its_checksum(door: Door, peer: Peer) -> None:
    answer = _copy(door, "file", {"Source": f"{peer.url}/good"})
    assert _last_line(answer) == "success: Created"
    assert door.get("file").body == CONTENT
    digest = door.ask("HEAD", "file", {"Want-Digest": "adler32"}).header("digest")
    assert digest == f"adler32={zlib.adler32(CONTENT):08x}"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/baddigest", "Post-processing failed: Checksum mismatch"),
        ("/short", "Premature end of Content-Length delimited message body"),
        ("/none", "rejected GET: 404 Not Found"),
        ("/500", "rejected GET: 500 "),
        ("/headonly", "no checksum in HEAD response"),
    ],
)
def test_a_pull_that_fails_leaves_nothing(door: Door, peer: Peer, path: str, reason: str) -> None:
    answer = _copy(door, "file", {"Source": f"{peer.url}{path}"})
    assert _last_line(answer).startswith(f"failure: {reason}")
    assert not door.exists("file")


def test_a_pull_without_any_checksum_is_believed(door: Door, peer: Peer) -> None:
    answer = _copy(door, "file", {"Source": f"{peer.url}/nodigest"})
    assert _last_line(answer) == "success: Created"


def test_a_checksum_on_head_only_does_not_matter_when_none_is_required(door: Door, peer: Peer) -> None:
    headers = {"Source": f"{peer.url}/headonly", "RequireChecksumVerification": "false"}
    assert _last_line(_copy(door, "file", headers)) == "success: Created"


def test_a_pull_replaces_a_file_unless_told_not_to(door: Door, peer: Peer) -> None:
    door.put("file", b"old")
    source = {**_NONE, "Source": f"{peer.url}/good"}
    assert door.ask("COPY", "file", {**source, "Overwrite": "F"}).code == 500
    assert door.get("file").body == b"old"
    _copy(door, "file", source)
    assert door.get("file").body == CONTENT


def test_a_pushed_file_arrives(door: Door, peer: Peer) -> None:
    door.put("file", CONTENT)
    answer = _copy(door, "file", {"Destination": f"{peer.url}{door.path('file')}"})
    assert _last_line(answer) == "success: Created"
    assert peer.files[door.path("file")] == CONTENT


def test_an_empty_file_is_pushed(door: Door, peer: Peer) -> None:
    door.put("empty", b"")
    answer = _copy(door, "empty", {"Destination": f"{peer.url}{door.path('empty')}"})
    assert _last_line(answer) == "success: Created"
    assert peer.files[door.path("empty")] == b""


def test_a_pushed_file_that_is_wrong_is_removed_there(door: Door, peer: Peer) -> None:
    door.put("file", CONTENT)
    answer = _copy(door, "file", {"Destination": f"{peer.url}/badsum{door.path('file')}"})
    assert _last_line(answer).startswith("failure: verification failed: ADLER32 00000001 != ")
    assert f"/badsum{door.path('file')}" not in peer.files


def test_the_headers_for_the_other_side_get_there(door: Door, peer: Peer) -> None:
    peer.requests()
    headers = {"Source": f"{peer.url}/auth", "TransferHeaderAuthorization": "Bearer TOK"}
    assert _last_line(_copy(door, "file", headers)) == "success: Created"
    [(method, path, asked)] = peer.requests()
    assert (method, path, asked["authorization"]) == ("GET", "/auth", "Bearer TOK")


def test_a_macaroon_of_the_one_side_lets_the_other_copy(door: Door) -> None:
    door.put("source", CONTENT)
    headers = {"Source": door.at("source"), "TransferHeaderAuthorization": f"Bearer {_reading(door, 'source')}"}
    assert _last_line(_copy(door, "target", {**headers, "RequireChecksumVerification": "false"})) == "success: Created"
    assert door.get("target").body == CONTENT


def test_a_copy_needs_a_login_and_the_right_to_write(door: Door, peer: Peer) -> None:
    source = {**_NONE, "Source": f"{peer.url}/good"}
    assert replace(door, headers={}).ask("COPY", "file", source).code == 401
    reader = replace(door, headers=bearer(_reading(door, "")))
    assert reader.ask("COPY", "file", source).code == 401
    assert not door.exists("file")
