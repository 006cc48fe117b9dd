"""DSSC kernel, numpy reference: ADC values to ADU above the dark level, and mask.

x = value - offset[cell] in float32; a stored 0 means 256, which eight bits cannot hold (EXtra-foam `f_imageproc.hpp`).
There is one gain stage and no constant for it, so what comes out is in ADU. Nine bits are the most that a value has.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants, Reader
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import FIXED_STAGE, Coding
from xdc_testbed.calibration.reference import settle

ZERO_MEANS = 256
ADC_MAX = 0x1FF


def correct(
    raw: npt.NDArray[np.uint16],
    gain: npt.NDArray[Any] | None,  # noqa: ARG001 - of every reference
    cells: npt.NDArray[np.integer],
    constants: ModuleConstants,
    parameters: Parameters,  # noqa: ARG001 - of every reference
    *,
    energy: npt.NDArray[np.float32],
    stage: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.uint32],
) -> None:
    """Correct frames in place of `energy`, `stage` and `mask`.

    raw: (frames, slow, fast), ADC values; gain, parameters: not used; cells: (frames,), memory cell; energy: ADU;
    stage: 0. Raises ConstantsMissing for a memory cell without constants.
    """
    constants.require_cells(cells)
    stage[...] = 0
    for frame, cell in enumerate(cells):
        value = np.where(raw[frame] == 0, np.uint16(ZERO_MEANS), raw[frame])
        np.subtract(value, constants.offset[cell, 0], out=energy[frame], dtype=np.float32)
        np.multiply(energy[frame], constants.factor[cell, 0], out=energy[frame])
        mask[frame] = constants.bad[cell, 0]
        mask[frame][value > ADC_MAX] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
        settle(energy[frame], mask[frame])


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
