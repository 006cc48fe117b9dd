"""Frames without data are left out, as the facility's lit frame finder told."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from detector_runs import FIRST_TRAIN, KINDS, write_constants, write_raw
from extra_data import RunDirectory
from extra_data.validation import FileAccess, FileValidator
from finder_file import CONTROL, FINDER, write_finder
from typer.testing import CliRunner

from xdc_testbed.calibration import CalibrationManifest, InputInvalid, InputTruncated, Parameters, calibrate_run
from xdc_testbed.calibration.failures import InputChanged
from xdc_testbed.calibration.lit_frames import LitFrames, read_lit_frames
from xdc_testbed.calibration.repeat import repeat
from xdc_testbed.cli.calibrate import app
from xdc_testbed.errors import WrongUsage

AGIPD, DSSC = KINDS["AGIPD 1M"], KINDS["DSSC"]


@dataclass(frozen=True)
class Run:
    """A run of an AGIPD and a DSSC module, two trains, with all of the finder's data in a file of its own."""

    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def cal(self) -> Path:
        return self.folder / "cal"

    def correct(self, name: str, lit: LitFrames | None, **chosen: Any) -> CalibrationManifest:
        return calibrate_run(self.raw, self.folder / name, self.cal, parameters=Parameters(**chosen), lit_frames=lit)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path)
    for kind in (AGIPD, DSSC):
        write_raw(kind, made.raw)
        write_constants(kind, made.cal)
    write_finder(made.raw)
    return made


def stored(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / AGIPD.raw_name.replace("RAW", "CORR")) as file:
        group = file[f"INSTRUMENT/{AGIPD.module.corrected_source}/image"]
        return {key: group[key][...] for key in group}


def test_frames_that_hold_data_are_those_of_the_whole_run(run: Run) -> None:
    manifest = run.correct("lit", read_lit_frames(run.raw))
    run.correct("whole", None)
    found, whole = stored(run.folder / "lit"), stored(run.folder / "whole")
    kept = [0, 2, 5]  # of four frames per train
    assert found["cellId"].tolist() == [0, 2, 1]
    for key, values in whole.items():
        np.testing.assert_array_equal(found[key], values[kept], err_msg=key)
    by_name = {file.input.name: file for file in manifest.files}
    agipd = by_name[AGIPD.raw_name]
    assert (agipd.frames, agipd.frames_left_out, agipd.frames_unlit, agipd.trains_untold) == (3, 5, 5, 0)
    assert by_name[DSSC.raw_name].frames_left_out == 0  # the finder is AGIPD's
    assert [file.name for file in manifest.lit_frames] == [CONTROL]
    with RunDirectory(str(run.folder / "lit")) as opened:
        assert AGIPD.component(opened, raw=False).frame_counts.tolist() == [2, 1]
    corrected = run.folder / "lit" / AGIPD.raw_name.replace("RAW", "CORR")
    assert FileValidator(FileAccess(corrected)).run_checks() == []


def test_a_file_of_other_data_than_a_detectors_is_left_out_of_a_run(run: Run) -> None:
    by_name = {file.input.name: file for file in run.correct("out", None).files}
    assert (by_name[CONTROL].outcome, by_name[CONTROL].failure) == ("left out", "no-detector")
    shutil.copy(run.raw / CONTROL, run.raw / "RAW-R0001-AGIPD01-S00000.h5")
    (file,) = (file for file in run.correct("out", None).files if "AGIPD01" in file.input.name)
    assert (file.outcome, file.failure) == ("failed", "no-detector")


def test_a_train_that_the_finder_does_not_know_is_kept_whole_and_counted(run: Run) -> None:
    write_finder(run.raw, {FIRST_TRAIN: (3,)})
    (file,) = (file for file in run.correct("out", read_lit_frames(run.raw)).files if file.frames_unlit)
    assert (file.frames, file.frames_unlit, file.trains_untold) == (1 + 4, 3, 1)
    assert stored(run.folder / "out")["cellId"].tolist() == [3, 0, 1, 2, 3]


def test_a_train_without_light_stays_without_frames(run: Run) -> None:
    write_finder(run.raw, {FIRST_TRAIN: (), FIRST_TRAIN + 1: ()})
    (file,) = (file for file in run.correct("out", read_lit_frames(run.raw)).files if file.frames_unlit)
    assert (file.outcome, file.frames, file.trains, file.trains_without_data) == ("corrected", 0, 2, 2)


def test_trains_and_cells_that_are_asked_for_are_taken_of_the_lit_ones(run: Run) -> None:
    manifest = run.correct("out", read_lit_frames(run.raw), cells=(1, 2), trains=(FIRST_TRAIN, FIRST_TRAIN))
    (file,) = (file for file in manifest.files if file.frames_unlit)
    assert (file.frames, file.frames_left_out, file.frames_unlit) == (1, 7, 1)


def test_frames_of_pulses_with_little_energy_are_left_out_when_asked_for(run: Run) -> None:
    write_finder(run.raw, {FIRST_TRAIN: (0, 1, 2), FIRST_TRAIN + 1: (1, 3)})
    with h5py.File(run.raw / CONTROL, "r+") as file:
        file[f"INSTRUMENT/{FINDER}:output/data/energyPerFrame"][1, 1] = 10_000  # the gas monitor told nothing
    manifest = run.correct("out", read_lit_frames(run.raw), pulse_energy_above=200)
    (file,) = (file for file in manifest.files if file.frames_unlit)
    assert stored(run.folder / "out")["cellId"].tolist() == [2, 1, 3]
    assert (file.frames, file.frames_unlit) == (3, 5)


def test_energies_need_a_finder_that_tells_them(run: Run) -> None:
    (file,) = (file for file in run.correct("out", None, pulse_energy_above=200).files if file.outcome == "failed")
    assert (file.input.name, file.reason) == (AGIPD.raw_name, "only a lit frame finder tells energies of pulses")
    with h5py.File(run.raw / CONTROL, "r+") as control:
        del control[f"INSTRUMENT/{FINDER}:output/data/energyPerFrame"]
    lit = read_lit_frames(run.raw)
    (file,) = (file for file in run.correct("out", lit, pulse_energy_above=200).files if file.outcome == "failed")
    assert file.reason == f"{FINDER}:output tells no energies"
    assert run.correct("out", lit).lit_frames == lit.files


def test_a_memory_cell_beyond_what_the_finder_tells_of_is_kept() -> None:
    lit = LitFrames(FINDER, np.array([7], np.uint64), np.array([2]), np.array([[True, False, False]]), None, ())
    trains, cells = np.array([7, 7, 7, 7, 8, 6], np.uint64), np.array([0, 1, 2, 500, 1, 1])
    assert lit.hold_data(trains, cells).tolist() == [True, False, True, True, True, True]


def test_the_finder_is_found_in_sequences_of_a_run_and_in_one_file(run: Run) -> None:
    write_finder(run.raw, {FIRST_TRAIN: (0,)})
    second = write_finder(run.raw, {FIRST_TRAIN: (1,), FIRST_TRAIN + 1: (3,)}, "RAW-R0001-DA01-S00001.h5")
    lit = read_lit_frames(run.raw)
    assert lit.train_ids.tolist() == [FIRST_TRAIN, FIRST_TRAIN + 1]
    assert [np.flatnonzero(row).tolist() for row in lit.pattern] == [[0], [3]]
    assert read_lit_frames(second).train_ids.tolist() == [FIRST_TRAIN, FIRST_TRAIN + 1]


def test_what_is_no_finder_has_a_name(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"no lit frame finder has told anything in RAW-R0001-AGIPD00"):
        read_lit_frames(run.raw / AGIPD.raw_name)
    write_finder(run.raw, name="RAW-R0001-DA02-S00000.h5", device="HED_EXP_AGIPD500K2G/REDU/LITFRM")
    with pytest.raises(InputInvalid, match=r"more than one lit frame finder: HED.*, SPB"):
        read_lit_frames(run.raw)
    odd = write_finder(tmp_path / "odd")
    with h5py.File(odd, "r+") as file:
        data = file[f"INSTRUMENT/{FINDER}:output/data"]
        del data["nFrame"]
        data["nFrame"] = np.zeros((2, 3), np.uint16)
    with pytest.raises(InputInvalid, match=r"nFrame of shape \(2, 3\)"):
        read_lit_frames(odd)
    with h5py.File(odd, "r+") as file:
        file[f"INDEX/{FINDER}:output/data/first"][1] = 9
        del file[f"INSTRUMENT/{FINDER}:output/data/nFrame"]
        file[f"INSTRUMENT/{FINDER}:output/data/nFrame"] = np.zeros(2, np.uint16)
    with pytest.raises(InputTruncated, match="rows that are not there"):
        read_lit_frames(odd)


def test_a_damaged_file_of_a_run_is_passed_over_and_named_where_it_is_corrected(run: Run) -> None:
    (run.raw / "RAW-R0001-AGIPD00-S00001.h5").write_bytes(b"no HDF5")
    manifest = run.correct("out", read_lit_frames(run.raw))
    assert {file.failure for file in manifest.files if file.outcome == "failed"} == {"input-invalid"}
    assert sum(file.frames_unlit for file in manifest.files) == 5


def test_a_run_is_repeated_with_the_same_finder_only(run: Run, tmp_path: Path) -> None:
    manifest = run.correct("lit", read_lit_frames(run.raw))
    done = repeat(manifest, run.raw, tmp_path / "again", run.cal)
    assert (done.differences, done.manifest.lit_frames) == ({}, manifest.lit_frames)
    write_finder(run.raw, {FIRST_TRAIN: (3,)})
    with pytest.raises(InputChanged, match="not those that the manifest names"):
        repeat(manifest, run.raw, tmp_path / "again", run.cal)


def test_on_the_command_line(run: Run, tmp_path: Path) -> None:
    words = [str(run.raw), "-o", str(tmp_path / "out"), "-c", str(run.cal), "--plots"]
    ended = CliRunner().invoke(app, [*words, "--lit-frames", str(run.raw / CONTROL)])
    assert ended.exit_code == 0, ended.output
    (line,) = [line for line in ended.output.splitlines() if line.startswith(AGIPD.raw_name)]
    assert line.endswith(", 5 frames without data left out")
    ended = CliRunner().invoke(app, [*words, "--lit-frames", str(tmp_path / "nothing")])
    assert isinstance(ended.exception, WrongUsage)
