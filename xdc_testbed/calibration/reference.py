"""What the numpy references of the detectors have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.pixels import Corrected

if TYPE_CHECKING:
    from xdc_testbed.calibration.constants import ModuleConstants

NO_STAGE = 255
"""Stage of a pixel that does not tell one."""

_T = TypeVar("_T", np.float32, np.uint32)


def by_stage(planes: npt.NDArray[_T], stage: npt.NDArray[np.uint8]) -> npt.NDArray[_T]:
    """Of planes [stage, slow, fast], the value of each pixel's stage; stage 0 where it has none."""
    chosen: npt.NDArray[_T] = planes[0].copy()
    for switched in range(1, planes.shape[0]):
        where = stage == switched
        chosen[where] = planes[switched][where]
    return chosen


def subtract_offset(value: npt.NDArray[np.uint16], cell: int, constants: ModuleConstants, out: Corrected) -> None:
    """Of one frame whose stages are known: ADU above the offset, and the bad pixels of the constants."""
    np.subtract(value, by_stage(constants.offset[cell], out.stage), out=out.energy, dtype=np.float32)
    out.mask[...] = by_stage(constants.bad[cell], out.stage)


def multiply_factor(cell: int, constants: ModuleConstants, out: Corrected) -> None:
    """Make energies of it, give NaN one bit pattern, whatever produced it, and mark what is no number."""
    np.multiply(out.energy, by_stage(constants.factor[cell], out.stage), out=out.energy)
    out.energy[np.isnan(out.energy)] = np.nan
    out.mask[~np.isfinite(out.energy)] |= np.uint32(BadPixels.VALUE_IS_NAN)
