"""Every detector from a raw file to what EXtra-data makes of the corrected one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from detector_runs import FIRST_TRAIN, KINDS, TRAINS, Kind, write_constants, write_raw
from extra_data import RunDirectory
from extra_data.components import LPD1M
from extra_data.validation import FileAccess, FileValidator

from xdc_testbed.calibration import (
    CalibrationManifest,
    InputInvalid,
    Parameters,
    blocks,
    calibrate_file,
    calibrate_run,
)
from xdc_testbed.calibration.constants import read_constants
from xdc_testbed.calibration.darks import make_constants
from xdc_testbed.calibration.detectors import DETECTORS
from xdc_testbed.calibration.failures import NothingSelected
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.report import run_page


@dataclass(frozen=True, eq=False)
class Run:
    """A run of one module, and its correction with default parameters."""

    kind: Kind
    folder: Path
    manifest: CalibrationManifest

    @property
    def raw(self) -> Path:
        return self.folder / "raw" / self.kind.raw_name

    @property
    def cal(self) -> Path:
        return self.folder / "cal"

    def corrected(self, parameters: Parameters, folder: Path) -> tuple[CalibrationManifest, dict[str, Any]]:
        """Correct with other parameters. Returns the manifest, and the data as stored."""
        out = folder / self.raw.name.replace("RAW", "CORR")
        manifest = calibrate_file(self.raw, out, self.cal, parameters=parameters)
        return manifest, data_of(self.kind, out)


def data_of(kind: Kind, path: Path) -> dict[str, Any]:
    module = kind.module
    folder = module.detector.image.rpartition("/")[0]
    with h5py.File(path) as file:
        group = file[f"INSTRUMENT/{module.corrected_source}/{module.detector.group}"]
        beside = group[folder] if folder else group
        found = {"energy": group[module.detector.image][...], "gain": beside["gain"][...], "mask": beside["mask"][...]}
        return found | {
            key: group[key][...] for key in group if isinstance(group[key], h5py.Dataset) and group[key].ndim < 3
        }


@cache
def reference(run: Run, parameters: str = Parameters().model_dump_json()) -> dict[str, Any]:
    """Energies, stages and masks of all frames of the raw file by the numpy reference."""
    detector = run.kind.module.detector
    with h5py.File(run.raw) as file:
        group = file[f"INSTRUMENT/{run.kind.module.raw_source}/{detector.group}"]
        stored = group[detector.image][...].reshape(-1, *detector.unit)
        code = group[detector.code][...].reshape(-1, *detector.frame) if detector.code else None
        cells = group[detector.cell][...].reshape(-1) if detector.cell else np.zeros(len(stored), np.uint16)
    out = Corrected.empty((len(stored), *detector.frame))
    constants = read_constants(run.cal, run.kind.module)
    chosen = Parameters.model_validate_json(parameters)
    detector.reference(Pixels(*detector.views(stored, code), cells), constants, chosen, out)
    return {"energy": out.energy, "gain": out.stage, "mask": out.mask}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, want in expected.items():
        have = found[name].reshape(want.shape)
        np.testing.assert_array_equal(have.view(f"u{have.itemsize}"), want.view(f"u{want.itemsize}"), err_msg=name)


class Runs(dict[str, Run]):
    """Each made when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> Run:
        kind, folder = KINDS[name], self._folder / name
        write_raw(kind, folder / "raw")
        write_constants(kind, folder / "cal")
        self[name] = Run(kind, folder, calibrate_run(folder / "raw", folder / "proc", folder / "cal"))
        return self[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("detectors"))


def test_every_detector_is_here() -> None:
    assert {kind.module.detector for kind in KINDS.values()} == set(DETECTORS)


@pytest.mark.parametrize("name", KINDS)
def test_files_hold_what_the_reference_gives(runs: Runs, name: str) -> None:
    run = runs[name]
    (file,) = run.manifest.files
    assert (file.outcome, file.reason) == ("corrected", None)
    expected = reference(run)
    assert_same(data_of(run.kind, run.folder / "proc" / run.raw.name.replace("RAW", "CORR")), expected)
    stages = {str(stage): int(np.count_nonzero(expected["gain"] == stage)) for stage in range(3)}
    assert {k: v for k, v in file.pixels_by_stage.items() if k != "none"} == {k: v for k, v in stages.items() if v}


@pytest.mark.parametrize("name", KINDS)
def test_extra_data_opens_the_result_and_finds_no_problem(runs: Runs, name: str) -> None:
    run = runs[name]
    (path,) = (run.folder / "proc").glob("*.h5")
    assert FileValidator(FileAccess(path)).run_checks() == []
    module, expected = run.kind.module, reference(run)["energy"]
    with RunDirectory(str(run.folder / "proc")) as opened:
        if run.kind.component is None:
            key = opened[module.corrected_source, f"{module.detector.group}.{module.detector.image.replace('/', '.')}"]
            found = key.ndarray()
        else:
            detector = run.kind.component(opened, raw=False)
            found = detector[f"{module.detector.group}.{module.detector.image}"].ndarray()
            assert detector.masked_data().ndarray().size == found.size
            assert np.isnan(detector.masked_data().ndarray()).any()
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("version", ["0.5", "1.0", "1.3"])
def test_the_version_of_the_format_changes_nothing(runs: Runs, tmp_path: Path, version: str) -> None:
    run = runs["DSSC"]
    raw, out = write_raw(run.kind, tmp_path / "raw", version), tmp_path / "CORR.h5"
    calibrate_file(raw, out, run.cal)
    assert_same(data_of(run.kind, out), reference(run))


# -- LPD with parallel gain -------------------------------------------------------------------------------------------


def test_parallel_gain_takes_the_stage_from_the_place_in_the_train(runs: Runs, tmp_path: Path) -> None:
    run = runs["LPD"]
    raw, out = tmp_path / run.raw.name, tmp_path / "proc" / run.raw.name.replace("RAW", "CORR")
    raw.write_bytes(run.raw.read_bytes())
    out.parent.mkdir()
    with h5py.File(raw, "r+") as file:  # two pulses in cells 4 and 1, then what is never written
        file[f"INSTRUMENT/{run.kind.module.raw_source}/image/cellId"][:, 0] = [4, 1, 99, 77, 0, 65535] * TRAINS
    calibrate_file(raw, out, run.cal, parameters=Parameters(parallel_gain=True))
    found = data_of(run.kind, out)
    constants = read_constants(run.cal, run.kind.module)
    with h5py.File(raw) as file:
        values = file[f"INSTRUMENT/{run.kind.module.raw_source}/image/data"][:, 0] & 0xFFF
    for frame in range(6 * TRAINS):
        stage, cell = frame % 6 // 2, (4, 1)[frame % 2]
        want = (values[frame].astype(np.float32) - constants.offset[cell, stage]) * constants.factor[cell, stage]
        np.testing.assert_array_equal(found["energy"][frame], want)
        assert np.unique(found["gain"][frame]).tolist() == [stage]
    with RunDirectory(str(out.parent)) as opened:
        detector = LPD1M(opened, parallel_gain=True, raw=False)
        assert detector["image.data"].xarray().sel(gain=2, pulse=1).shape == (1, TRAINS, 256, 256)


def test_parallel_gain_needs_three_frames_per_pulse(runs: Runs, tmp_path: Path) -> None:
    run = runs["LPD"]
    raw = tmp_path / run.raw.name
    raw.write_bytes(run.raw.read_bytes())
    with h5py.File(raw, "r+") as file:
        file[f"INDEX/{run.kind.module.raw_source}/image/count"][1] = 5
    with pytest.raises(InputInvalid, match="train 10001 has 5 frames, parallel gain has three per pulse"):
        calibrate_file(raw, tmp_path / "CORR.h5", run.cal, parameters=Parameters(parallel_gain=True))


@pytest.mark.parametrize("kernel", ["numpy", "native"])
def test_parallel_gain_is_combined_into_the_most_sensitive_gain_that_is_not_too_large(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    monkeypatch.setenv("XDC_KERNEL", kernel)
    run = runs["LPD"]
    _, whole = run.corrected(Parameters(parallel_gain=True), tmp_path)
    manifest, found = run.corrected(Parameters(combine_up_to=2500), tmp_path)
    with h5py.File(run.raw) as file:
        values = file[f"INSTRUMENT/{run.kind.module.raw_source}/image/data"][:, 0] & 0xFFF
    by_stage = values.reshape(TRAINS, 3, 2, 256, 256)  # two pulses in high, in medium, in low gain
    stage = np.where(by_stage[:, 0] <= 2500, 0, np.where(by_stage[:, 1] <= 2500, 1, 2))
    assert set(np.unique(stage)) == {0, 1, 2}
    for key in ("energy", "mask"):
        three = whole[key].reshape(by_stage.shape)
        want = np.take_along_axis(three, stage[:, None], axis=1)[:, 0]
        np.testing.assert_array_equal(found[key], want.reshape(-1, 256, 256), err_msg=key)
    np.testing.assert_array_equal(found["gain"], stage.reshape(-1, 256, 256))
    np.testing.assert_array_equal(found["cellId"].reshape(TRAINS, 2), whole["cellId"].reshape(TRAINS, 6)[:, :2])
    (file,) = manifest.files
    assert (file.frames, file.frames_left_out, file.reference_only) == (2 * TRAINS, 0, False)
    assert file.pixels_by_stage == {str(s): int(np.count_nonzero(stage == s)) for s in range(3)}
    with RunDirectory(str(tmp_path)) as opened:
        assert LPD1M(opened, raw=False)["image.data"].ndarray().shape == (1, 2 * TRAINS, 256, 256)
    assert FileValidator(FileAccess(next(tmp_path.glob("*.h5")))).run_checks() == []


def test_a_combined_pulse_has_the_memory_cells_that_are_asked_for(runs: Runs, tmp_path: Path) -> None:
    _, found = runs["LPD"].corrected(Parameters(combine_up_to=4095, cells=(1,), photon_energy=9.3), tmp_path)
    assert found["cellId"].tolist() == [1] * TRAINS
    assert not found["gain"].any()


# -- gain in the word -------------------------------------------------------------------------------------------------


def test_gain_bits_in_the_word_are_read_when_asked_for(runs: Runs, tmp_path: Path) -> None:
    run = runs["JUNGFRAU, 16 cells"]
    raw = tmp_path / run.raw.name
    raw.write_bytes(run.raw.read_bytes())
    with h5py.File(raw, "r+") as file:
        group = file[f"INSTRUMENT/{run.kind.module.raw_source}/data"]
        group["adc"][...] = group["adc"][...] | (group["gain"][...].astype(np.uint16) << 14)
        del group["gain"]
    with pytest.raises(InputInvalid, match="no data/gain"):
        calibrate_file(raw, tmp_path / "CORR.h5", run.cal)
    calibrate_file(raw, tmp_path / "CORR.h5", run.cal, parameters=Parameters(gain_in_word=True))
    assert_same(data_of(run.kind, tmp_path / "CORR.h5"), reference(run))


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("gain", lambda values: values.astype(np.uint16), r"gain is uint16 \(16, 512, 1024\), expected uint8"),
        ("gain", lambda values: values[..., :512], r"gain is uint8 \(16, 512, 512\), expected uint8 \(16, 512, 1024\)"),
        ("gain", lambda values: values[:, 0], r"gain is uint8 \(512, 1024\), expected uint8 \(16, 512, 1024\)"),
        ("memoryCell", lambda values: values.astype(np.float32), "memoryCell is float32, expected whole numbers"),
    ],
)
@pytest.mark.parametrize("kernel", ["numpy", "native"])
def test_gain_codes_and_cells_of_another_shape_or_type_have_a_name(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, key: str, change: Any, message: str
) -> None:
    monkeypatch.setenv("XDC_KERNEL", kernel)
    run = runs["JUNGFRAU, 16 cells"]
    raw = tmp_path / run.raw.name
    raw.write_bytes(run.raw.read_bytes())
    with h5py.File(raw, "r+") as file:
        group = file[f"INSTRUMENT/{run.kind.module.raw_source}/data"]
        values = group[key][...]
        del group[key]
        group[key] = change(values)
    with pytest.raises(InputInvalid, match=message):
        calibrate_file(raw, tmp_path / "CORR.h5", run.cal)


@pytest.mark.parametrize("name", ["JUNGFRAU, 16 cells", "AGIPD 1M", "LPD"])
def test_fixed_gain_is_one_stage_everywhere(runs: Runs, tmp_path: Path, name: str) -> None:
    parameters = Parameters(fixed_gain=1)
    _, found = runs[name].corrected(parameters, tmp_path)
    assert_same(found, reference(runs[name], parameters.model_dump_json()))
    assert set(np.unique(found["gain"])) <= {1, 255}


# -- common mode of the ePix100 ---------------------------------------------------------------------------------------


def test_common_mode_of_the_epix100_is_the_reference_and_the_manifest_says_so(runs: Runs, tmp_path: Path) -> None:
    parameters = Parameters(common_mode=True, cm_dark_range=200)
    manifest, found = runs["ePix100"].corrected(parameters, tmp_path)
    assert manifest.files[0].reference_only
    assert not runs["ePix100"].manifest.files[0].reference_only
    expected = reference(runs["ePix100"], parameters.model_dump_json())
    assert_same(found, expected)
    assert not np.array_equal(expected["energy"], reference(runs["ePix100"])["energy"])


# -- baseline of the AGIPD --------------------------------------------------------------------------------------------


def test_the_baseline_of_shadowed_pixels_is_the_reference_and_the_manifest_says_so(runs: Runs, tmp_path: Path) -> None:
    run = runs["AGIPD 1M"]
    shadowed = Run(run.kind, tmp_path / "shadowed", run.manifest)
    shutil.copytree(run.folder, shadowed.folder)
    (constants,) = shadowed.cal.rglob("cal.*.h5")
    with h5py.File(constants, "r+") as file:
        file["Unit_1/BadPixelsDark/0/data"][:, 40:46] = 1 << 19
    parameters = Parameters(baseline_below=5000)
    manifest, found = shadowed.corrected(parameters, tmp_path)
    assert manifest.files[0].reference_only
    assert_same(found, reference(shadowed, parameters.model_dump_json()))
    assert not np.array_equal(found["energy"], reference(shadowed)["energy"])


# -- trains and frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_trains_that_are_asked_for_are_those_of_the_whole_run(runs: Runs, tmp_path: Path, name: str) -> None:
    run = runs[name]
    manifest, found = run.corrected(Parameters(trains=(FIRST_TRAIN + 1, None)), tmp_path)
    (file,), per_train = manifest.files, run.manifest.files[0].frames // TRAINS
    assert (file.trains, file.trains_left_out) == (TRAINS - 1, 1)
    assert (file.frames, file.frames_left_out) == (per_train, per_train)
    assert_same(found, {key: values[per_train:] for key, values in reference(run).items()})
    assert np.unique(found["trainId"]).tolist() == [FIRST_TRAIN + 1]
    assert FileValidator(FileAccess(next(tmp_path.glob("*.h5")))).run_checks() == []


def test_memory_cells_that_are_asked_for_are_kept(runs: Runs, tmp_path: Path) -> None:
    run = runs["DSSC"]
    manifest, found = run.corrected(Parameters(cells=(3, 1, 40)), tmp_path)
    assert found["cellId"].tolist() == [1, 3] * TRAINS
    assert manifest.files[0].frames_left_out == 3 * TRAINS
    kept = np.arange(5 * TRAINS).reshape(TRAINS, 5)[:, [1, 3]].reshape(-1)
    assert_same(found, {key: values[kept] for key, values in reference(run).items()})
    with RunDirectory(str(tmp_path)) as opened:
        assert run.kind.component(opened, raw=False).frame_counts.tolist() == [2] * TRAINS


def test_a_file_outside_of_the_range_is_left_out_of_a_run_and_refused_alone(runs: Runs, tmp_path: Path) -> None:
    run, parameters = runs["DSSC"], Parameters(trains=(None, FIRST_TRAIN - 1))
    with pytest.raises(NothingSelected):
        run.corrected(parameters, tmp_path)
    manifest = calibrate_run(run.raw.parent, tmp_path / "proc", run.cal, parameters=parameters)
    assert [file.outcome for file in manifest.files] == ["left out"]
    assert list((tmp_path / "proc").iterdir()) == []


# -- less than full energies ------------------------------------------------------------------------------------------


def test_whole_photons(runs: Runs, tmp_path: Path) -> None:
    _, found = runs["LPD"].corrected(Parameters(photon_energy=9.3), tmp_path)
    energy = reference(runs["LPD"])["energy"]
    want = np.maximum(np.rint(energy / np.float32(9.3)), 0)
    np.testing.assert_array_equal(found["energy"], want)
    assert not np.signbit(found["energy"]).any()


def test_half_precision_marks_what_is_beyond_it(runs: Runs, tmp_path: Path) -> None:
    run = runs["AGIPD 1M"]
    manifest, found = run.corrected(Parameters(half_precision=True), tmp_path)
    energy = reference(run)["energy"]
    assert found["energy"].dtype == np.float16
    np.testing.assert_array_equal(found["energy"], energy.astype(np.float16))
    assert manifest.files[0].pixels_by_reason.get("VALUE_OUT_OF_RANGE", 0) == np.count_nonzero(found["mask"] & 1 << 12)
    with RunDirectory(str(tmp_path)) as opened:
        assert run.kind.component(opened, raw=False)["image.data"].dtype == np.float16
    assert FileValidator(FileAccess(next(tmp_path.glob("*.h5")))).run_checks() == []


def test_a_shorter_mantissa_is_the_nearest_value_that_has_it(runs: Runs, tmp_path: Path) -> None:
    _, found = runs["DSSC"].corrected(Parameters(mantissa_bits=10), tmp_path)
    energy = reference(runs["DSSC"])["energy"]
    fraction, exponent = np.frexp(energy.astype(np.float64))
    np.testing.assert_array_equal(found["energy"], np.ldexp(np.rint(np.ldexp(fraction, 11)), exponent - 11))


# -- the page of a run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("ePix100", {}),
        ("LPD", {"parallel_gain": True, "cells": (1,), "half_precision": True}),
        ("DSSC", {"trains": (FIRST_TRAIN + 1, None), "photon_energy": 2.0}),
    ],
)
def test_the_page_of_a_run_shows_the_frames_that_were_selected(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chosen: dict[str, Any]
) -> None:
    manifest, found = runs[name].corrected(Parameters(**chosen), tmp_path)
    drawn = []
    monkeypatch.setattr(run_page, "draw", lambda _, module: drawn.append(module) or b"")
    run_page.write_page(manifest, runs[name].raw.parent, tmp_path)
    (module,) = drawn
    assert module.unit == ("photons" if "photon_energy" in chosen else "keV")
    assert_same({"mask": module.mask, "gain": module.stage}, {key: found[key] for key in ("mask", "gain")})
    np.testing.assert_array_equal(module.after, found["energy"].astype(np.float32))
    assert module.before.max() < 1 << 14


# -- threads and blocks, darks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "block"), [(1, 1), (3, 1 << 18)])
@pytest.mark.parametrize("combine_up_to", [None, 2500])
def test_parallel_gain_and_reductions_do_not_depend_on_threads_and_blocks(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, block: int, combine_up_to: int | None
) -> None:
    parameters = Parameters(
        parallel_gain=True, combine_up_to=combine_up_to, photon_energy=9.3, half_precision=True, cells=(0, 1)
    )
    _, want = runs["LPD"].corrected(parameters, tmp_path)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
    monkeypatch.setattr(blocks, "FRAME_BLOCK_BYTES", block)
    monkeypatch.setenv("XDC_THREADS", str(threads))
    _, found = runs["LPD"].corrected(parameters, tmp_path)
    assert len(want["energy"]) == (6 if combine_up_to is None else 2) * TRAINS
    assert_same(found, want)


@pytest.mark.parametrize("name", ["DSSC", "ePix100", "LPD"])
def test_a_dark_run_is_zero_by_the_constants_that_it_makes(runs: Runs, tmp_path: Path, name: str) -> None:
    run = runs[name]
    detector = run.kind.module.detector
    shutil.copytree(run.cal, tmp_path / "cal")
    raw = write_raw(run.kind, tmp_path / "raw")
    with h5py.File(raw, "r+") as file:
        image = file[f"INSTRUMENT/{run.kind.module.raw_source}/{detector.group}/{detector.image}"]
        image[...] = np.arange(image[0].size).reshape(image[0].shape) % 5  # DSSC: 0 is 256
    (made,) = make_constants({0: raw.parent}, tmp_path / "cal", begin=datetime(2026, 1, 1, tzinfo=UTC))
    assert made.frames[0] == run.kind.cells * TRAINS
    out = tmp_path / "CORR.h5"
    manifest = calibrate_file(raw, out, tmp_path / "cal", parameters=Parameters(constants={"strategy": "prior"}))
    constants = manifest.files[0].constants
    assert constants is not None
    assert {part.begin.year for part in constants.parts if "Offset" in part.name} == {2026}
    assert not data_of(run.kind, out)["energy"].any()
