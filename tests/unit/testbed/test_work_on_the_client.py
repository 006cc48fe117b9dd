"""Suites and the demonstration on the client node: progress, summary, and failures of the far side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_nodes import demo, node

from xdc_testbed.errors import VerifyFailed, WrongUsage, XdcError
from xdc_testbed.processes import Completed
from xdc_testbed.progress import Event, silent
from xdc_testbed.testbed import remote, secrets
from xdc_testbed.testbed.lifecycle import Testbed


class FarSide:
    """The client node: says lines, ends with a code, and remembers what it was asked."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self.code = 0
        self.last_words = ""
        self.files: dict[str, bytes] = {}
        self.commands: list[tuple[str, ...]] = []
        self.fetched: list[str] = []
        self.told: list[dict[str, Any]] = []
        self.said = ""

    def put_file(self, one: Any, known_hosts: Path, path: str, data: bytes, **rest: Any) -> None:
        """Takes a file."""
        self.files[path] = data

    def execute(self, one: Any, known_hosts: Path, *command: str, **rest: Any) -> Completed:
        """Runs a short command; what it is told on standard input is JSON."""
        self.commands.append(command)
        if rest.get("input"):
            self.told.append(json.loads(rest["input"]))
        return Completed(command, self.code, self.said.encode(), self.last_words.encode(), 0.0)

    def stream(
        self, one: Any, known_hosts: Path, *command: str, on_line: Callable[[str], None], log_file: Path, **rest: Any
    ) -> Completed:
        """Runs the long command."""
        self.commands.append(command)
        log_file.write_text(self.last_words)
        for line in self.lines:
            on_line(line if isinstance(line, str) else json.dumps(line))
        return Completed(command, self.code, b"", b"", 0.0)

    def fetch(self, one: Any, known_hosts: Path, path: str, local: Path, **rest: Any) -> None:
        """Gives a folder."""
        self.fetched.append(path)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> FarSide:
    """The client node, in the place of SSH."""
    side = FarSide()
    for name in ("put_file", "execute", "stream", "fetch"):
        monkeypatch.setattr(remote.ssh, name, getattr(side, name))
    return side


@pytest.fixture
def bed(tmp_path: Path) -> Testbed:
    """A testbed with the demo's nodes."""
    testbed = Testbed(tmp_path, "demo")
    state = testbed.folder.open("podman")
    state.nodes = [one.to_json() for one in demo()]
    testbed.folder.write(state)
    secrets.ensure(testbed.folder.secrets_file, [one.name for one in demo()])
    return testbed


END = {"event": "end", "ok": True, "total": 3, "outcomes": {"pass": 2, "skipped": 1}}


def record(outcome: str, done: int = 1) -> dict[str, Any]:
    """A progress line with one result."""
    about = {"case_id": "copy.pull", "outcome": outcome, "reason": "checksum differs"}
    return {"event": "record", "done": done, "total": 3, "record": about}


def test_the_suite_is_given_the_endpoints_and_the_cases(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.lines = [END]
    remote.interop(bed, tmp_path, cases=["copy.*", "cache.*"], report=silent)
    given = [endpoint["id"] for endpoint in json.loads(far.files[remote.ENDPOINTS])]
    assert "desy-storage" in given
    assert far.commands[0][:3] == (remote.PYTHON, "-m", "xdc_testbed.interop")
    assert far.commands[0][-4:] == ("--case", "copy.*", "--case", "cache.*")


def test_the_summary_is_what_the_suite_said_at_its_end(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.lines = [END]
    summary = remote.interop(bed, tmp_path, cases=[], report=silent)
    assert summary.to_json() == {"total": 3, "bad": 0, "ok": True, "outcomes": {"pass": 2, "skipped": 1}}


def test_bad_results_are_counted_by_what_makes_a_suite_fail(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    outcomes = {"pass": 5, "fail": 1, "error": 2, "unexpected-pass": 4, "expected-deviation": 8, "skipped": 16}
    far.lines, far.code = [END | {"ok": False, "outcomes": outcomes}], 1
    summary = remote.interop(bed, tmp_path, cases=[], report=silent)
    assert (summary.bad, summary.ok) == (7, False)


def test_a_bad_result_is_told_at_once_and_a_good_one_is_not(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    told: list[Event] = []
    far.lines = [record("pass"), record("fail"), END]
    remote.interop(bed, tmp_path, cases=[], report=told.append)
    assert [e.text for e in told if e.kind == "note"] == ["fail: copy.pull: checksum differs"]


def test_what_is_no_progress_is_passed_over(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.lines = ["Warning: something", "", END]
    assert remote.interop(bed, tmp_path, cases=[], report=silent).ok


def test_an_error_of_the_far_side_is_this_sides_error(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.lines, far.code = [{"event": "error", "message": "no case matches 'x'", "remedy": "see --list"}], 2
    with pytest.raises(XdcError, match="no case matches 'x'") as caught:
        remote.interop(bed, tmp_path, cases=["x"], report=silent)
    assert caught.value.remedy == "see --list"


def test_a_suite_that_broke_is_not_a_suite_that_failed(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.code = 137
    with pytest.raises(VerifyFailed, match="exit code 137"):
        remote.interop(bed, tmp_path, cases=[], report=silent)
    assert far.fetched == []


def test_reports_are_brought_back_and_taken_from_the_node(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.lines = [END]
    remote.interop(bed, tmp_path, cases=[], report=silent)
    assert len(far.fetched) == 1
    assert far.commands[-1] == ("rm", "-rf", far.fetched[0])


def test_a_new_phase_of_the_demonstration_is_a_note_and_more_of_it_a_step(
    bed: Testbed, far: FarSide, tmp_path: Path
) -> None:
    told: list[Event] = []
    far.lines = [{"phase": phase, "message": "files"} for phase in ("write", "write", "wait")]
    assert remote.demo(bed, tmp_path, preset="small", report=told.append) is True
    steps = [(e.kind, e.text) for e in told if e.kind in ("note", "step")]
    assert steps == [("note", "write: files"), ("step", "write: files"), ("note", "wait: files")]


def test_a_demonstration_with_lost_files_is_brought_back_too(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.code = 1
    assert remote.demo(bed, tmp_path, preset="small", report=silent) is False
    assert len(far.fetched) == 1


def test_a_demonstration_has_the_time_that_it_is_given(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    remote.demo(bed, tmp_path, preset="small", report=silent)
    remote.demo(bed, tmp_path, preset="small", report=silent, deadline=900)
    asked = [words for words in far.commands if "xdc_testbed.demo" in words]
    assert "--deadline" not in asked[0]
    assert asked[1][asked[1].index("--deadline") + 1] == "900"


def test_a_demonstration_that_broke_is_told_with_its_last_word(bed: Testbed, far: FarSide, tmp_path: Path) -> None:
    far.code, far.last_words = 3, "Traceback\nerror: broker is not there\n"
    with pytest.raises(VerifyFailed, match="error: broker is not there"):
        remote.demo(bed, tmp_path, preset="small", report=silent)


def test_a_testbed_without_a_client_node_is_told_what_to_add(bed: Testbed) -> None:
    state = bed.folder.read()
    state.nodes = [node("desy-storage", "xrootd").to_json()]
    bed.folder.write(state)
    with pytest.raises(WrongUsage, match="no client node") as caught:
        remote.client(bed)
    assert "'client'" in (caught.value.remedy or "")


# -- events -----------------------------------------------------------------------------------------------------------


def passwords(bed: Testbed) -> list[str]:
    """What must never be on a command line."""
    tree = secrets.ensure(bed.folder.secrets_file, [])
    return [*tree["kafka"].values(), *tree["token_clients"].values()]


def test_the_password_of_the_broker_goes_in_by_standard_input_alone(bed: Testbed, far: FarSide) -> None:
    remote.dead_letters(bed, "list")
    asked = " ".join(far.commands[-1])
    assert far.told[0]["kafka"]["bootstrap"] == "desy-stream.xdc.test:9093"
    assert far.told[0]["password"] in passwords(bed)
    assert [word for word in passwords(bed) if word in asked] == []


def test_dead_letters_come_back_one_a_line(bed: Testbed, far: FarSide) -> None:
    far.said = '{"id": "a"}\n{"id": "b"}\n'
    assert remote.dead_letters(bed, "list") == [{"id": "a"}, {"id": "b"}]


def test_a_letter_that_is_not_there_is_told_as_the_far_side_said_it(bed: Testbed, far: FarSide) -> None:
    far.code, far.last_words = 2, "no dead letter begins with 'x'\nsee: dead list\n"
    with pytest.raises(WrongUsage, match="no dead letter begins with 'x'") as caught:
        remote.dead_letters(bed, "show", "x")
    assert caught.value.remedy == "see: dead list"


def test_a_probe_is_judged_by_its_last_line(bed: Testbed, far: FarSide) -> None:
    far.said = '{"file": 1}\n{"count": 2, "ok": 2}\n'
    assert remote.event_probe(bed, count=2, burst=False, deadline=1) == {"count": 2, "ok": 2}
    assert list(far.told[0]["storages"]) == ["desy-storage"]


def test_a_probe_that_broke_is_told_with_its_last_word(bed: Testbed, far: FarSide) -> None:
    far.code, far.last_words = 3, "Traceback\nbroker is not there\n"
    with pytest.raises(XdcError, match="the probe ended: broker is not there"):
        remote.event_probe(bed, count=2, burst=True, deadline=1)
