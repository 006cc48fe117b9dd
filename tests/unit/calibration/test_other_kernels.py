"""The references of LPD, DSSC and ePix100 against numbers that can be checked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from filled_room import filled

from xdc_testbed.calibration import Parameters
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.detectors import DSSC, EPIX100, LPD, Detector
from xdc_testbed.calibration.epix100 import BANK
from xdc_testbed.calibration.failures import ConstantsMissing
from xdc_testbed.calibration.pixels import Pixels


def constants(frame: tuple[int, int], offset: tuple[float, ...], factor: tuple[float, ...]) -> ModuleConstants:
    shape = (2, len(offset), *frame)
    planes = [np.broadcast_to(np.array(v, np.float32)[:, None, None], shape).copy() for v in (offset, factor)]
    return ModuleConstants(planes[0], planes[1], np.zeros(shape, np.uint32), None, ())


def correct(
    detector: Detector, raw: Any, module: ModuleConstants, cell: int = 0, **chosen: Any
) -> tuple[Any, Any, Any]:
    words = np.array(raw, np.uint16)[None]
    out = filled(words.shape)
    detector.reference(Pixels(words, None, np.array([cell])), module, Parameters(**chosen), out)
    return out.energy[0], out.stage[0], out.mask[0]


# -- LPD --------------------------------------------------------------------------------------------------------------

LPD_CONSTANTS = constants((1, 4), (1000, 800, 600), (0.5, 5, 50))


def test_the_bits_above_the_value_of_an_lpd_pixel_are_its_gain_stage() -> None:
    words = [[1010, 0x1000 | 810, 0x2000 | 610, 0x2000 | 590]]
    energy, stage, mask = correct(LPD, words, LPD_CONSTANTS)
    assert energy.tolist() == [[5, 50, 500, -500]]
    assert stage.tolist() == [[0, 1, 2, 2]]
    assert not mask.any()


def test_gain_bits_that_lpd_never_sends_are_marked_and_leave_the_value_of_high_gain() -> None:
    energy, stage, mask = correct(LPD, [[0x3000 | 1010, 1010, 1010, 1010]], LPD_CONSTANTS)
    assert (energy[0, 0], stage[0, 0], mask[0, 0]) == (5, 255, BadPixels.WRONG_GAIN_VALUE)
    assert stage[0, 1:].tolist() == [0, 0, 0]


def test_fixed_gain_of_lpd_looks_at_the_value_only() -> None:
    energy, stage, _ = correct(LPD, [[0x2000 | 810] * 4], LPD_CONSTANTS, fixed_gain=1)
    assert (energy[0, 0], stage[0, 0]) == (50, 1)


# -- DSSC -------------------------------------------------------------------------------------------------------------


def test_a_dssc_pixel_of_zero_is_one_of_256() -> None:
    energy, stage, mask = correct(DSSC, [[0, 1, 256, 511, 512]], constants((1, 5), (40,), (1,)))
    assert energy.tolist() == [[216, -39, 216, 471, 472]]
    assert not stage.any()
    assert mask.tolist() == [[0, 0, 0, 0, BadPixels.VALUE_OUT_OF_RANGE]]


def test_a_dssc_cell_without_constants_is_refused() -> None:
    with pytest.raises(ConstantsMissing, match="memory cell 5"):
        correct(DSSC, [[1]], constants((1, 1), (40,), (1,)), cell=5)


# -- ePix100 ----------------------------------------------------------------------------------------------------------

FRAME = (2 * BANK[0], 2 * BANK[1])


def test_an_epix100_pixel_is_offset_and_gain() -> None:
    energy, stage, mask = correct(EPIX100, [[2610, 2600, 0x4000]], constants((1, 3), (2600,), (0.5,)))
    assert energy[0, :2].tolist() == [5, 0]
    assert not stage.any()
    assert mask.tolist() == [[0, 0, BadPixels.VALUE_OUT_OF_RANGE]]


def test_common_mode_of_the_epix100_takes_away_what_bank_row_and_column_share() -> None:
    raw = np.full(FRAME, 2600)
    raw[: BANK[0], : BANK[1]] += 12  # a bank
    raw[5, BANK[1] :] += 7  # a row of the bank beside it
    raw[BANK[0] :, 9] -= 4  # a column of the bank below
    raw[100, 100] += 500  # a photon
    module = constants(FRAME, (2600,), (1,))
    energy, _, _ = correct(EPIX100, raw, module, common_mode=True)
    assert energy[100, 100] == 500
    energy[100, 100] = 0
    assert not energy.any()


def test_common_mode_of_the_epix100_leaves_bad_and_illuminated_pixels_out_of_the_median() -> None:
    raw = np.full(FRAME, 2600)
    raw[:, : BANK[1] // 2] += 10
    raw[:, BANK[1] // 2 : BANK[1] - 2] += 20
    module = constants(FRAME, (2600,), (1,))
    module.bad[0, 0, :, BANK[1] // 2 : BANK[1] - 2] = BadPixels.NOISY_ADC
    energy, _, _ = correct(EPIX100, raw, module, common_mode=True, cm_dark_fraction=0.1)
    assert not energy[:, : BANK[1] // 2].any()
    bright, _, _ = correct(EPIX100, np.full(FRAME, 2700), module, common_mode=True)
    assert (bright == 100).all()
