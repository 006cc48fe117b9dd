"""JUNGFRAU kernel, numpy reference: ADU and gain bits of a pixel to photon energy in keV, gain stage and
mask.

Energy = (adc - offset[cell, stage]) * factor[cell, stage], computed in float32, subtraction first, so that
every other implementation can be compared bit by bit. Gain bits 0, 1 and 3 mean stages 0, 1 and 2; 2 is a
value the chip never sends. Stages 1 and 2 count downwards: 0 ADU there is the end of their range, and 0x3FFF
in stage 2 is an error word of the sensor (jungfraujoch `jf_conversion.cpp`).
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import DarkNames, Detector
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import CODE_IN_BYTE, Coding
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import NO_STAGE, multiply_factor, subtract_offset

EMPTY_CELL = 255
ADC_MAX = 0x3FFF

_STAGE_OF_CODE = np.array([0, 1, NO_STAGE, 2] + 252 * [NO_STAGE], np.uint8)


def correct(pixels: Pixels, constants: ModuleConstants, parameters: Parameters, out: Corrected) -> None:
    """Correct frames in place of `out`.

    pixels: ADU and gain bits, or words with the gain bits in their two high bits; memory cell 255 for an empty frame.
    energy: keV; stage: 0, 1, 2, or 255 where the gain bits are wrong. A pixel with wrong gain bits keeps the value of
    stage 0; an empty frame is NaN with NO_DARK_DATA everywhere. In fixed gain the gain bits are ignored. Raises
    ConstantsMissing for a memory cell without constants.
    """
    raw, code, cells = pixels.raw, pixels.gain, pixels.cells
    constants.require_cells(cells[cells != EMPTY_CELL])
    adc, code = (raw, code) if code is not None else (raw & np.uint16(ADC_MAX), (raw >> 14).astype(np.uint8))
    for one, value, bits, cell in zip(out, adc, code, cells.tolist(), strict=True):
        if cell == EMPTY_CELL:
            one.energy[...], one.stage[...] = np.nan, NO_STAGE
            one.mask[...] = BadPixels.NO_DARK_DATA | BadPixels.VALUE_IS_NAN
            continue
        one.stage[...] = _STAGE_OF_CODE[bits] if parameters.fixed_gain is None else parameters.fixed_gain
        subtract_offset(value, cell, constants, one)
        one.mask[one.stage == NO_STAGE] |= np.uint32(BadPixels.WRONG_GAIN_VALUE)
        one.mask[_out_of_range(value, one.stage)] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
        multiply_factor(cell, constants, one)


def _out_of_range(adc: npt.NDArray[np.uint16], stage: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    at_the_end = (adc == 0) & ((stage == 1) | (stage == 2))
    error_word = (adc == ADC_MAX) & (stage == 2)
    outside: npt.NDArray[np.bool_] = at_the_end | error_word | (adc > ADC_MAX)
    return outside


def read(reader: Reader) -> ModuleConstants:
    """Offset10Hz (ADU), RelativeGain10Hz (ADU/keV), BadPixelsDark10Hz, and BadPixelsFF10Hz where there is one."""
    offset, gain = reader.planes("Offset10Hz"), reader.planes("RelativeGain10Hz")
    with np.errstate(divide="ignore"):
        factor = np.float32(1) / gain
    return reader.finish(offset, factor, reader.bits("BadPixelsDark10Hz", optional="BadPixelsFF10Hz"))


JUNGFRAU = Detector(
    name="JUNGFRAU",
    raw_source=re.compile(
        r"(?P<detector>[^/]+_(?:JNGFR|JF[14]M|JUNGF|JF500K\d?|JF))/DET/"
        r"(?P<device>(?:JNGFR|MODULE_|RECEIVER-)(?P<module>\d+)):daqOutput"
    ),
    module_name="JNGFR{:02d}",
    corrected_channel="daqOutput",
    group="data",
    image="adc",
    frame=(512, 1024),
    stored=(None, 512, 1024),
    per_row=("frameNumber", "memoryCell", "timestamp"),
    cell="memoryCell",
    stages=3,
    coding=Coding(CODE_IN_BYTE, value_bits=ADC_MAX, code_shift=14, code1=1, code2=3, counts_down=True),
    reference=correct,
    recipe=read,
    code="gain",
    empty_cell=EMPTY_CELL,
    any_single_cell=True,
    darks=DarkNames("Offset10Hz", "Noise10Hz", "BadPixelsDark10Hz"),
)
