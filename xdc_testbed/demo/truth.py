"""Corrected files against the photons that were put into them, read by EXtra-data as a user would.

The demonstration's detectors have no electronic noise and whole-ADU offsets, so a corrected pixel may be
off by the rounding to whole ADU and no more: half an ADU, divided by the gain of the pixel's stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from extra_data import H5File

from xdc_testbed.demo.detector_geometry import Kind
from xdc_testbed.demo.detector_response import GAINS

STAGES = 3
_GAIN_SPREAD = 0.8  # the least part of its stage's typical gain that a pixel has
_SINGLE = 1e-6  # relative error of float32 arithmetic
_KEYS: dict[Kind, tuple[str, str]] = {"JUNGFRAU": ("data", "adc"), "AGIPD": ("image", "data")}


@dataclass(frozen=True)
class Comparison:
    """What was found in one or several files.

    pixels: compared, by gain stage, without masked ones; wrong: of these, off by more than rounding; worst:
    keV, by gain stage; masked: pixels that the mask excludes; mask_differs: pixels whose mask is not the
    expected one.
    """

    frames: int = 0
    pixels: tuple[int, ...] = (0,) * STAGES
    wrong: int = 0
    worst: tuple[float, ...] = (0.0,) * STAGES
    masked: int = 0
    mask_differs: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            frames=self.frames + other.frames,
            pixels=tuple(a + b for a, b in zip(self.pixels, other.pixels, strict=True)),
            wrong=self.wrong + other.wrong,
            worst=tuple(max(a, b) for a, b in zip(self.worst, other.worst, strict=True)),
            masked=self.masked + other.masked,
            mask_differs=self.mask_differs + other.mask_differs,
        )


def allowed(kind: Kind) -> tuple[float, ...]:
    """How far a pixel of each gain stage may be off, keV: half an ADU at the smallest gain."""
    return tuple(0.5 / (abs(gain) * _GAIN_SPREAD) for gain in GAINS[kind])


def compare(corrected: Path, truth: Path, kind: Kind) -> Comparison:
    """Compare a corrected file with its truth, frame by frame.

    Raises OSError, KeyError or ValueError when either cannot be read or their frames do not belong together.
    """
    energy, mask = read_corrected(corrected, kind, ("image", "mask"))
    total = Comparison()
    with h5py.File(truth, "r") as stored:
        photons = stored["photons"]
        if energy.shape != photons.shape:
            raise ValueError(f"{energy.shape[0]} frames, where the truth has {photons.shape[0]}")
        kev = float(stored.attrs["photon_energy_kev"])
        for frame in range(photons.shape[0]):
            expected = photons[frame].astype(np.float64) * kev
            difference = np.abs(energy[frame] - expected) - _SINGLE * expected
            total += _frame(difference, mask[frame], stored["stage"][frame], stored["mask"][frame], kind)
    return total


def read_corrected(path: Path, kind: Kind, keys: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Arrays (frames, slow scan, fast scan) of a corrected file. keys: of `image`, `mask`, `gain`."""
    group, image = _KEYS[kind]
    with H5File(path) as run:
        source = next(name for name in sorted(run.instrument_sources) if "/CORR/" in name)
        arrays = [run[source, f"{group}.{image if key == 'image' else key}"].ndarray() for key in keys]
    return [array.reshape(-1, *array.shape[-2:]) for array in arrays]


def _frame(
    difference: npt.NDArray[np.float64],
    mask: npt.NDArray[np.uint32],
    stage: npt.NDArray[np.uint8],
    expected_mask: npt.NDArray[np.uint32],
    kind: Kind,
) -> Comparison:
    good = mask == 0
    pixels, worst, wrong = [], [], 0
    for number, limit in enumerate(allowed(kind)):
        off = difference[good & (stage == number)]
        pixels.append(off.size)
        worst.append(float(off.max(initial=0.0)))
        wrong += int(np.count_nonzero(~(off <= limit)))  # NaN is wrong too
    return Comparison(
        frames=1,
        pixels=tuple(pixels),
        wrong=wrong,
        worst=tuple(worst),
        masked=int(np.count_nonzero(~good)),
        mask_differs=int(np.count_nonzero(mask != expected_mask)),
    )
