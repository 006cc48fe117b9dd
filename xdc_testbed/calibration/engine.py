"""Which implementation corrects pixels, and the one call that all of them answer.

`XDC_KERNEL` is numpy, native or auto (native where the library loads, else numpy); `XDC_THREADS` the number of
threads, by default one per processor of this process. Results are the same bits whatever is chosen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration import native
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.failures import ConstantsInvalid, KernelUnavailable
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reference import NO_STAGE


@dataclass(frozen=True)
class Engine:
    """instructions: index in native.INSTRUCTIONS; reason: why numpy was taken without being asked for."""

    name: Literal["numpy", "native"]
    threads: int = 1
    instructions: int = 0
    reason: str | None = None

    def __str__(self) -> str:
        if self.name == "native":
            number = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
            return f"native kernels, {native.INSTRUCTIONS[self.instructions]}, {number}"
        return f"numpy reference ({self.reason})" if self.reason else "numpy reference"


def choose(environ: Mapping[str, str] | None = None) -> Engine:
    """The engine that the environment asks for.

    Raises KernelUnavailable when native kernels are asked for and there are none, or for another value.
    """
    environ = os.environ if environ is None else environ
    wanted = environ.get("XDC_KERNEL", "auto")
    if wanted not in ("auto", "numpy", "native"):
        raise KernelUnavailable(f"XDC_KERNEL is {wanted!r}", remedy="set it to numpy, native or auto")
    if wanted == "numpy":
        return Engine("numpy")
    why_not = native.why_not()
    if why_not is None:
        return Engine("native", _threads(environ), native.instructions())
    if wanted == "native":
        raise KernelUnavailable(
            f"there are no native kernels here: {why_not}",
            remedy="install a C compiler (apt-get install gcc libc6-dev) and the package again",
        )
    return Engine("numpy", reason=f"no native kernels: {why_not}")


def _threads(environ: Mapping[str, str]) -> int:
    text = environ.get("XDC_THREADS", "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise KernelUnavailable(f"XDC_THREADS is {text!r}", remedy="set it to a number from 1 to 256")
    return int(text)


def kernel_for(engine: Engine, detector: Detector, parameters: Parameters) -> Literal["numpy", "native"]:
    """Which implementation corrects this detector: the reference where it alone does what is asked for."""
    return "numpy" if engine.name == "numpy" or detector.needs_reference(parameters) else "native"


def correct(
    engine: Engine,
    detector: Detector,
    pixels: Pixels,
    constants: ModuleConstants,
    parameters: Parameters,
    out: Corrected,
    *,
    counts: native.Counts | None = None,
    how: native.Run | None = None,
) -> None:
    """Correct frames in place of `out`; see the detector's own module for the formula.

    constants: folded (`constants.fold`); counts: added to; how: block sizes and the like, by default the engine's
    threads and instruction set.
    Raises ConstantsMissing for a memory cell without constants.
    """
    if kernel_for(engine, detector, parameters) == "numpy":
        detector.reference(pixels, constants, parameters, out)
        if counts:
            count(out, counts)
        return
    steps, numbers = native_steps(detector, pixels.cells, constants, parameters, in_word=pixels.gain is None)
    native.correct(
        pixels.raw,
        pixels.gain if steps.coding.staging in (native.CODE_IN_BYTE, native.THRESHOLDS) else None,
        numbers,
        planes_of(constants),
        steps.coding,
        energy=out.energy,
        mask=out.mask,
        stage=out.stage,
        counts=counts,
        fixed_stage=steps.fixed_stage,
        common_mode=steps.common_mode,
        force=steps.force,
        how=how or native.Run(threads=engine.threads, instructions=engine.instructions),
    )


def count(out: Corrected, counts: native.Counts) -> None:
    """Add the pixels of corrected frames by stage and by bit of the mask."""
    by_stage = np.bincount(out.stage.reshape(-1), minlength=256)
    counts.stages += [by_stage[0], by_stage[1], by_stage[2], by_stage[NO_STAGE]]
    bad = out.mask[out.mask != 0]
    for bit in range(32):
        counts.reasons[bit] += np.count_nonzero(bad & np.uint32(1 << bit))


def planes_of(constants: ModuleConstants) -> native.Planes:
    """Constants for the native kernels."""
    return native.Planes(constants.offset, constants.factor, constants.bad, constants.thresholds)


def native_steps(
    detector: Detector,
    cells: npt.NDArray[np.integer],
    constants: ModuleConstants,
    parameters: Parameters,
    *,
    in_word: bool,
) -> tuple[native.Steps, npt.NDArray[np.int64]]:
    """What the native kernels do for this detector, and memory cells by number, -1 for an empty frame.

    Raises ConstantsInvalid without the thresholds that are needed, ConstantsMissing for a cell without constants.
    """
    coding = detector.coding_for(parameters, in_word=in_word)
    if coding.staging == native.THRESHOLDS and constants.thresholds is None:
        raise ConstantsInvalid("adaptive gain needs the constant ThresholdsDark")
    numbers = np.asarray(cells).astype(np.int64)
    if detector.empty_cell is not None:
        numbers[numbers == detector.empty_cell] = -1
    constants.require_cells(numbers)
    steps = native.Steps(
        coding,
        detector.stage_of(parameters),
        _common_mode(detector.asic, parameters) if parameters.common_mode and detector.asic else None,
        (_or_nan(parameters.force_medium_below), _or_nan(parameters.force_high_below)),
    )
    return steps, numbers


def _common_mode(asic: tuple[int, int], parameters: Parameters) -> native.CommonMode:
    least = parameters.least_dark(asic[0] * asic[1])
    return native.CommonMode(*asic, parameters.cm_iterations, least, parameters.cm_dark_range)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
