"""ePix100 kernel, numpy reference: ADU to energy, with common mode.

x = value - offset; optional common mode: the median of dark pixels per bank of 354 x 384 pixels, then per row of a
bank, then per column; energy = x * relative gain. All in float32, in this order. Source: EuXFEL ePix documentation
(calibration and correction). The common mode has no native kernel: a median is
sorting, and there is one frame per train.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import DarkNames, Detector
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import FIXED_STAGE, Coding
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import multiply_factor, subtract_offset

BANK = (354, 384)
ADC_MAX = 0x3FFF


def correct(pixels: Pixels, constants: ModuleConstants, parameters: Parameters, out: Corrected) -> None:
    """Correct frames in place of `out`.

    pixels: ADU, memory cell 0. energy: keV; stage: 0. Raises ConstantsMissing for a memory cell without constants.
    """
    constants.require_cells(pixels.cells)
    out.stage[...] = 0
    for one, value, cell in zip(out, pixels.raw, pixels.cells.tolist(), strict=True):
        subtract_offset(value, cell, constants, one)
        one.mask[value > ADC_MAX] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
        if parameters.common_mode:
            subtract_common_mode(one.energy, good=one.mask == 0, parameters=parameters)
        multiply_factor(cell, constants, one)


def subtract_common_mode(x: npt.NDArray[np.float32], *, good: npt.NDArray[np.bool_], parameters: Parameters) -> None:
    """Take away the median of dark pixels, in place: per bank, then per row and per column of it.

    x: (slow, fast), ADU after offset; good: pixels without a bit in the mask. Dark is within `cm_dark_range` of zero; a
    bank, row or column with a smaller part of dark pixels than `cm_dark_fraction` is left alone.
    """
    slow, fast = (min(bank, size) for bank, size in zip(BANK, x.shape, strict=True))
    for top in range(0, x.shape[0], slow):
        for left in range(0, x.shape[1], fast):
            bank = np.s_[top : top + slow, left : left + fast]
            for axis in (None, 1, 0):
                _level(x[bank], good[bank], axis, parameters)


def _level(x: npt.NDArray[np.float32], good: npt.NDArray[np.bool_], axis: int | None, parameters: Parameters) -> None:
    dark = good & (np.abs(x) < np.float32(parameters.cm_dark_range))
    values, known = (x.reshape(1, -1), dark.reshape(1, -1)) if axis is None else (x, dark)
    along = 1 if axis is None else axis
    number = known.sum(axis=along, keepdims=True)
    ordered = np.sort(np.where(known, values, np.float32(np.inf)), axis=along)
    lower = np.take_along_axis(ordered, np.maximum(number - 1, 0) // 2, along)
    upper = np.take_along_axis(ordered, number // 2, along)
    enough = (number > 0) & (number >= parameters.least_dark(values.shape[along]))
    x -= np.where(enough, (lower + upper) * np.float32(0.5), np.float32(0))


def read(reader: Reader) -> ModuleConstants:
    """OffsetEPix100 (ADU), RelativeGainEPix100 (keV/ADU), BadPixelsDarkEPix100; none has a gain axis."""
    offset, factor = reader.planes("OffsetEPix100"), reader.planes("RelativeGainEPix100")
    return reader.finish(offset, factor, reader.bits("BadPixelsDarkEPix100", optional="BadPixelsFFEPix100"))


EPIX100 = Detector(
    name="ePix100",
    raw_source=re.compile(r"(?P<detector>[^/]+_(?:EPIX|EPX100)-(?P<module>\d+))/DET/(?P<device>RECEIVER):daqOutput"),
    module_name="EPIX{:02d}",
    corrected_channel="daqOutput",
    group="data",
    image="image/pixels",
    frame=(708, 768),
    stored=(708, 768),
    per_row=(),
    cell=None,
    stages=1,
    coding=Coding(FIXED_STAGE, value_bits=ADC_MAX),
    reference=correct,
    recipe=read,
    words=("u2", "i2"),
    by_reference=("common_mode",),
    darks=DarkNames("OffsetEPix100", "NoiseEPix100", "BadPixelsDarkEPix100"),
)
