"""Whole photons, shorter mantissas and half precision, on every kind of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xdc_testbed.calibration import Parameters
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.reduction import reduce

energies = arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32))


def reduced(energy: npt.NDArray[np.float32], **chosen: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint32], int]:
    mask = np.zeros(energy.shape, np.uint32)
    found, marked = reduce(energy.copy(), mask, Parameters(**chosen))
    return found, mask, marked


@given(energies, st.integers(1, 22))
def test_a_shorter_mantissa_is_the_nearest_value_that_has_so_many_bits(energy: Any, bits: int) -> None:
    found, mask, _ = reduced(energy, mantissa_bits=bits)
    dropped = found.view(np.uint32) & np.uint32((1 << (23 - bits)) - 1)
    finite = np.isfinite(energy)
    assert not dropped[finite].any()
    np.testing.assert_array_equal(found[~finite], energy[~finite])
    near = finite & np.isfinite(found)
    step = np.ldexp(1.0, np.frexp(np.maximum(np.abs(energy[near]).astype(np.float64), 2.0**-126))[1] - 1 - bits)
    assert (np.abs(found[near].astype(np.float64) - energy[near]) <= step / 2).all()
    assert not mask.any()


@given(energies)
def test_half_precision_is_what_numpy_rounds_to_and_marks_what_becomes_infinite(energy: Any) -> None:
    found, mask, marked = reduced(energy, half_precision=True)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, energy.astype(np.float16))
    beyond = np.isinf(found) & np.isfinite(energy)
    np.testing.assert_array_equal(mask, np.where(beyond, np.uint32(BadPixels.VALUE_OUT_OF_RANGE), 0))
    assert marked == np.count_nonzero(beyond)


def test_photons_are_whole_and_never_negative() -> None:
    energy = np.array([-20, -4, -0.0, 4.6, 4.7, 13.9, 14.0, 93, np.nan, np.inf], np.float32)
    found, _, _ = reduced(energy, photon_energy=9.3)
    np.testing.assert_array_equal(found, [0, 0, 0, 0, 1, 1, 2, 10, np.nan, np.inf])
    assert not np.signbit(found[:3]).any()


def test_nothing_is_done_unasked() -> None:
    energy = np.array([1.1, -0.0, np.nan], np.float32)
    found, _, _ = reduced(energy)
    np.testing.assert_array_equal(found.view(np.uint32), energy.view(np.uint32))
