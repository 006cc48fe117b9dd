"""What was captured from the real product, made again against the emulator."""

from __future__ import annotations

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


def _judge(folder: str, capture: str, found: list[str]) -> None:
    reason = known_differences(folder).get(capture)
    if reason is None:
        assert not found, "\n".join(found)
    else:
        assert found, f"no longer different: remove it from differences.toml ({reason})"
