"""What was captured from the real product, made again against the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest
from dcache_captures import FOLDER
from dcache_replay import known_differences
from dcache_scenario import MACAROON, TPC, WEBDAV, Replays


@pytest.mark.parametrize("capture", [name for name, exchanges in WEBDAV.items() if exchanges])
def test_webdav_answers_as_the_product_did(capture: str, replays: Replays) -> None:
    _judge("webdav", capture, replays.webdav[capture])


@pytest.mark.parametrize("capture", [name for name, exchanges in MACAROON.items() if exchanges])
def test_macaroons_are_given_and_taken_as_the_product_did(capture: str, replays: Replays) -> None:
    _judge("macaroon", capture, replays.macaroon[capture])


@pytest.mark.parametrize("capture", [name for name, exchanges in TPC.items() if exchanges])
def test_third_party_copies_are_answered_as_the_product_did(capture: str, replays: Replays) -> None:
    _judge("tpc", capture, replays.tpc[capture])


@pytest.mark.parametrize("capture", [name for name, exchanges in TPC.items() if exchanges])
def test_the_other_side_is_asked_as_the_product_did(capture: str, replays: Replays) -> None:
    assert not replays.asked[capture], "\n".join(replays.asked[capture])


def test_every_capture_is_replayed() -> None:
    for name, captures in (("webdav", WEBDAV), ("tpc", TPC), ("macaroon", MACAROON)):
        files = {path.stem for path in (FOLDER / name).glob("*.http") if path.read_bytes().strip()}
        assert files == set(captures), name
        assert set(known_differences(name)) <= files
    empty = [name for name, exchanges in {**WEBDAV, **TPC, **MACAROON}.items() if not exchanges]
    assert empty == ["cancel-client"]  # holds the head of an answer only; see test_dcache_tpc.py


REPLAYED = {
    "webdav/*.http": ["test_dcache_captures.py"],
    "macaroon/*.http": ["test_dcache_captures.py"],
    "tpc/*.http": ["test_dcache_captures.py"],
    "tpc/*.peer.txt": ["test_dcache_captures.py"],
    "http/*.http": ["test_dcache_frontend_captures.py"],
    "bulk/*.http": ["test_dcache_frontend_captures.py"],
    "tape/*.http": ["test_dcache_frontend_captures.py"],
    "ratelimit/*.http": ["test_dcache_frontend_captures.py"],
    "qos/*.http": ["test_dcache_frontend_captures.py"],
    "qos/*.timeline.json": ["test_dcache_frontend_captures.py"],
    "sse/*.sse": ["test_dcache_frontend_streams.py"],
    "sse/*.http": ["test_dcache_frontend_streams.py"],
    "kafka/*.jsonl": ["test_dcache_kafka.py", "../../unit/events/sources/test_billing_records.py"],
}
"""Kind of capture -> the tests that replay all of that kind, each of which fails when it leaves one out."""
_ABOUT = {"INDEX.md", "KEYS.txt", "outage-45s.md", "differences.toml"}


def test_every_file_is_of_a_kind_that_is_replayed() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file() and path.name not in _ABOUT}
    covered = {kind: {str(path.relative_to(FOLDER)) for path in FOLDER.glob(kind)} for kind in REPLAYED}
    assert files - set().union(*covered.values()) == set()
    assert [kind for kind, found in covered.items() if not found] == []
    assert [name for names in REPLAYED.values() for name in names if not (Path(__file__).parent / name).is_file()] == []
    assert {name.removesuffix(".peer.txt") for name in covered["tpc/*.peer.txt"]} <= {f"tpc/{name}" for name in TPC}


def _judge(folder: str, capture: str, found: list[str]) -> None:
    reason = known_differences(folder).get(capture)
    if reason is None:
        assert not found, "\n".join(found)
    else:
        assert found, f"no longer different: remove it from differences.toml ({reason})"
