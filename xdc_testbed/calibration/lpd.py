"""LPD kernel, numpy reference: a word of value and gain bits to energy in keV, gain stage and mask.

The value is in the twelve low bits, the gain stage in the two above: 0 high, 1 medium, 2 low gain, 3 is a value that
is never sent. Energy = (value - offset[cell, stage]) * factor[cell, stage] in float32, subtraction first. With parallel
gain a pulse has three frames, one per stage, and the gain bits are not looked at.
"""

from __future__ import annotations

import re

import numpy as np

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import CODE_IN_WORD, Coding
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import NO_STAGE, multiply_factor, subtract_offset

VALUE_BITS = 0xFFF
CODE_SHIFT = 12
WRONG_CODE = 3


def correct(pixels: Pixels, constants: ModuleConstants, parameters: Parameters, out: Corrected) -> None:
    """Correct frames in place of `out`.

    pixels: words, memory cells in any order. energy: keV; stage: 0, 1, 2, or 255 where the gain bits are wrong, which
    leaves the value of stage 0 and sets WRONG_GAIN_VALUE. Raises ConstantsMissing for a memory cell without constants.
    """
    constants.require_cells(pixels.cells)
    for one, words, cell in zip(out, pixels.raw, pixels.cells.tolist(), strict=True):
        one.stage[...] = (words >> CODE_SHIFT) & 3 if parameters.fixed_gain is None else parameters.fixed_gain
        wrong = one.stage == WRONG_CODE
        one.stage[wrong] = NO_STAGE
        subtract_offset(words & np.uint16(VALUE_BITS), cell, constants, one)
        one.mask[wrong] |= np.uint32(BadPixels.WRONG_GAIN_VALUE)
        multiply_factor(cell, constants, one)


def read(reader: Reader) -> ModuleConstants:
    """Offset (ADU), RelativeGain (keV/ADU) times GainAmpMap times FFMap, BadPixelsDark, and BadPixelsFF where there is
    one.
    """
    offset = reader.planes("Offset")
    factor = reader.planes("RelativeGain") * reader.planes("GainAmpMap") * reader.planes("FFMap")
    return reader.finish(offset, factor, reader.bits("BadPixelsDark", optional="BadPixelsFF"))


LPD = Detector(
    name="LPD",
    raw_source=re.compile(r"(?P<detector>[^/]+_LPD1M[^/]*)/DET/(?P<device>(?P<module>\d+)CH0):xtdf"),
    module_name="LPD{:02d}",
    corrected_channel="output",
    group="image",
    image="data",
    frame=(256, 256),
    stored=(1, 256, 256),
    per_row=("cellId", "pulseId", "length", "status"),
    cell="cellId",
    stages=3,
    coding=Coding(CODE_IN_WORD, value_bits=VALUE_BITS, word_bits=VALUE_BITS, code_shift=CODE_SHIFT),
    reference=correct,
    recipe=read,
    parallel_gain=True,
)
