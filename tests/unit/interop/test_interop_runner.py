from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from interop_examples import DESY, REMOTE, STORAGE, MemoryStorage, a_case, endpoint, nothing

from xdc_testbed.clients import tls_pulse
from xdc_testbed.clients.errors import NotFound, StorageError, Unreachable
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.interop import pulse, runner
from xdc_testbed.interop.matrix import Cell
from xdc_testbed.interop.outcome import Skip, Wrong
from xdc_testbed.interop.registry import Scope
from xdc_testbed.interop.runner import Ground


class MemoryPlace:
    """A place whose door is a storage in memory."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.storage = MemoryStorage()
        self.writable = self

    def admin(self):
        return self.storage


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """Doors that open at the second look, as those of a server that is started anew."""
    looks = []
    monkeypatch.setattr(tls_pulse, "is_open", lambda url: looks.append(url) or looks.count(url) > 1)
    return looks


@pytest.fixture
def places():
    return {endpoint.id: MemoryPlace(endpoint) for endpoint in (DESY, REMOTE)}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go what a test holds up."""
    event = threading.Event()
    yield event
    event.set()


def ask(places, *functions, deadline=60.0, pair=False):
    cells = [
        Cell(
            a_case(
                id=f"subject.case-{n}", run=function, deadline=deadline, scope=Scope.PAIR if pair else Scope.ENDPOINT
            ),
            DESY,
            REMOTE if pair else None,
            "https",
            "token",
        )
        for n, function in enumerate(functions)
    ]
    return runner.run(cells, places, Ground("run-1"), [], nothing, workers=2)


def raising(error):
    def function(trial):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Wrong("other bytes"), "fail"),
        (StorageError("HTTP 500", status=500), "fail"),
        (Unreachable("refused"), "fail"),
        (Skip("no certificate"), "skipped"),
        (RequirementMissing("davix is not installed"), "skipped"),
        (KeyError("defect"), "error"),
    ],
)
def test_what_a_case_raises_is_its_outcome(places, error, outcome):
    assert ask(places, raising(error))[0].outcome == outcome


def test_a_case_that_breaks_does_not_stop_the_others(places):
    outcomes = [r.outcome for r in ask(places, raising(KeyError("defect")), nothing)]
    assert outcomes[:2] == ["error", "pass"]


def test_a_case_that_hangs_ends_as_an_error_and_the_others_go_on(places, release, monkeypatch):
    monkeypatch.setattr(runner, "_GRACE", 0.0)
    hung = ask(places, lambda _trial: release.wait(30.0) and None, nothing, deadline=0.2)
    assert [r.outcome for r in hung[:2]] == ["error", "pass"]
    assert "did not end" in (hung[0].reason or "")


def test_files_of_a_case_are_removed(places):
    records = ask(places, lambda trial: trial.source.put("file.bin", b"data") and None)
    assert [r.outcome for r in records] == ["pass", "pass"]
    assert places["desy-storage"].storage.files == {}


def test_a_file_that_the_case_did_not_name_is_residue(places):
    def leaving(trial):
        trial.source.place.admin().put(f"{trial.source.path}/upload.tmp", b"left")

    first = ask(places, leaving)[0]
    assert (first.outcome, first.evidence["residue"]) == ("fail", ["desy-storage:upload.tmp"])


def test_residue_at_the_destination_is_found_too(places):
    def leaving(trial):
        trial.destination.place.admin().put(f"{trial.destination.path}/.part", b"left")

    assert ask(places, leaving, pair=True)[0].reason == "residue: remote-storage:.part"


def test_the_namespace_is_as_before_the_run(places):
    storage = places["desy-storage"].storage
    storage.put("/data/raw/run.h5", b"raw")
    before = set(storage.folders)
    last = ask(places, lambda trial: trial.source.put("file.bin", b"data") and None)[-1]
    assert (last.case_id, last.outcome) == ("namespace.unchanged", "pass")
    assert storage.folders == before


def test_a_storage_without_a_public_part_is_as_before_too(places):
    place = places["desy-storage"]
    place.endpoint = endpoint("desy-storage", tuple(word for word in STORAGE if word != "public"))
    place.storage.folders.remove("/pub")
    last = ask(places, nothing)[-1]
    assert last.outcome == "pass"
    assert "/pub" not in place.storage.folders


def test_an_interrupted_run_leaves_nothing_behind(places):
    def interrupted(record):
        raise BrokenPipeError

    cells = [Cell(a_case(id=f"subject.case-{n}"), DESY, None, "https", "token") for n in range(4)]
    with pytest.raises(BrokenPipeError):
        runner.run(cells, places, Ground("run-1"), [], interrupted, workers=1)
    assert places["desy-storage"].storage.folders == {"/data", "/pub"}


def test_a_run_beside_this_one_is_left_alone(places):
    storage = places["desy-storage"].storage
    storage.put("/data/interop/other-run/file.bin", b"theirs")
    last = ask(places, lambda _trial: storage.put("/data/interop/other-run/more.bin", b"theirs"))[-1]
    assert last.outcome == "pass"
    assert len(storage.files) == 2


def test_a_file_that_cannot_be_removed_is_told(places, monkeypatch):
    def refuse(path):
        raise StorageError("HTTP 500", status=500)

    monkeypatch.setattr(places["desy-storage"].storage, "delete", refuse)
    records = ask(places, nothing)
    assert [r.outcome for r in records] == ["fail", "fail"]
    assert "cannot be cleaned up" in (records[0].reason or "")


def test_evidence_of_a_failure_is_kept(places):
    def failing(trial):
        trial.note("status", 403)
        raise Wrong("refused")

    assert ask(places, failing)[0].evidence == {"status": 403}


def test_records_come_in_the_plans_order_and_each_is_told_once(places):
    told = []
    cells = [Cell(a_case(id=f"subject.case-{n}"), DESY, None, "https", "token") for n in range(20)]
    records = runner.run(cells, places, Ground("run-1"), [], told.append, workers=4)
    assert [r.case_id for r in records[:20]] == [cell.case.id for cell in cells]
    assert sorted(r.case_id for r in told) == sorted(r.case_id for r in records)


def test_a_case_whose_connection_broke_is_asked_once_more(places):
    asked = []

    def function(trial):
        asked.append(trial.source.path)
        if len(asked) == 1:
            raise Unreachable("GET https://desy: [Errno 104] Connection reset by peer")

    record, *_ = ask(places, function)
    assert record.outcome == "pass"
    assert "Connection reset by peer" in record.evidence["asked_again_after"]
    assert len(set(asked)) == 2  # in another folder: nothing of the first try is in the way


def test_the_last_words_of_a_server_that_ends_are_asked_about_once_more(places, opened):
    answers = [NotFound("PUT https://desy: HTTP 404: Could not run request.", status=404), None]

    def function(trial):
        if error := answers.pop(0):
            raise error

    record, *_ = ask(places, function)
    assert (record.outcome, answers) == ("pass", [])
    assert opened == [DESY.urls["https"]] * 2


def test_a_server_that_does_not_come_back_is_waited_for_once(places, monkeypatch):
    monkeypatch.setattr(pulse, "_RESTART", 0.3)
    looks = []
    monkeypatch.setattr(tls_pulse, "is_open", lambda url: bool(looks.append(url)))
    records = ask(places, *[raising(Unreachable("refused"))] * 5)
    assert [record.outcome for record in records[:5]] == ["fail"] * 5
    assert "asked_again_after" not in records[0].evidence
    assert len(looks) <= 3 + 4  # for the first one for a while, for each other once


def test_a_connection_that_breaks_again_is_a_failure(places):
    record, *_ = ask(places, raising(StorageError("xrdcp: [ERROR] Operation expired")))
    assert (record.outcome, record.evidence["asked_again_after"]) == ("fail", record.reason)


def test_a_namespace_is_listed_again_when_the_connection_broke(places, monkeypatch):
    listed, calls = runner._listing, []

    def broken_once(place, ground):
        calls.append(place.endpoint.id)
        return Unreachable("reset") if calls.count(place.endpoint.id) == 2 else listed(place, ground)

    monkeypatch.setattr(runner, "_listing", broken_once)
    assert [record.outcome for record in ask(places, nothing)] == ["pass", "pass"]
