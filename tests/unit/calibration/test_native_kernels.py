"""The native kernels give the bits of the numpy reference: every instruction set, thread count and block size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from filled_room import filled
from hypothesis import given, settings
from hypothesis import strategies as st

from xdc_testbed.calibration import Parameters, engine, native
from xdc_testbed.calibration.badpixels import BadPixels, reasons
from xdc_testbed.calibration.constants import ModuleConstants, fold
from xdc_testbed.calibration.detectors import AGIPD, DSSC, EPIX100, JUNGFRAU, LPD, Detector
from xdc_testbed.calibration.failures import ConstantsMissing
from xdc_testbed.calibration.pixels import Pixels

assert native.why_not() is None, f"scripts/setup dev builds the native kernels: {native.why_not()}"
SETS = range(native.instructions() + 1)
ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1e-40, 3e38, 1e-3], np.float32)

seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from([(1, 1), (1, 31), (3, 11), (8, 32), (5, 77), (64, 64), (16, 128)])


def planes(rng: Any, shape: tuple[int, ...], around: float, spread: float) -> Any:
    """float32 with a few values that constants should not have and sometimes do."""
    values = rng.normal(around, spread, shape).astype(np.float32)
    odd = rng.random(shape) < 0.02
    values[odd] = rng.choice(ODD, int(odd.sum()))
    return values


def some_constants(rng: Any, cells: int, frame: tuple[int, int], *, thresholds: bool) -> ModuleConstants:
    shape = (cells, 3, *frame)
    bad = np.where(rng.random(shape) < 0.1, 1 << rng.integers(0, 24, shape), 0).astype(np.uint32)
    limits = planes(rng, (cells, 2, *frame), 6000, 1500) if thresholds else None
    return ModuleConstants(planes(rng, shape, 4000, 300), planes(rng, shape, 0.1, 0.3), bad, limits, ())


def planes_of(constants: ModuleConstants) -> native.Planes:
    return native.Planes(constants.offset, constants.factor, constants.bad, constants.thresholds)


def both_ways(
    detector: Detector,
    pixels: Pixels,
    module: ModuleConstants,
    parameters: Parameters,
    how: native.Run,
) -> None:
    """Assert that reference and native kernels give the same bytes and counts."""
    outcome = {}
    for chosen in (engine.Engine("numpy"), engine.Engine("native", how.threads, how.instructions)):
        out = filled(pixels.raw.shape)
        counts = native.Counts.zero()
        given = module if chosen.name == "numpy" else fold(module, adaptive=parameters.fixed_gain is None)
        with np.errstate(all="ignore"):
            engine.correct(chosen, detector, pixels, given, parameters, out, counts=counts, how=how)
        bits = out.energy.view(np.uint32)
        outcome[chosen.name] = (bits, out.stage, out.mask, counts.stages, counts.reasons)
    for name, expected, found in zip(
        ("energy", "stage", "mask", "stages", "reasons"), outcome["numpy"], outcome["native"], strict=True
    ):
        np.testing.assert_array_equal(found, expected, err_msg=name)


runs = st.builds(
    native.Run,
    threads=st.integers(1, 5),
    instructions=st.sampled_from(list(SETS)),
    block=st.sampled_from([1, 7, 32, 64, 100, 1024, 4096]),
    group=st.integers(1, 9),
    streaming=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(seeds, shapes, st.integers(0, 7), st.booleans(), st.sampled_from([None, None, 0, 1, 2]), runs)
def test_jungfrau_is_the_same_bits(
    seed: int, frame: tuple[int, int], frames: int, in_word: bool, fixed: Any, how: native.Run
) -> None:
    rng = np.random.default_rng(seed)
    module = some_constants(rng, 3, frame, thresholds=False)
    raw = rng.choice(np.array([0, 1, 4000, 0x3FFF, 0x4000, 0x8001, 0xC000, 0xFFFF, 5000], np.uint16), (frames, *frame))
    gain = None if in_word else rng.choice(np.array([0, 0, 0, 0, 1, 3, 2, 7], np.uint8), (frames, *frame))
    cells = rng.choice(np.array([0, 1, 2, 255], np.uint8), frames)
    both_ways(JUNGFRAU, Pixels(raw, gain, cells), module, Parameters(fixed_gain=fixed), how)


@settings(max_examples=150, deadline=None)
@given(seeds, shapes, st.integers(0, 7), st.sampled_from([None, None, 0, 1, 2]), st.booleans(), runs)
def test_agipd_is_the_same_bits(
    seed: int, frame: tuple[int, int], frames: int, fixed: Any, force: bool, how: native.Run
) -> None:
    rng = np.random.default_rng(seed)
    module = some_constants(rng, 4, frame, thresholds=True)
    pair = rng.integers(3500, 9000, (frames, 2, *frame)).astype(np.uint16)
    limits = {"force_medium_below": 1000.0, "force_high_below": 800.5} if force else {}
    parameters = Parameters(fixed_gain=fixed, **limits)
    cells = rng.integers(0, 4, frames).astype(np.uint16)
    both_ways(AGIPD, Pixels(pair[:, 0], pair[:, 1], cells), module, parameters, how)


@settings(max_examples=100, deadline=None)
@given(seeds, shapes, st.integers(0, 7), st.sampled_from([None, None, 0, 1, 2]), runs)
def test_lpd_is_the_same_bits(seed: int, frame: tuple[int, int], frames: int, fixed: Any, how: native.Run) -> None:
    rng = np.random.default_rng(seed)
    module = some_constants(rng, 3, frame, thresholds=False)
    raw = rng.integers(3500, 4500, (frames, *frame)) & 0xFFF
    raw |= rng.choice(np.array([0, 0, 0, 0, 1, 2, 3, 4]), raw.shape) << 12
    cells = rng.integers(0, 3, frames).astype(np.uint16)
    both_ways(LPD, Pixels(raw.astype(np.uint16), None, cells), module, Parameters(fixed_gain=fixed), how)


@settings(max_examples=60, deadline=None)
@given(seeds, shapes, st.integers(0, 7), st.sampled_from([DSSC, EPIX100]), st.sampled_from([None, 1]), runs)
def test_detectors_with_one_gain_stage_are_the_same_bits(
    seed: int, frame: tuple[int, int], frames: int, detector: Detector, fixed: Any, how: native.Run
) -> None:
    rng = np.random.default_rng(seed)
    module = some_constants(rng, 2, frame, thresholds=False)
    module = ModuleConstants(module.offset[:, :1], module.factor[:, :1], module.bad[:, :1], None, ())
    raw = rng.choice(np.array([0, 1, 255, 256, 511, 512, 4000, 0x3FFF, 0x4000, 0xFFFF], np.uint16), (frames, *frame))
    both_ways(detector, Pixels(raw, None, rng.integers(0, 2, frames)), module, Parameters(fixed_gain=fixed), how)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3), st.sampled_from([None, 0, 1]), st.floats(0.01, 0.99), st.floats(1, 500), runs)
def test_common_mode_is_the_same_bits(
    seed: int, frames: int, fixed: Any, fraction: float, around: float, how: native.Run
) -> None:
    rng = np.random.default_rng(seed)
    frame = (128, 128)
    module = some_constants(rng, 2, frame, thresholds=True)
    analog = rng.normal(4000 + rng.integers(-80, 80), 40, (frames, *frame)).astype(np.uint16)
    gain = rng.integers(3500, 6500, (frames, *frame)).astype(np.uint16)
    parameters = Parameters(common_mode=True, cm_dark_fraction=fraction, cm_dark_range=around, fixed_gain=fixed)
    both_ways(AGIPD, Pixels(analog, gain, rng.integers(0, 2, frames)), module, parameters, how)


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("streaming", [False, True])
def test_energy_alone_is_the_energy_with_everything(instructions: int, streaming: bool) -> None:
    rng = np.random.default_rng(7)
    frame = (16, 128)
    for detector, thresholds in ((JUNGFRAU, False), (AGIPD, True)):
        module = some_constants(rng, 2, frame, thresholds=thresholds)
        raw = rng.integers(0, 1 << 14, (9, *frame)).astype(np.uint16)
        gain = rng.integers(3000, 9000, raw.shape).astype(np.uint16) if thresholds else rng.integers(0, 4, raw.shape)
        coding = detector.coding_for(Parameters(), in_word=False)
        folded = planes_of(fold(module, adaptive=True))
        how = native.Run(2, instructions, block=256, streaming=streaming)
        out = filled(raw.shape)
        alone = aligned(raw.shape)
        gain = gain.astype(np.uint16 if thresholds else np.uint8)
        cells = np.arange(9) % 2
        native.correct(raw, gain, cells, folded, coding, energy=out.energy, mask=out.mask, stage=out.stage, how=how)
        native.correct(raw, gain, cells, folded, coding, energy=alone, how=how)
        np.testing.assert_array_equal(alone.view(np.uint32), out.energy.view(np.uint32))


def aligned(shape: tuple[int, ...]) -> Any:
    """float32 that begins on a cache line, so that streaming stores are used."""
    size = int(np.prod(shape)) * 4
    room = np.zeros(size + 64, np.uint8)
    return room[-room.ctypes.data % 64 :][:size].view(np.float32).reshape(shape)


def test_a_memory_cell_without_constants_is_refused() -> None:
    rng = np.random.default_rng(1)
    module = some_constants(rng, 2, (4, 4), thresholds=False)
    raw = np.zeros((1, 4, 4), np.uint16)
    pixels = Pixels(raw, raw.astype(np.uint8), np.array([2]))
    with pytest.raises(ConstantsMissing, match="memory cell 2"):
        engine.correct(engine.choose({}), JUNGFRAU, pixels, module, Parameters(), filled(raw.shape))


@pytest.mark.parametrize("wrong", ["raw", "energy", "cells", "mask"])
def test_arrays_that_do_not_fit_never_reach_the_library(wrong: str) -> None:
    rng = np.random.default_rng(1)
    coding = JUNGFRAU.coding_for(Parameters(), in_word=False)
    folded = planes_of(some_constants(rng, 2, (4, 8), thresholds=False))
    raw, code = np.zeros((3, 4, 8), np.uint16), np.zeros((3, 4, 8), np.uint8)
    out = filled(raw.shape)
    given: dict[str, Any] = {"raw": raw, "cells": np.zeros(3, int), "energy": out.energy, "mask": out.mask}
    given |= {
        "raw": {"raw": raw[:, :, ::2]}, "energy": {"energy": out.energy[:2]},
        "cells": {"cells": np.full(3, 2)}, "mask": {"mask": None},
    }[wrong]  # fmt: skip
    with pytest.raises(ValueError, match=r"."):
        native.correct(
            given["raw"], code, given["cells"], folded, coding,
            energy=given["energy"], mask=given["mask"], stage=out.stage,
        )  # fmt: skip


def test_bits_of_the_mask_are_counted_by_name() -> None:
    counts = [0] * 32
    counts[12], counts[3] = 5, 1
    assert reasons(counts) == {"NO_DARK_DATA": 1, "VALUE_OUT_OF_RANGE": 5}
    assert BadPixels.VALUE_OUT_OF_RANGE == 1 << 12
