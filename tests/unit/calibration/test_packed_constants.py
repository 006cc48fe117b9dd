"""Packed constants: the same planes, mapped by every process, never of another file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from corrected_run import Corrected, pixels

from xdc_testbed.calibration import ConstantsMissing, calibrate_file, constants, packed
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.detectors import AGIPD, JUNGFRAU, Module
from xdc_testbed.demo.detector_data import CONSTANTS_FILE

JF_MODULE = JUNGFRAU.module("SPB_IRDA_JF4M/DET/JNGFR01:daqOutput")
AGIPD_MODULE = AGIPD.module("SPB_DET_AGIPD1M-1/DET/0CH0:xtdf")


@pytest.mark.parametrize("module", [JF_MODULE, AGIPD_MODULE])
@pytest.mark.parametrize("adaptive", [True, False])
def test_packed_planes_are_those_of_the_file(
    corrected: Corrected, tmp_path: Path, module: Module, adaptive: bool
) -> None:
    want = constants.fold(constants.read_constants(corrected.cal, module), adaptive=adaptive)
    for _ in range(2):
        have = packed.open_constants(corrected.cal, module, adaptive=adaptive, packed=tmp_path)
        for name in ("offset", "factor", "bad", "thresholds"):
            np.testing.assert_array_equal(getattr(have.constants, name), getattr(want, name))
        assert have.constants.offset.ctypes.data % 64 == 0
        assert not have.constants.offset.flags.writeable
        assert have.record.parts == want.records
    assert len(list(tmp_path.glob("*.planes"))) == 1


def test_once_packed_the_file_of_the_facility_is_not_opened(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed.open_constants(corrected.cal, AGIPD_MODULE, adaptive=True, packed=tmp_path)
    monkeypatch.setattr(packed, "read_constants", None)
    assert packed.open_constants(corrected.cal, AGIPD_MODULE, adaptive=True, packed=tmp_path).constants.cells == 4


def changed_copy(corrected: Corrected, tmp_path: Path) -> Path:
    folder = tmp_path / "cal"
    shutil.copytree(corrected.cal / AGIPD_MODULE.constants_folder, folder / AGIPD_MODULE.constants_folder)
    return folder


def test_new_constants_at_the_same_place_are_packed_anew(corrected: Corrected, tmp_path: Path) -> None:
    folder, kept = changed_copy(corrected, tmp_path), tmp_path / "packed"
    before = packed.open_constants(folder, AGIPD_MODULE, adaptive=True, packed=kept)
    first = float(before.constants.offset[0, 0, 0, 0])
    with h5py.File(folder / AGIPD_MODULE.constants_folder / CONSTANTS_FILE, "r+") as file:
        file["Agipd_M100/Offset/0/data"][0, 0, 0, 0] = first + 1
    after = packed.open_constants(folder, AGIPD_MODULE, adaptive=True, packed=kept)
    assert after.constants.offset[0, 0, 0, 0] == first + 1
    assert before.constants.offset[0, 0, 0, 0] == first  # whoever has it mapped keeps what it began with
    assert after.record != before.record


@pytest.mark.parametrize("damage", ["empty", "short", "header", "magic"])
def test_a_damaged_packed_file_is_made_anew(corrected: Corrected, tmp_path: Path, damage: str) -> None:
    want = packed.open_constants(corrected.cal, JF_MODULE, adaptive=True, packed=tmp_path).constants.offset.copy()
    (file,) = tmp_path.glob("*.planes")
    content = file.read_bytes()
    file.write_bytes(
        {
            "empty": b"",
            "short": content[:-1],
            "header": content[:20] + b"\0" * 100 + content[120:],
            "magic": b"?" + content[1:],
        }[damage]
    )
    have = packed.open_constants(corrected.cal, JF_MODULE, adaptive=True, packed=tmp_path)
    np.testing.assert_array_equal(have.constants.offset, want)


def test_missing_constants_are_missing_also_when_packed_ones_are_there(corrected: Corrected, tmp_path: Path) -> None:
    folder, kept = changed_copy(corrected, tmp_path), tmp_path / "packed"
    packed.open_constants(folder, AGIPD_MODULE, adaptive=True, packed=kept)
    (folder / AGIPD_MODULE.constants_folder / CONSTANTS_FILE).unlink()
    with pytest.raises(ConstantsMissing):
        packed.open_constants(folder, AGIPD_MODULE, adaptive=True, packed=kept)


def test_the_least_used_packed_files_go(corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "KEPT", 1)
    first = packed.compile_constants(corrected.cal, JF_MODULE, adaptive=True, packed=tmp_path)
    os.utime(first, (1, 1))
    second = packed.compile_constants(corrected.cal, AGIPD_MODULE, adaptive=True, packed=tmp_path)
    assert list(tmp_path.glob("*.planes")) == [second]


@pytest.mark.parametrize("kernel", ["numpy", "native"])
def test_a_corrected_file_is_the_same_with_packed_constants(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    monkeypatch.setenv("XDC_KERNEL", kernel)
    raw = corrected.raw / "RAW-R0001-AGIPD00-S00000.h5"
    out = tmp_path / "CORR-R0001-AGIPD00-S00000.h5"
    manifest = calibrate_file(raw, out, corrected.cal, packed=tmp_path / "packed")
    assert pixels(out) == pixels(corrected.proc / out.name)
    assert manifest.files[0] in corrected.manifest.files


def test_a_threshold_out_of_order_is_folded_into_the_mask(corrected: Corrected) -> None:
    known = constants.read_constants(corrected.cal, AGIPD_MODULE)
    assert known.thresholds is not None
    known.thresholds[0, :, 0, 0] = (7200, 5200)
    known.thresholds[0, 1, 0, 1] = np.nan
    folded = constants.fold(known, adaptive=True)
    assert folded.thresholds is not None
    assert folded.thresholds[0, :, 0, 0].tolist() == [5200, 7200]
    assert np.isposinf(folded.thresholds[0, 1, 0, 1])
    bit = np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR)
    assert (folded.bad[0, :, 0, :2] & bit == bit).all()
    assert not (folded.bad[0, :, 0, 2:] & bit).any()
