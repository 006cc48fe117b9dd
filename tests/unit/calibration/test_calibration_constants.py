"""Constants in the facility's layout: turned to the kernels' order, and refused when they do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected

from xdc_testbed.calibration.constants import read_constants
from xdc_testbed.calibration.detectors import AGIPD, JUNGFRAU, identify
from xdc_testbed.calibration.failures import (
    CalibrationError,
    ConstantsInvalid,
    ConstantsMissing,
    InputInvalid,
)
from xdc_testbed.demo.detector_data import CONSTANTS_FILE

JF_MODULE = JUNGFRAU.module("SPB_IRDA_JF4M/DET/JNGFR01:daqOutput")
AGIPD_MODULE = AGIPD.module("SPB_DET_AGIPD1M-1/DET/0CH0:xtdf")


def test_planes_are_cell_stage_slow_fast(corrected: Corrected) -> None:
    constants = read_constants(corrected.cal, AGIPD_MODULE)
    assert constants.offset.shape == constants.factor.shape == constants.bad.shape == (4, 3, 512, 128)
    assert constants.thresholds is not None
    assert constants.thresholds.shape == (4, 2, 512, 128)
    with h5py.File(corrected.cal / AGIPD_MODULE.constants_folder / CONSTANTS_FILE) as file:
        stored = file["Agipd_M100/Offset/0/data"]
        assert [*stored.attrs["dims"]] == ["fast_scan", "slow_scan", "cell", "gain"]
        assert constants.offset[2, 1, 400, 50] == stored[50, 400, 2, 1]
        assert constants.factor[2, 1, 400, 50] == pytest.approx(
            file["Agipd_M100/RelativeGain/0/data"][50, 400, 2, 1] / file["Agipd_M100/SlopesFF/0/data"][50, 400, 2]
        )


def test_every_part_is_recorded_with_its_content(corrected: Corrected) -> None:
    records = {record.name: record for record in read_constants(corrected.cal, JF_MODULE).records}
    assert set(records) == {"Offset10Hz", "RelativeGain10Hz", "BadPixelsDark10Hz", "BadPixelsFF10Hz"}
    assert records["Offset10Hz"].shape == (1024, 512, 1, 3)
    assert len({record.xxh3 for record in records.values()}) == 4


def test_float64_constants_become_float32(corrected: Corrected, tmp_path: Path) -> None:
    def widen(file: h5py.File) -> None:
        planes = file["Jungfrau_M101/Offset10Hz/0/data"][...].astype(np.float64)
        del file["Jungfrau_M101/Offset10Hz/0/data"]
        file["Jungfrau_M101/Offset10Hz/0/data"] = planes

    read = read_constants(_changed(corrected, tmp_path, widen), JF_MODULE)
    assert read.offset.dtype == np.float32
    assert np.array_equal(read.offset, read_constants(corrected.cal, JF_MODULE).offset)


def _flip_axes(file: h5py.File) -> None:
    file["Jungfrau_M101/Offset10Hz/0/data"].attrs["dims"] = ["slow_scan", "fast_scan", "cell", "gain"]


def _replace(name: str, shape: tuple[int, ...], kind: Any = np.float32) -> Callable[[h5py.File], None]:
    def replace(file: h5py.File) -> None:
        del file[f"Jungfrau_M101/{name}/0/data"]
        file[f"Jungfrau_M101/{name}/0/data"] = np.zeros(shape, kind)

    return replace


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (
            lambda f: f.__delitem__("Jungfrau_M101/Offset10Hz"),
            ConstantsMissing,
            "Offset10Hz of SPB_IRDA_JF4M JNGFR01",
        ),
        (
            lambda f: f.create_group("Jungfrau_M102"),
            ConstantsInvalid,
            "one physical module, .* holds 2",
        ),
        (_flip_axes, ConstantsInvalid, "has axes"),
        (_replace("Offset10Hz", (1024, 512, 3)), ConstantsInvalid, "has axes"),
        (_replace("Offset10Hz", (512, 1024, 1, 3)), ConstantsInvalid, "pixels, expected"),
        (_replace("Offset10Hz", (1024, 512, 1, 2)), ConstantsInvalid, "2 gain stages, expected 3"),
        (
            _replace("Offset10Hz", (1024, 512, 1, 3), np.int16),
            ConstantsInvalid,
            "is int16, expected numbers with a fraction",
        ),
        (_replace("BadPixelsDark10Hz", (1024, 512, 1, 3)), ConstantsInvalid, "is float32, expected whole numbers"),
        (_replace("RelativeGain10Hz", (1024, 512, 2, 3)), ConstantsInvalid, "2 memory cells, others have 1"),
    ],
)
def test_constants_that_do_not_fit_are_refused(
    corrected: Corrected,
    tmp_path: Path,
    change: Callable[[h5py.File], None],
    error: type[CalibrationError],
    reason: str,
) -> None:
    with pytest.raises(error, match=reason):
        read_constants(_changed(corrected, tmp_path, change), JF_MODULE)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConstantsMissing, match="no constants for SPB_IRDA_JF4M JNGFR01"):
        read_constants(tmp_path, JF_MODULE)
    path = tmp_path / JF_MODULE.constants_folder / CONSTANTS_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not HDF5")
    with pytest.raises(ConstantsInvalid, match="cannot be read"):
        read_constants(tmp_path, JF_MODULE)


@pytest.mark.parametrize(
    ("source", "name", "corrected_source"),
    [
        ("SPB_IRDA_JF4M/DET/JNGFR03:daqOutput", "JNGFR03", "SPB_IRDA_JF4M/CORR/JNGFR03:daqOutput"),
        ("FXE_XAD_JF500K/DET/JNGFR01:daqOutput", "JNGFR01", "FXE_XAD_JF500K/CORR/JNGFR01:daqOutput"),
        ("SPB_IRDA_JNGFR/DET/MODULE_1:daqOutput", "JNGFR01", "SPB_IRDA_JNGFR/CORR/MODULE_1:daqOutput"),
        ("FXE_XAD_JF1M/DET/RECEIVER-2:daqOutput", "JNGFR02", "FXE_XAD_JF1M/CORR/RECEIVER-2:daqOutput"),
        ("MID_DET_AGIPD1M-1/DET/15CH0:xtdf", "AGIPD15", "MID_DET_AGIPD1M-1/CORR/15CH0:output"),
        ("HED_DET_AGIPD500K2G/DET/7CH0:xtdf", "AGIPD07", "HED_DET_AGIPD500K2G/CORR/7CH0:output"),
    ],
)
def test_sources_tell_the_module(source: str, name: str, corrected_source: str) -> None:
    module = identify([source, "SA1_XTD2_XGM/DOOCS/MAIN:output"])
    assert (module.name, module.corrected_source) == (name, corrected_source)


def test_corrected_sources_are_not_raw() -> None:
    with pytest.raises(InputInvalid, match="no module of JUNGFRAU, AGIPD"):
        identify(["SPB_IRDA_JF4M/CORR/JNGFR03:daqOutput"])


def _changed(corrected: Corrected, folder: Path, change: Callable[[h5py.File], None]) -> Path:
    path = folder / JF_MODULE.constants_folder / CONSTANTS_FILE
    path.parent.mkdir(parents=True)
    shutil.copy(corrected.cal / JF_MODULE.constants_folder / CONSTANTS_FILE, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return folder
