"""Less than full energies, when the user asks for it: whole photons, fewer bits of the mantissa, half precision.

Nothing of it is done unasked, and the manifest says what was. In this order: photons, mantissa, half precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.manifest import Parameters

MANTISSA_BITS = 23
"""Of float32, without the one that is not stored."""


def dtype_of(parameters: Parameters) -> np.dtype[Any]:
    """Type of the energies in the corrected file."""
    return np.dtype("<f2" if parameters.half_precision else "<f4")


def reduces(parameters: Parameters) -> bool:
    """Whether energies are stored otherwise than they come out."""
    photons, mantissa = parameters.photon_energy is not None, parameters.mantissa_bits is not None
    return photons or mantissa or parameters.half_precision


def reduce(
    energy: npt.NDArray[np.float32], mask: npt.NDArray[np.uint32], parameters: Parameters
) -> tuple[npt.NDArray[Any], int]:
    """Energies as they are stored, and how many pixels were marked VALUE_OUT_OF_RANGE because half precision ends
    before them. `energy` and `mask` are changed in place.

    Photons: energy over photon energy, to the nearest whole number (halves to the even one), never below zero.
    Mantissa: rounded to the nearest value with so many bits, halves to the even one. NaN and infinity stay.
    """
    if parameters.photon_energy is not None:
        np.divide(energy, np.float32(parameters.photon_energy), out=energy)
        np.rint(energy, out=energy)
        np.maximum(energy, np.float32(0), out=energy)
        energy += np.float32(0)  # no negative zero
        energy[np.isnan(energy)] = np.nan
    if parameters.mantissa_bits is not None:
        _cut_mantissa(energy, MANTISSA_BITS - parameters.mantissa_bits)
    if not parameters.half_precision:
        return energy, 0
    with np.errstate(over="ignore"):
        half = energy.astype(np.float16)
    beyond = np.isinf(half) & np.isfinite(energy)
    fresh = beyond & (mask & np.uint32(BadPixels.VALUE_OUT_OF_RANGE) == 0)
    mask[beyond] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
    return half, int(np.count_nonzero(fresh))


def _cut_mantissa(energy: npt.NDArray[np.float32], dropped: int) -> None:
    """A carry out of the mantissa raises the exponent, as it has to; beyond the largest value is infinity."""
    if not dropped:
        return
    bits = energy.view(np.uint32)
    finite = np.isfinite(energy)
    odd = (bits >> np.uint32(dropped)) & np.uint32(1)
    rounded = (bits + (np.uint32((1 << (dropped - 1)) - 1) + odd)) >> np.uint32(dropped) << np.uint32(dropped)
    np.copyto(bits, rounded, where=finite)
