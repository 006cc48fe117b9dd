"""Constants from dark runs: what went into the darks comes out, and corrects a run to its truth."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected
from typer.testing import CliRunner

from xdc_testbed.calibration import calibrate_run
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import read_constants
from xdc_testbed.calibration.darks import make_constants
from xdc_testbed.calibration.detectors import AGIPD, JUNGFRAU, Module
from xdc_testbed.calibration.failures import DarksInvalid, InputInvalid, OutputFailed
from xdc_testbed.calibration.manifest import Choice
from xdc_testbed.cli.darks import app
from xdc_testbed.demo.detector_data import CONSTANTS_FILE, write_darks
from xdc_testbed.demo.detector_response import GAINS
from xdc_testbed.errors import WrongUsage

JF = JUNGFRAU.module("SPB_IRDA_JF4M/DET/JNGFR01:daqOutput")
AG = AGIPD.module("SPB_DET_AGIPD1M-1/DET/0CH0:xtdf")
MADE = "cal.20260301T080000Z.h5"
OUTSIDE = BadPixels.OFFSET_OUT_OF_THRESHOLD | BadPixels.NOISE_OUT_OF_THRESHOLD


@dataclass(frozen=True)
class Dark:
    """runs: gain stage -> folder; cal: constants with the new versions beside the ones they replace."""

    runs: dict[int, Path]
    cal: Path
    output: str


@pytest.fixture(scope="module")
def dark(corrected: Corrected, tmp_path_factory: pytest.TempPathFactory) -> Dark:
    """Dark runs of the detectors of the small run, and what the verb makes of them; not to be changed."""
    folder = tmp_path_factory.mktemp("dark")
    runs = write_darks(folder, corrected.run.plan)
    shutil.copytree(corrected.cal, folder / "cal")
    words = ["--high", runs[0], "--medium", runs[1], "--low", runs[2], "-o", folder / "cal", "--condition", "bias=300"]
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert ended.exit_code == 0, ended.output
    return Dark(runs, folder / "cal", ended.output)


def stored(cal: Path, module: Module, name: str, constant: str) -> Any:
    with h5py.File(cal / module.constants_folder / name) as file:
        (pdu,) = file
        return file[f"{pdu}/{constant}/0/data"][...]


@pytest.mark.parametrize(("module", "suffix"), [(JF, "10Hz"), (AG, "")])
def test_offsets_are_those_that_the_pixels_have(dark: Dark, module: Module, suffix: str) -> None:
    given = stored(dark.cal, module, CONSTANTS_FILE, f"Offset{suffix}")
    found = stored(dark.cal, module, MADE, f"Offset{suffix}")
    flawed = stored(dark.cal, module, CONSTANTS_FILE, f"BadPixelsDark{suffix}") != 0
    assert np.array_equal(found[~flawed], given[~flawed])
    noise = stored(dark.cal, module, MADE, f"Noise{suffix}")
    assert set(np.unique(noise[~flawed]).tolist()) == {1.0, 2.0, 3.0}


@pytest.mark.parametrize(("module", "suffix"), [(JF, "10Hz"), (AG, "")])
def test_pixels_that_send_anything_are_found_and_few_others(dark: Dark, module: Module, suffix: str) -> None:
    flawed = stored(dark.cal, module, CONSTANTS_FILE, f"BadPixelsDark{suffix}") != 0
    found = (stored(dark.cal, module, MADE, f"BadPixelsDark{suffix}") & OUTSIDE) != 0
    assert found[flawed].mean() > 0.99
    assert found[~flawed].mean() < 1e-3


def test_thresholds_lie_between_the_levels(dark: Dark) -> None:
    thresholds = stored(dark.cal, AG, MADE, "ThresholdsDark")
    assert [np.unique(part).tolist() for part in np.moveaxis(thresholds, -1, 0)] == [
        [5200], [7200], [4200], [6200], [8200],
    ]  # fmt: skip


def test_a_run_is_corrected_to_its_truth_with_constants_from_darks(
    corrected: Corrected, dark: Dark, tmp_path: Path
) -> None:
    manifest = calibrate_run(corrected.raw, tmp_path, dark.cal)
    taken = {
        (part.name, part.file.rsplit("/", 1)[1]) for f in manifest.files if f.constants for part in f.constants.parts
    }
    assert {name for name, file in taken if file == MADE} == {
        "Offset", "BadPixelsDark", "ThresholdsDark", "Offset10Hz", "BadPixelsDark10Hz",
    }  # fmt: skip
    compared = 0
    for file in corrected.run.files:
        if file.truth is None:
            continue
        image = "data/adc" if file.kind == "JUNGFRAU" else "image/data"
        with (
            h5py.File(tmp_path / file.path.rsplit("/", 1)[1].replace("RAW-", "CORR-")) as out,
            h5py.File(corrected.folder / file.truth) as truth,
        ):
            (source,) = (
                out[f"INSTRUMENT/{d}/CORR/{s}"] for d in out["INSTRUMENT"] for s in out[f"INSTRUMENT/{d}/CORR"]
            )
            want = truth["photons"][...].astype(np.float64) * truth.attrs["photon_energy_kev"]
            stage, bad = truth["stage"][...], truth["mask"][...] != 0
            energy = source[image][...].reshape(want.shape)
            mask = source[f"{image.split('/')[0]}/mask"][...].reshape(want.shape)
        good = (mask == 0) & ~bad
        half = 0.5 / np.abs(np.array(GAINS[file.kind]))[stage[good]] * 1.15  # gains differ by some per cent
        assert (np.abs(energy[good] - want[good]) <= half + 1e-5 * want[good]).all(), file.path
        assert (mask[~bad] == 0).mean() > 0.999
        compared += int(good.sum())
    assert compared > 2_000_000


def test_conditions_and_the_unit_go_into_the_file(dark: Dark) -> None:
    constants = read_constants(dark.cal, AG, choice=Choice(conditions={"bias": 300}))
    records = {record.name: record for record in constants.records}
    assert records["Offset"].conditions == {"bias": 300}
    assert records["Offset"].pdu == records["SlopesFF"].pdu == "Agipd_M100"
    assert "SPB_DET_AGIPD1M-1 AGIPD00 (Agipd_M100): 16, 16, 16 frames" in dark.output


def test_a_stage_without_a_run_is_marked_and_not_zero(dark: Dark, tmp_path: Path) -> None:
    runs = {0: tmp_path / "r1"}
    runs[0].mkdir()
    shutil.copy(dark.runs[0] / "RAW-R1001-AGIPD00-S00000.h5", runs[0])
    (made,) = make_constants(runs, tmp_path / "cal")
    assert (made.pdu, made.frames) == ("SPB_DET_AGIPD1M-1_AGIPD00", (16, 0, 0))
    assert np.isnan(stored(tmp_path / "cal", AG, MADE, "Offset")[..., 1:]).all()
    bad = stored(tmp_path / "cal", AG, MADE, "BadPixelsDark")
    assert (bad[..., 1:] & BadPixels.NO_DARK_DATA).all()
    assert not (bad[..., 0] & BadPixels.NO_DARK_DATA).any()


def test_pixels_that_say_another_stage_are_not_counted(dark: Dark, tmp_path: Path) -> None:
    """The medium run given as the high one: no pixel says that it is in high gain."""
    runs = {0: tmp_path / "r1"}
    runs[0].mkdir()
    shutil.copy(dark.runs[1] / "RAW-R1002-JNGFR01-S00000.h5", runs[0])
    list(make_constants(runs, tmp_path / "cal"))
    assert np.isnan(stored(tmp_path / "cal", JF, MADE, "Offset10Hz")).all()


def test_what_does_not_go_together_is_named_and_nothing_is_written(dark: Dark, tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="constants of this time already"):
        list(make_constants(dark.runs, dark.cal))
    with pytest.raises(DarksInvalid, match="has 3 gain stage"):
        list(make_constants({3: dark.runs[0]}, tmp_path))
    with pytest.raises(InputInvalid, match="is no folder"):
        list(make_constants({0: tmp_path / "no"}, tmp_path))
    ended = CliRunner().invoke(app, ["--high", str(dark.runs[0]), "--low", str(dark.runs[2]), "-o", str(tmp_path)])
    assert isinstance(ended.exception, WrongUsage)
    assert list(tmp_path.iterdir()) == []


def test_a_begin_of_validity_may_be_given(dark: Dark, tmp_path: Path) -> None:
    runs = {0: tmp_path / "r1"}
    runs[0].mkdir()
    shutil.copy(dark.runs[0] / "RAW-R1001-AGIPD00-S00000.h5", runs[0])
    words = ["--high", str(runs[0]), "-o", str(tmp_path / "cal"), "--begin", "2026-05-01T12:00:00"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (path,) = (tmp_path / "cal" / AG.constants_folder).iterdir()
    assert path.name == "cal.20260501T120000Z.h5"
