"""A detector that the kit does not know is a description and a formula: nothing else has to change."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from detector_runs import FIRST_TRAIN
from extra_data import RunDirectory
from extra_data.tests.mockdata import write_file
from extra_data.tests.mockdata.base import DeviceBase
from extra_data.validation import FileAccess, FileValidator

from xdc_testbed.calibration import Parameters, calibrate_file, detectors
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.native import CODE_IN_WORD, Coding
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import multiply_factor, subtract_offset

FRAME = (3, 70)


def correct(pixels: Pixels, constants: ModuleConstants, parameters: Parameters, out: Corrected) -> None:
    constants.require_cells(pixels.cells)
    for one, words, cell in zip(out, pixels.raw, pixels.cells.tolist(), strict=True):
        one.stage[...] = words >> 15
        subtract_offset(words & 0x7FFF, cell, constants, one)
        multiply_factor(cell, constants, one)


def read(reader: Reader) -> ModuleConstants:
    return reader.finish(reader.planes("Dark"), reader.planes("Gain"), reader.bits(optional="Bad"))


STRIP = Detector(
    name="Strip",
    raw_source=re.compile(r"(?P<detector>XYZ_STRIP)/DET/(?P<device>S(?P<module>\d+)):out"),
    module_name="STRIP{:02d}",
    corrected_channel="out",
    group="lines",
    image="adc",
    frame=FRAME,
    stored=(None, *FRAME),
    per_row=("cell",),
    cell="cell",
    stages=3,
    coding=Coding(CODE_IN_WORD, value_bits=0x7FFF, word_bits=0x7FFF, code_shift=15),
    reference=correct,
    recipe=read,
)


class Strip(DeviceBase):
    output_channels = ("out/lines",)
    instrument_keys = (("adc", "u2", (4, *FRAME)), ("cell", "u1", (4,)))


@pytest.mark.parametrize("kernel", ["numpy", "native"])
def test_its_files_are_corrected_and_open_in_extra_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    monkeypatch.setattr(detectors, "DETECTORS", (*detectors.DETECTORS, STRIP))
    monkeypatch.setenv("XDC_KERNEL", kernel)
    rng, raw = np.random.default_rng(3), tmp_path / "RAW-R0001-STRIP01-S00000.h5"
    write_file(raw, [Strip("XYZ_STRIP/DET/S1")], 3, FIRST_TRAIN, chunksize=1, format_version="1.2")
    words = rng.integers(0, 1 << 16, (3, 4, *FRAME)).astype(np.uint16)
    with h5py.File(raw, "r+") as file:
        group = file["INSTRUMENT/XYZ_STRIP/DET/S1:out/lines"]
        group["adc"][...], group["cell"][...] = words, [1, 0, 1, 0]
    constants = tmp_path / "cal/XYZ_STRIP/STRIP01/cal.20200101T000000Z.h5"
    constants.parent.mkdir(parents=True)
    dark, gain = (rng.normal(mean, 1, (FRAME[1], FRAME[0], 2, 3)).astype(np.float32) for mean in (900, 5))
    with h5py.File(constants, "w") as file:
        file["Unit_1/Dark/0/data"], file["Unit_1/Gain/0/data"] = dark, gain
    out = tmp_path / "proc" / "CORR-R0001-STRIP01-S00000.h5"
    out.parent.mkdir()
    calibrate_file(raw, out, tmp_path / "cal")
    assert FileValidator(FileAccess(out)).run_checks() == []
    with RunDirectory(str(out.parent)) as run:
        found = run["XYZ_STRIP/CORR/S1:out", "lines.adc"].ndarray()
        stage = run["XYZ_STRIP/CORR/S1:out", "lines.gain"].ndarray()
    assert np.array_equal(stage, words >> 15)
    for train, cell in ((0, 1), (2, 0)):
        frame = 0 if cell else 1
        line, code = words[train, frame] & 0x7FFF, (words[train, frame] >> 15).astype(int)
        slow, fast = np.indices(FRAME)
        want = (line.astype(np.float32) - dark[fast, slow, cell, code]) * gain[fast, slow, cell, code]
        np.testing.assert_array_equal(found[train, frame], want)
