"""Invokers on other nodes: they share the work, leave without losing any, and are missed when they die."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from openwhisk_emulator import GUEST, alive, until
from openwhisk_invokers import PATIENCE, Platform, platform

from xdc_testbed.clients.openwhisk import OpenWhisk

_WHERE = """import os, time
def main(args):
    time.sleep(args.get('s', 0))
    print('ran')
    return {'where': os.environ['__OW_API_HOST'], 'n': args.get('n')}
"""
_GATED = """import os, time
def main(args):
    open(args['folder'] + '/' + os.environ['__OW_ACTIVATION_ID'], 'w').close()
    while not os.path.exists(args['gate']): time.sleep(0.01)
    return {'where': os.environ['__OW_API_HOST']}
"""


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Platform]:
    """A controller whose own invoker has room for two small actions."""
    with platform(tmp_path, memory=512, processes=2, stop=5.0) as started:
        yield started


def _invoke(bed: Platform, action: str, arguments: list[dict[str, object]], callers: int) -> list[Future[object]]:
    """Blocking calls from so many callers; returns at once."""
    pool = ThreadPoolExecutor(callers)

    def call(payload: dict[str, object]) -> object:
        with OpenWhisk(bed.emulator.url, GUEST) as guest:
            return guest.invoke(action, payload)

    futures: list[Future[object]] = [pool.submit(call, payload) for payload in arguments]
    pool.shutdown(wait=False)
    return futures


def _put(bed: Platform, name: str, code: str) -> None:
    with OpenWhisk(bed.emulator.url, GUEST) as guest:
        guest.put_action(name, code, memory=128)


def _results(futures: list[Future[object]]) -> list[dict[str, object]]:
    return [dict(future.result(PATIENCE).result) for future in futures]  # type: ignore[attr-defined]


def test_two_invokers_share_what_comes_at_once(bed: Platform) -> None:
    _put(bed, "where", _WHERE)
    bed.up("faas-1", memory=256, processes=2)
    found = _results(_invoke(bed, "where", [{"s": 0.2, "n": n} for n in range(12)], callers=4))
    assert sorted(one["n"] for one in found) == list(range(12))  # type: ignore[type-var]
    shares = Counter(one["where"] for one in found)
    assert set(shares) == {"faas-1", bed.emulator.url}
    with OpenWhisk(bed.emulator.url, GUEST) as guest:
        until(lambda: len(guest.activations()) == 12, "all records stored")
        assert {line.split(": ", 1)[1] for record in guest.activations() for line in record.logs} == {"ran"}


def test_a_warm_container_is_used_again_wherever_it_is(bed: Platform, tmp_path: Path) -> None:
    """The controller's own invoker is full, so that the first call goes to the other, which then is warm."""
    _put(bed, "gated", _GATED)
    _put(bed, "where", _WHERE)
    blocking = _invoke(bed, "gated", [_gate(tmp_path)] * 2, callers=2)
    until(lambda: _begun(tmp_path) == 2, "the first invoker is full")
    bed.up("faas-1", memory=256, processes=2)
    with OpenWhisk(bed.emulator.url, GUEST) as guest:
        assert guest.invoke("where").result["where"] == "faas-1"
        (tmp_path / "gate").touch()
        _results(blocking)
        again = guest.invoke("where")
    assert again.result["where"] == "faas-1"
    assert "initTime" not in dict(again.annotations)


def test_what_waits_goes_to_an_invoker_that_comes(bed: Platform, tmp_path: Path) -> None:
    _put(bed, "gated", _GATED)
    futures = _invoke(bed, "gated", [_gate(tmp_path)] * 4, callers=4)
    until(lambda: _begun(tmp_path) == 2, "two run, two wait")
    bed.up("faas-1", memory=256, processes=2)
    until(lambda: _begun(tmp_path) == 4, "all run")
    (tmp_path / "gate").touch()
    assert Counter(one["where"] for one in _results(futures)) == {"faas-1": 2, bed.emulator.url: 2}


def test_an_invoker_that_leaves_under_load_loses_nothing(bed: Platform) -> None:
    _put(bed, "where", _WHERE)
    leaving = bed.up("faas-1", memory=512, processes=4, stop=60.0)
    futures = _invoke(bed, "where", [{"s": 0.05, "n": n} for n in range(60)], callers=6)
    until(lambda: sum(future.done() for future in futures) >= 10, "the load is on")
    leaving.signal(signal.SIGTERM)
    assert leaving.ended() == 0, leaving.log()
    found = _results(futures)
    assert sorted(one["n"] for one in found) == list(range(60))  # type: ignore[type-var]
    assert "faas-1" in {one["where"] for one in found}
    assert bed.states() == {"invoker0": "up"}
    assert "lost" not in bed.emulator.log()


def test_an_invoker_that_leaves_waits_for_what_runs(bed: Platform, tmp_path: Path) -> None:
    _put(bed, "gated", _GATED)
    leaving = bed.up("faas-1", memory=256, processes=2, stop=60.0)
    futures = _invoke(bed, "gated", [_gate(tmp_path)] * 4, callers=4)
    until(lambda: _begun(tmp_path) == 4, "all run")
    leaving.signal(signal.SIGTERM)
    until(lambda: bed.states().get("faas-1") == "draining", "it is draining")
    assert leaving.process.poll() is None
    (tmp_path / "gate").touch()
    assert leaving.ended() == 0
    assert Counter(one["where"] for one in _results(futures)) == {"faas-1": 2, bed.emulator.url: 2}


def test_an_invoker_that_may_not_wait_longer_says_that_it_lost_something(bed: Platform, tmp_path: Path) -> None:
    _put(bed, "gated", _GATED)
    leaving = bed.up("faas-1", memory=256, processes=2, stop=0.2)
    futures = _invoke(bed, "gated", [_gate(tmp_path)] * 4, callers=4)
    until(lambda: _begun(tmp_path) == 4, "all run")
    leaving.signal(signal.SIGTERM)
    assert leaving.ended() == 1
    (tmp_path / "gate").touch()
    statuses = Counter(future.result(PATIENCE).status for future in futures)  # type: ignore[attr-defined]
    assert statuses == {"success": 2, "whisk internal error": 2}


def test_what_ran_on_a_killed_invoker_is_an_internal_error_and_the_rest_goes_on(bed: Platform, tmp_path: Path) -> None:
    _put(bed, "gated", _GATED)
    killed = bed.up("faas-1", memory=256, processes=2)
    futures = _invoke(bed, "gated", [_gate(tmp_path)] * 4, callers=4)
    until(lambda: _begun(tmp_path) == 4, "all run")
    notes = [note.read_text().split()[0] for note in (killed.folder / "state" / "containers").glob("*.pid")]
    killed.signal(signal.SIGKILL)
    until(lambda: bed.states() == {"invoker0": "up"}, "the controller has missed it")
    (tmp_path / "gate").touch()
    answers = [future.result(PATIENCE) for future in futures]
    statuses = Counter(answer.status for answer in answers)  # type: ignore[attr-defined]
    assert statuses == {"success": 2, "whisk internal error": 2}
    with OpenWhisk(bed.emulator.url, GUEST) as guest:
        until(lambda: len(guest.activations()) == 4, "every activation has a record")
        assert guest.invoke("gated", _gate(tmp_path)).status == "success"
    until(lambda: not any(alive(int(note)) for note in notes), "its containers are gone with it")


def test_a_silent_invoker_gets_nothing_and_is_gone_after_a_while(tmp_path: Path) -> None:
    with platform(tmp_path, patience=6.0, memory=512, processes=2) as bed:
        _put(bed, "where", _WHERE)
        silent = bed.up("faas-1", memory=512, processes=4)
        silent.signal(signal.SIGSTOP)
        until(lambda: bed.states().get("faas-1") == "unresponsive", "it is missed")
        found = _results(_invoke(bed, "where", [{"n": n} for n in range(6)], callers=3))
        assert {one["where"] for one in found} == {bed.emulator.url}
        until(lambda: bed.states() == {"invoker0": "up"}, "it is gone")
        silent.signal(signal.SIGCONT)
        until(lambda: bed.states().get("faas-1") == "up", "it comes back by itself")


def test_invokers_come_back_to_a_controller_that_was_killed(bed: Platform) -> None:
    bed.up("faas-1", memory=256, processes=2)
    bed.emulator.stop(signal.SIGKILL)
    bed.emulator.start()
    until(lambda: bed.states().get("faas-1") == "up", "the invoker is back")


def test_an_invoker_without_the_token_is_refused(bed: Platform, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("not the token")
    stranger = bed.add("stranger", token=tmp_path / "wrong", memory=256)
    assert stranger.ended() == 1
    assert "refuses this invoker: wrong token" in stranger.log()
    assert bed.states() == {"invoker0": "up"}
    assert "not the token" not in bed.emulator.log() + stranger.log()


def _begun(folder: Path) -> int:
    """How many gated actions have begun."""
    return len(list((folder / "seen").iterdir()))


def _gate(folder: Path) -> dict[str, object]:
    """Arguments of a gated action: it leaves a file when it begins, and ends when the gate is there."""
    (folder / "seen").mkdir(exist_ok=True)
    return {"folder": str(folder / "seen"), "gate": str(folder / "gate")}
