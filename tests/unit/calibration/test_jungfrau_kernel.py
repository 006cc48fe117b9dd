"""The JUNGFRAU kernel against numbers that can be checked by hand, and against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from filled_room import filled
from hypothesis import given, settings
from hypothesis import strategies as st

from xdc_testbed.calibration import Parameters, jungfrau
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.failures import ConstantsMissing
from xdc_testbed.calibration.pixels import Pixels

OFFSETS, GAINS = (2600.0, 14600.0, 14400.0), (41.5, -1.39, -0.11)


def constants(cells: int = 1, slow: int = 1, fast: int = 8) -> ModuleConstants:
    shape = (cells, 3, slow, fast)
    offset = np.broadcast_to(np.array(OFFSETS, np.float32)[:, None, None], shape).copy()
    gain = np.broadcast_to(np.array(GAINS, np.float32)[:, None, None], shape)
    return ModuleConstants(offset, np.float32(1) / gain, np.zeros(shape, np.uint32), None, ())


def correct(adc: Any, code: Any, module: ModuleConstants, cell: int = 0, **options: Any) -> tuple[Any, Any, Any]:
    adc, code = np.array(adc, np.uint16)[None, None], np.array(code, np.uint8)[None, None]
    out = filled(adc.shape)
    jungfrau.correct(Pixels(adc, code, np.array([cell], np.uint8)), module, Parameters(**options), out)
    return out.energy[0, 0], out.stage[0, 0], out.mask[0, 0]


def test_every_gain_stage_has_its_own_offset_and_gain() -> None:
    adc = [2600 + 415, 14600 - 1390, 14400 - 1100]
    energy, stage, mask = correct(adc, [0, 1, 3], constants(fast=3))
    assert energy == pytest.approx([10.0, 1000.0, 10000.0], rel=1e-5)
    assert stage.tolist() == [0, 1, 2]
    assert mask.tolist() == [0, 0, 0]


def test_gain_bits_that_no_chip_sends_are_marked() -> None:
    _, stage, mask = correct([3000, 3000], [2, 7], constants(fast=2))
    assert stage.tolist() == [255, 255]
    assert mask.tolist() == [BadPixels.WRONG_GAIN_VALUE] * 2


def test_ends_of_the_range_and_error_words_are_marked() -> None:
    adc = [0, 0, 0, 0x3FFF, 0x3FFF, 0x4000]
    _, _, mask = correct(adc, [0, 1, 3, 3, 0, 0], constants(fast=6))
    out = int(BadPixels.VALUE_OUT_OF_RANGE)
    assert mask.tolist() == [0, out, out, out, 0, out]


def test_bad_pixels_are_those_of_the_stage_in_use() -> None:
    module = constants(fast=2)
    module.bad[0, 0, 0, 0] = BadPixels.NOISY_ADC
    module.bad[0, 1, 0, 1] = BadPixels.OVERSCAN
    _, _, mask = correct([3000, 14000], [0, 1], module)
    assert mask.tolist() == [BadPixels.NOISY_ADC, BadPixels.OVERSCAN]
    _, _, mask = correct([14000, 3000], [1, 0], module)
    assert mask.tolist() == [0, 0]


def test_constants_that_are_not_numbers_are_marked_and_kept() -> None:
    module = constants(fast=2)
    module.offset[0, 0, 0, 0] = np.nan
    module.factor[0, 0, 0, 1] = np.inf
    energy, _, mask = correct([3000, 3000], [0, 0], module)
    assert not np.isfinite(energy).any()
    assert mask.tolist() == [BadPixels.VALUE_IS_NAN] * 2


def test_an_empty_cell_is_no_data() -> None:
    energy, stage, mask = correct([3000], [0], constants(fast=1), cell=255)
    assert np.isnan(energy).all()
    assert stage.tolist() == [255]
    assert mask[0] & BadPixels.NO_DARK_DATA


def test_a_cell_without_constants_is_refused() -> None:
    with pytest.raises(ConstantsMissing, match="memory cell 1, there are 1 cells"):
        correct([3000], [0], constants(fast=1), cell=1)


def test_fixed_gain_ignores_the_gain_bits() -> None:
    energy, stage, _ = correct([14600 - 139, 14600], [0, 2], constants(fast=2), fixed_gain=1)
    assert energy == pytest.approx([100.0, 0.0], rel=1e-5)
    assert stage.tolist() == [1, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.sampled_from([0, 1, 2, 3])), min_size=8, max_size=8))
def test_the_result_is_that_of_a_plain_loop_bit_by_bit(pixels: list[tuple[int, int]]) -> None:
    module = constants()
    energy, stage, _ = correct([adc for adc, _ in pixels], [code for _, code in pixels], module)
    for position, (adc, code) in enumerate(pixels):
        used = {0: 0, 1: 1, 3: 2}.get(code, 0)
        plain = (np.float32(adc) - module.offset[0, used, 0, position]) * module.factor[0, used, 0, position]
        assert energy[position] == plain
        assert stage[position] == (255 if code == 2 else used)
