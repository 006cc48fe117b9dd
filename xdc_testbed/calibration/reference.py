"""What the numpy references of the detectors have in common."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels

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


def settle(energy: npt.NDArray[np.float32], mask: npt.NDArray[np.uint32]) -> None:
    """Give NaN one bit pattern, whatever produced it, and mark what is no number."""
    energy[np.isnan(energy)] = np.nan
    mask[~np.isfinite(energy)] |= np.uint32(BadPixels.VALUE_IS_NAN)
