"""AGIPD kernel, numpy reference: analog value and analog gain value of a pixel to energy in keV, stage, mask.

stage = (gain > T0[cell]) + (gain > T1[cell]), lowered where the value by the offset of the higher gain is small
(force_medium_below, force_high_below); x = analog - offset[cell, stage]; optional baseline of shadowed pixels
(baseline_below), optional common mode per ASIC; energy = x * factor[cell, stage], where factor is relative gain over
the flat-field slope. All in float32, in this order. Source: EuXFEL calng documentation (stages of the AGIPD
correction); parameters as pycalibration records them. The baseline has no native kernel: a median is sorting.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import DarkNames, Detector
from xdc_testbed.calibration.failures import ConstantsInvalid
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import THRESHOLDS, Coding
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import multiply_factor, subtract_offset

ASIC = (64, 64)

_SETTLED_ADU = np.float32(0.01)
_COUNTS_PER_ADU = 65536


def correct(pixels: Pixels, constants: ModuleConstants, parameters: Parameters, out: Corrected) -> None:
    """Correct frames in place of `out`.

    pixels: analog value and analog gain value, ADU. energy: keV; stage: 0 high, 1 medium, 2 low gain. Thresholds that
    are not in order, or not finite, set GAIN_THRESHOLDING_ERROR. Raises ConstantsMissing for a memory cell without
    constants, ConstantsInvalid for adaptive gain without thresholds.
    """
    assert pixels.gain is not None  # noqa: S101 - a frame is a pair, see Detector.views
    constants.require_cells(pixels.cells)
    for one, analog, gain, cell in zip(out, pixels.raw, pixels.gain, pixels.cells.tolist(), strict=True):
        unsure = _find_stage(analog, gain, cell, constants, parameters, one.stage)
        subtract_offset(analog, cell, constants, one)
        one.mask[unsure] |= np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR)
        high = one.stage == 0
        if parameters.baseline_below is not None:
            subtract_baseline(
                one.energy,
                shadowed=high & (one.mask == BadPixels.NON_SENSITIVE),
                shifted=high,
                below=parameters.baseline_below,
            )
        if parameters.common_mode:
            subtract_common_mode(one.energy, usable=high & (one.mask == 0), shifted=high, parameters=parameters)
        multiply_factor(cell, constants, one)


def _find_stage(
    analog: npt.NDArray[np.uint16],
    gain: npt.NDArray[np.uint16],
    cell: int,
    constants: ModuleConstants,
    parameters: Parameters,
    stage: npt.NDArray[np.uint8],
) -> npt.NDArray[np.bool_]:
    """Fill `stage`. Returns where thresholds are of no use."""
    if parameters.fixed_gain is not None:
        stage[...] = parameters.fixed_gain
        return np.zeros(stage.shape, bool)
    if constants.thresholds is None:
        raise ConstantsInvalid("adaptive gain needs the constant ThresholdsDark")
    low, high = constants.thresholds[cell]
    np.add(gain > low, gain > high, out=stage, dtype=np.uint8)
    for higher, below in ((1, parameters.force_medium_below), (0, parameters.force_high_below)):
        if below is not None:
            x = np.subtract(analog, constants.offset[cell, higher], dtype=np.float32)
            stage[(stage == higher + 1) & (x < np.float32(below))] = higher
    unsure: npt.NDArray[np.bool_] = ~(low < high)
    return unsure


def subtract_baseline(
    x: npt.NDArray[np.float32],
    *,
    shadowed: npt.NDArray[np.bool_],
    shifted: npt.NDArray[np.bool_],
    below: float,
) -> None:
    """Take away the median of pixels that no X-rays reach, behind stripes of tantalum at MID, in place.

    x: (slow, fast), ADU after offset; shadowed: pixels behind a stripe; shifted: pixels that are changed; below: a
    median that is not below this, ADU, is no baseline, and nothing is changed. Source: reiserm/midtools,
    `Calibrator._baseline`, where it is half a photon.
    """
    if shadowed.any() and (baseline := np.median(x[shadowed])) < below:
        x[shifted] -= baseline


def subtract_common_mode(
    x: npt.NDArray[np.float32],
    *,
    usable: npt.NDArray[np.bool_],
    shifted: npt.NDArray[np.bool_],
    parameters: Parameters,
) -> None:
    """Take away, per ASIC of 64 x 64 pixels, the mean of its dark pixels, in place.

    x: (slow, fast), ADU after offset; usable: good pixels in high gain; shifted: pixels that are changed. An
    ASIC with fewer dark pixels than `cm_dark_fraction` is left alone. Repeats until the shift is below 0.01
    ADU. The mean is of integers, 1/65536 ADU each, so that it does not depend on the order of the pixels.
    """
    slow, fast = ASIC
    least, around = parameters.least_dark(slow * fast), np.float32(parameters.cm_dark_range)
    for top in range(0, x.shape[0], slow):
        for left in range(0, x.shape[1], fast):
            tile = np.s_[top : top + slow, left : left + fast]
            values, good, moved = x[tile], usable[tile], shifted[tile]
            for _ in range(parameters.cm_iterations):
                dark = good & (np.abs(values) < around)
                number = int(np.count_nonzero(dark))
                if number < least:
                    break
                total = (values[dark] * np.float32(_COUNTS_PER_ADU)).astype(np.int32).sum(dtype=np.int64)
                shift = np.float32(int(total) / (_COUNTS_PER_ADU * number))
                values[moved] -= shift
                if abs(shift) < _SETTLED_ADU:
                    break


def read(reader: Reader) -> ModuleConstants:
    """Offset (ADU), ThresholdsDark (two first values of the last axis, ADU), RelativeGain (multiplies a stage to high
    gain), SlopesFF (high gain, ADU/keV, no gain axis), BadPixelsDark, and BadPixelsFF where there is one.
    """
    offset, slopes = reader.planes("Offset"), reader.planes("SlopesFF", stages=None)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = reader.planes("RelativeGain")
        np.divide(factor, slopes, out=factor)
    bad = reader.bits("BadPixelsDark", optional="BadPixelsFF")
    return reader.finish(offset, factor, bad, reader.planes("ThresholdsDark", stages=2))


AGIPD = Detector(
    name="AGIPD",
    raw_source=re.compile(r"(?P<detector>[^/]+_AGIPD[^/]*)/DET/(?P<device>(?P<module>\d+)CH0):xtdf"),
    module_name="AGIPD{:02d}",
    corrected_channel="output",
    group="image",
    image="data",
    frame=(512, 128),
    stored=(2, 512, 128),
    per_row=("cellId", "pulseId", "length", "status"),
    cell="cellId",
    stages=3,
    coding=Coding(THRESHOLDS),
    reference=correct,
    recipe=read,
    asic=ASIC,
    by_reference=("baseline_below",),
    lit_frames=True,
    darks=DarkNames(thresholds="ThresholdsDark"),
)
