"""The demonstration from its settings to its facts, on a pretended testbed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pretend import ENDPOINTS, FUNCTIONS, PretendTestbed, Storage, Told, tell

from xdc_testbed.clients.digests import Content
from xdc_testbed.clients.errors import Unreachable
from xdc_testbed.demo import __main__ as program
from xdc_testbed.demo import comparing, places
from xdc_testbed.demo.detector_data import RunManifest
from xdc_testbed.demo.facts import Story
from xdc_testbed.demo.judge import judge
from xdc_testbed.demo.story import Step, next_run
from xdc_testbed.errors import WrongUsage


def test_every_file_becomes_what_its_manifest_says(told: Told) -> None:
    story, _ = told
    assert story.unexpected == []
    assert [file.outcome for file in story.files].count("failed") == 1


def test_the_facts_can_be_read_again(told: Told) -> None:
    story, out = told
    assert Story.read(out) == story


def test_the_truncated_file_fails_word_for_word_as_expected(told: Told) -> None:
    story, out = told
    manifest = RunManifest.model_validate_json((out / "run.json").read_bytes())
    (reason,) = [file.reason for file in manifest.files if file.reason]
    (failed,) = [file for file in story.files if file.outcome == "failed"]
    assert failed.dead_letter == reason


def test_corrected_files_are_read_at_both_sites_and_twice_through_the_cache(told: Told) -> None:
    story, _ = told
    read = [[copy.endpoint for copy in (*file.copies, *file.cached)] for file in story.files if file.corrected]
    assert read == [["desy-storage", "remote-storage", "remote-cache", "remote-cache"]] * 4


def test_no_spare_copy_is_left_behind(told: Told) -> None:
    work = told[1].parent / "work"
    assert [path.name for path in work.iterdir() if path.is_file()] == ["run.json"]


def test_a_lost_event_is_a_missing_file_and_not_silence(tmp_path: Path) -> None:
    lost = "/data/raw/r0001/RAW-R0001-AGIPD00-S00000.h5"
    steps: list[Step] = []
    story, _ = tell(tmp_path, PretendTestbed(lose={lost}), steps.append, deadline=0.1)
    (line,) = story.unexpected
    assert line == "RAW-R0001-AGIPD00-S00000.h5: missing: no storage event seen of the raw file, no result of calibrate"
    assert line in [step.message for step in steps]


def test_other_bytes_at_the_remote_site_are_found(tmp_path: Path) -> None:
    spoiled = "/data/proc/r0001/CORR-R0001-AGIPD00-S00000.h5"
    story, _ = tell(tmp_path, PretendTestbed(spoil={spoiled}))
    assert story.unexpected == ["RAW-R0001-AGIPD00-S00000.h5: other bytes at remote-storage"]


class BrokenCache(Storage):
    """A cache whose first reads break off. left: how many of them."""

    left = 3

    def receive(self, path: str, file: Path) -> Content:
        """What is behind it, in the end."""
        if self.left:
            self.left -= 1
            raise Unreachable(f"GET {path}: peer closed connection")
        return self.testbed.storages["desy-storage"].receive(path, file)


def test_a_read_through_the_cache_that_breaks_off_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing.time, "sleep", lambda _: None)
    testbed = PretendTestbed()
    testbed.storages["remote-cache"] = BrokenCache(testbed)
    story, _ = tell(tmp_path, testbed)
    assert story.unexpected == []


def test_a_cache_that_never_answers_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_PATIENCE", 0.0)
    monkeypatch.setattr(comparing.time, "sleep", lambda _: None)
    testbed = PretendTestbed()
    testbed.storages["remote-cache"] = BrokenCache(testbed)
    testbed.storages["remote-cache"].left = 1000
    story, _ = tell(tmp_path, testbed)
    assert len([line for line in story.unexpected if "missing: GET" in line and "peer closed" in line]) == 4


def test_raw_data_is_looked_for_on_tape(tmp_path: Path) -> None:
    story, out = tell(tmp_path, PretendTestbed(tape=True))
    corrected = [file for file in story.files if file.corrected]
    assert story.unexpected == []
    assert [file.tape is not None and file.tape.safe for file in corrected] == [True] * 4
    assert {file.said for file in corrected} == {"corrected and transferred and recorded and archived"}
    (check,) = [check for check in judge(out).checks if "on tape" in check.title]
    assert (check.ok, check.said) == (True, "4 raw files changed from disk to tape, each with a copy there")


def test_raw_data_that_stayed_on_disk_is_found(tmp_path: Path) -> None:
    stayed = "/data/raw/r0001/RAW-R0001-AGIPD00-S00000.h5"
    story, _ = tell(tmp_path, PretendTestbed(tape=True, stay={stayed}))
    assert story.unexpected[0] == "RAW-R0001-AGIPD00-S00000.h5: missing: raw file is disk, ONLINE: not on tape"


def test_a_file_that_is_no_result_is_left_over(tmp_path: Path) -> None:
    testbed = PretendTestbed()
    testbed.storages["remote-storage"].files["/data/proc/r0001/CORR-X.h5.part-1"] = b""
    story, _ = tell(tmp_path, testbed)
    assert story.residue == ("remote-storage:/data/proc/r0001/CORR-X.h5.part-1",)
    assert not story.as_expected


def test_a_second_demonstration_takes_the_next_run() -> None:
    storage = Storage(PretendTestbed())
    assert next_run(storage) == 1  # type: ignore[arg-type]
    storage.files = {"/data/raw/r0009/RAW.h5": b"", "/data/raw/notes.txt": b"", "/data/raw/r0010/RAW.h5": b""}
    assert next_run(storage) == 11  # type: ignore[arg-type]


def test_the_storage_behind_the_cache_is_the_origin() -> None:
    chosen = places.choose([*reversed(ENDPOINTS), FUNCTIONS])
    assert [place.id for place in chosen.all] == ["desy-storage", "remote-storage", "remote-cache"]


def test_one_storage_alone_is_enough() -> None:
    assert places.choose(ENDPOINTS[:1]).all == (ENDPOINTS[0],)


def test_endpoints_without_a_storage_are_refused() -> None:
    with pytest.raises(WrongUsage, match="no storage with an https door"):
        places.choose([FUNCTIONS])


def test_the_program_says_its_progress_as_json_lines(
    told: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretended(settings: object, report: object) -> Story:
        report(Step("burst", "raw files", 1, 5, "1 of 5 raw files"))  # type: ignore[operator]
        return told[0]

    monkeypatch.setattr(program, "tell", pretended)
    assert program.main(["--work", str(tmp_path), "--out", str(tmp_path), "--json-progress"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == {"phase": "burst", "step": "raw files", "done": 1, "total": 5, "message": "1 of 5 raw files"}


def test_the_program_ends_with_the_errors_code_and_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "endpoints.json").write_text("[]")
    words = ["--endpoints", str(tmp_path / "endpoints.json"), "--work", str(tmp_path), "--out", str(tmp_path)]
    assert program.main(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        "no storage with an https door among the endpoints",
        "is this the file that `up` wrote?",
    ]
