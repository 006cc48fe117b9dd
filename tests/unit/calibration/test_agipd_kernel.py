"""The AGIPD kernel: thresholds, offsets, gains, common mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from filled_room import filled

from xdc_testbed.calibration import Parameters, agipd
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.failures import ConstantsInvalid, ConstantsMissing
from xdc_testbed.calibration.pixels import Pixels

OFFSETS, FACTORS = (4200.0, 3900.0, 4000.0), (1 / 7.5, 2.0, 10.0)


def constants(slow: int, fast: int, cells: int = 1) -> ModuleConstants:
    def planes(values: tuple[float, ...]) -> Any:
        shape = (cells, len(values), slow, fast)
        return np.broadcast_to(np.array(values, np.float32)[:, None, None], shape).copy()

    bad = np.zeros((cells, 3, slow, fast), np.uint32)
    return ModuleConstants(planes(OFFSETS), planes(FACTORS), bad, planes((5200.0, 7200.0)), ())


def correct(
    analog: Any, gain: Any, module: ModuleConstants, parameters: Parameters | None = None, cell: int = 0
) -> tuple[Any, Any, Any]:
    raw = np.array([analog, gain], np.uint16)[None]
    out = filled(raw.shape[:1] + raw.shape[2:])
    agipd.correct(Pixels(raw[:, 0], raw[:, 1], np.array([cell], np.uint16)), module, parameters or Parameters(), out)
    return out.energy[0], out.stage[0], out.mask[0]


def test_the_analog_gain_value_chooses_stage_offset_and_gain() -> None:
    energy, stage, mask = correct([[4275, 3950, 4100]], [[4300, 6300, 8300]], constants(1, 3))
    assert stage.tolist() == [[0, 1, 2]]
    assert energy[0] == pytest.approx([10.0, 100.0, 1000.0], rel=1e-6)
    assert not mask.any()


def test_a_value_on_the_threshold_is_still_the_higher_gain() -> None:
    _, stage, _ = correct([[4275] * 4], [[5200, 5201, 7200, 7201]], constants(1, 4))
    assert stage.tolist() == [[0, 1, 1, 2]]


def test_thresholds_out_of_order_or_not_numbers_are_marked() -> None:
    module = constants(1, 3)
    assert module.thresholds is not None
    module.thresholds[0, :, 0, 0] = (7200, 5200)
    module.thresholds[0, 0, 0, 1] = np.nan
    _, _, mask = correct([[4275] * 3], [[4300] * 3], module)
    assert mask.tolist() == [[BadPixels.GAIN_THRESHOLDING_ERROR] * 2 + [0]]


def test_bad_pixels_are_those_of_the_stage_in_use() -> None:
    module = constants(1, 2)
    module.bad[0, 0, 0] = (1, 0)
    module.bad[0, 2, 0] = (0, 2)
    _, _, mask = correct([[4300, 4300]], [[4300, 8300]], module)
    assert mask.tolist() == [[1, 2]]
    _, _, mask = correct([[4300, 4300]], [[6300, 6300]], module)
    assert mask.tolist() == [[0, 0]]


def test_fixed_gain_needs_no_thresholds_and_adaptive_gain_does() -> None:
    known = constants(1, 1)
    without = ModuleConstants(known.offset, known.factor, known.bad, None, ())
    energy, stage, _ = correct([[3950]], [[4300]], without, Parameters(fixed_gain=1))
    assert (energy[0, 0], stage[0, 0]) == (100.0, 1)
    with pytest.raises(ConstantsInvalid, match="ThresholdsDark"):
        correct([[3950]], [[4300]], without)


def test_a_cell_without_constants_is_refused() -> None:
    with pytest.raises(ConstantsMissing, match="memory cell 5, there are 1 cells"):
        correct([[4300]], [[4300]], constants(1, 1), cell=5)


def test_common_mode_takes_away_what_an_asic_shares() -> None:
    analog = np.full((64, 128), 4200)
    analog[:, :64] += 12
    analog[10, 10] += 750
    energy, _, _ = correct(analog, np.full((64, 128), 4300), constants(64, 128), Parameters(common_mode=True))
    assert energy[10, 10] == pytest.approx(100.0, rel=1e-5)
    energy[10, 10] = 0
    assert np.abs(energy).max() < 1e-5


def test_common_mode_leaves_an_illuminated_asic_and_other_stages_alone() -> None:
    module = constants(64, 64)
    bright = np.full((64, 64), 4200 + 75)
    energy, _, _ = correct(bright, np.full((64, 64), 4300), module, Parameters(common_mode=True))
    assert energy == pytest.approx(np.full((64, 64), 10.0), rel=1e-6)
    analog, gain = np.full((64, 64), 4212), np.full((64, 64), 4300)
    analog[0, 0], gain[0, 0] = 3950, 6300
    energy, _, _ = correct(analog, gain, module, Parameters(common_mode=True))
    assert energy[0, 0] == pytest.approx(100.0)
    assert energy[1, 1] == pytest.approx(0.0, abs=1e-5)


def test_the_baseline_is_the_median_of_pixels_in_the_shadow_of_a_stripe() -> None:
    module = constants(2, 4)
    module.bad[0, :, 1] = BadPixels.NON_SENSITIVE
    module.bad[0, :, 1, 3] = BadPixels.NON_SENSITIVE | BadPixels.NOISY_ADC  # not this one
    analog = np.array([[4200 - 30 + 75, 4200, 3950, 4200 - 30], [4150, 4170, 4171, 9000]])
    gain = np.array([[4300, 4300, 6300, 4300], [4300] * 4])
    energy, _, mask = correct(analog, gain, module, Parameters(baseline_below=20))
    assert energy[0] == pytest.approx([75 / 7.5, 30 / 7.5, 100.0, 0.0], abs=1e-5)  # medium gain is left alone
    assert energy[1, 1] == pytest.approx(0, abs=1e-5)
    assert mask[1].tolist() == [BadPixels.NON_SENSITIVE] * 3 + [BadPixels.NON_SENSITIVE | BadPixels.NOISY_ADC]


def test_a_median_that_is_too_large_and_a_module_without_a_stripe_are_no_baseline() -> None:
    module, analog, gain = constants(1, 2), [[4225, 4260]], [[4300, 4300]]
    plain, _, _ = correct(analog, gain, module)
    assert correct(analog, gain, module, Parameters(baseline_below=20))[0].tolist() == plain.tolist()
    module.bad[0, 0, 0, 0] = BadPixels.NON_SENSITIVE
    assert correct(analog, gain, module, Parameters(baseline_below=25))[0].tolist() == plain.tolist()
    energy, _, _ = correct(analog, gain, module, Parameters(baseline_below=25.5))
    assert energy[0] == pytest.approx([0, 35 / 7.5], abs=1e-5)


def test_the_common_mode_comes_after_the_baseline() -> None:
    module, analog = constants(64, 64), np.full((64, 64), 4200 + 28)
    module.bad[0, :, 0] = BadPixels.NON_SENSITIVE
    analog[1] += 10  # within the range of dark pixels only after the baseline
    chosen = Parameters(baseline_below=30, common_mode=True, cm_dark_range=20, cm_iterations=1)
    energy, _, _ = correct(analog, np.full((64, 64), 4300), module, chosen)
    assert energy[2] == pytest.approx(np.full(64, -10 / 63 / 7.5), abs=1e-4)
