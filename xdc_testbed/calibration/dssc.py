"""DSSC kernel, numpy reference: ADC values to ADU above the dark level, and mask.

x = value - offset[cell] in float32; a stored 0 means 256, which eight bits cannot hold (EXtra-foam `f_imageproc.hpp`).
There is one gain stage and no constant for it, so what comes out is in ADU. Nine bits are the most that a value has.
"""

from __future__ import annotations

import re

import numpy as np

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import FIXED_STAGE, Coding
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import multiply_factor, subtract_offset

ZERO_MEANS = 256
ADC_MAX = 0x1FF


def correct(pixels: Pixels, constants: ModuleConstants, _: Parameters, out: Corrected) -> None:
    """Correct frames in place of `out`.

    pixels: ADC values. energy: ADU; stage: 0. Raises ConstantsMissing for a memory cell without constants.
    """
    constants.require_cells(pixels.cells)
    out.stage[...] = 0
    for one, words, cell in zip(out, pixels.raw, pixels.cells.tolist(), strict=True):
        value = np.where(words == 0, np.uint16(ZERO_MEANS), words)
        subtract_offset(value, cell, constants, one)
        one.mask[value > ADC_MAX] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
        multiply_factor(cell, constants, one)


def read(reader: Reader) -> ModuleConstants:
    """Offset (ADC values, no gain axis), and BadPixelsDark where there is one; the factor is 1."""
    offset = reader.planes("Offset")
    factor = np.broadcast_to(np.ones((1, 1, *offset.shape[2:]), np.float32), offset.shape)
    return reader.finish(offset, factor, reader.bits(optional="BadPixelsDark"))


DSSC = Detector(
    name="DSSC",
    raw_source=re.compile(r"(?P<detector>[^/]+_DSSC1M[^/]*)/DET/(?P<device>(?P<module>\d+)CH0):xtdf"),
    module_name="DSSC{:02d}",
    corrected_channel="output",
    group="image",
    image="data",
    frame=(128, 512),
    stored=(1, 128, 512),
    per_row=("cellId", "pulseId", "length", "status"),
    cell="cellId",
    stages=1,
    coding=Coding(FIXED_STAGE, value_bits=ADC_MAX, zero_means=ZERO_MEANS),
    reference=correct,
    recipe=read,
    energy_unit="ADU",
)
