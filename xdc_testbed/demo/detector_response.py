"""How the demonstration detectors turn photon energy into ADU: offsets, gains, thresholds and bad pixels of
one module.

This is the truth that the constants describe; it is written without the calibration code, so that comparing
corrected data with the photons tests that code. Values are typical: JUNGFRAU 41.5, -1.39 and -0.11 ADU/keV;
AGIPD 7.5, 0.5 and 0.1 ADU/keV. Offsets are whole ADU and there is no electronic noise, so a corrected pixel
is off by at most half an ADU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.demo.detector_geometry import FRAME, Kind

Float = npt.NDArray[np.float32]

OFFSETS: dict[Kind, tuple[float, ...]] = {"JUNGFRAU": (2600, 14600, 14400), "AGIPD": (4200, 3900, 4000)}
GAINS: dict[Kind, tuple[float, ...]] = {"JUNGFRAU": (41.5, -1.39, -0.11), "AGIPD": (7.5, 0.5, 0.1)}
SWITCH_ADU: dict[Kind, tuple[int, int]] = {"JUNGFRAU": (14800, 1800), "AGIPD": (15200, 15200)}
"""Where stage 0 and stage 1 end: above, or below for a gain that counts downwards."""

GAIN_LEVELS = (4200, 6200, 8200)
GAIN_THRESHOLDS = (5200, 7200)
GAIN_SPREAD = 150

JUNGFRAU_CODES = np.array([0, 1, 3], np.uint8)
WRONG_CODE = 2
ADC_MAX = 0x3FFF

# Bits of the facility's bad-pixel mask that the demonstration uses.
OFFSET_OUT_OF_THRESHOLD, NOISE_OUT_OF_THRESHOLD, NON_SENSITIVE = 1 << 0, 1 << 1, 1 << 19
FF_GAIN_DEVIATION, WRONG_GAIN_VALUE = 1 << 8, 1 << 21


@dataclass(frozen=True)
class Response:
    """One module.

    All planes are [cell, stage, slow, fast]. offset: ADU; gain: ADU/keV, as the constants give it in float32;
    dark, flat: bad-pixel bits; thresholds: [cell, 2, slow, fast], ADU of the analog gain value.
    """

    kind: Kind
    offset: Float
    relative: Float
    slope: Float
    dark: npt.NDArray[np.uint32]
    flat: npt.NDArray[np.uint32]
    thresholds: Float

    @classmethod
    def make(cls, kind: Kind, *, cells: int, seed: list[int]) -> Response:
        """Draw a module: per-pixel offsets, a gain that differs by column and chip, a few bad pixels and a
        dead column.
        """
        draw = np.random.default_rng(seed)
        slow, fast = FRAME[kind]
        shape = (cells, 3, slow, fast)
        offset = np.empty(shape, np.float32)
        column = draw.normal(0, 25, (3, 1, fast))
        chip = draw.normal(0, 90, (3, slow // 64, fast // 64)).repeat(64, axis=1).repeat(64, axis=2)
        for stage, (middle, spread) in enumerate(zip(OFFSETS[kind], (30, 12, 12), strict=True)):
            pixels = draw.normal(0, spread, (slow, fast)) + column[stage] + chip[stage]
            for cell in range(cells):
                offset[cell, stage] = np.rint(middle + pixels + 7 * cell)
        relative, slope = _gains(kind, draw, cells)
        dark = np.zeros(shape, np.uint32)
        flawed = draw.random((slow, fast))
        dark[:, :, flawed < 4e-4] = OFFSET_OUT_OF_THRESHOLD | NOISE_OUT_OF_THRESHOLD
        dark[:, 2, (flawed > 4e-4) & (flawed < 6e-4)] |= NOISE_OUT_OF_THRESHOLD
        dark[:, :, slow // 2 :, int(draw.integers(fast))] |= NON_SENSITIVE
        flat = np.zeros(shape, np.uint32)
        flat[:, :, flawed > 1 - 2e-4] = FF_GAIN_DEVIATION
        thresholds = np.empty((cells, 2, slow, fast), np.float32)
        thresholds[:] = np.rint(np.array(GAIN_THRESHOLDS)[:, None, None] + draw.normal(0, 40, (2, slow, fast)))
        return cls(kind, offset, relative, slope, dark, flat, thresholds)

    def digitise(self, photons: npt.NDArray[np.uint16], cell: int, kev: float, draw: np.random.Generator) -> Digitised:
        """Turn one frame of photons into what the chip sends. kev: energy of a photon; draw: for bad pixels
        and levels.
        """
        energy = photons.astype(np.float64) * kev
        adc = np.rint(self.offset[cell] + energy * self.gain(cell))
        high, medium = SWITCH_ADU[self.kind]
        beyond_high = adc[0] > high
        beyond_medium = adc[1] < medium if self.kind == "JUNGFRAU" else adc[1] > medium
        stage = (beyond_high.astype(np.uint8) + (beyond_high & beyond_medium)).astype(np.uint8)
        sent = np.take_along_axis(adc, stage[None].astype(np.intp), axis=0)[0].clip(1, ADC_MAX - 1).astype(np.uint16)
        mask = np.take_along_axis(self.dark[cell] | self.flat[cell], stage[None].astype(np.intp), axis=0)[0]
        broken = (mask & (OFFSET_OUT_OF_THRESHOLD | NON_SENSITIVE)) != 0
        sent[broken] = draw.integers(1, ADC_MAX - 1, int(np.count_nonzero(broken)))
        if self.kind == "JUNGFRAU":
            return self._with_gain_bits(sent, stage, mask, draw)
        level = np.array(GAIN_LEVELS)[stage] + draw.integers(-GAIN_SPREAD, GAIN_SPREAD, stage.shape)
        return Digitised(sent, level.astype(np.uint16), stage, mask)

    def held_dark(self, cell: int, stage: int, sign: int, draw: np.random.Generator) -> Digitised:
        """One frame without light, all pixels held in one gain stage. sign: of the noise, 1 to 3 ADU by pixel; bad
        pixels send anything.
        """
        shape = FRAME[self.kind]
        swing = 1 + np.arange(shape[0] * shape[1]).reshape(shape) % 3
        sent = (self.offset[cell, stage] + sign * swing).astype(np.uint16)
        dark = self.dark[cell, stage]
        broken = (dark & (OFFSET_OUT_OF_THRESHOLD | NOISE_OUT_OF_THRESHOLD | NON_SENSITIVE)) != 0
        sent[broken] = draw.integers(1, ADC_MAX - 1, int(np.count_nonzero(broken)))
        stages, mask = np.full(shape, stage, np.uint8), dark.copy()
        if self.kind == "JUNGFRAU":
            return Digitised(sent, JUNGFRAU_CODES[stages], stages, mask)
        level = np.full(shape, GAIN_LEVELS[stage], np.uint16)
        return Digitised(sent, level, stages, mask)

    def gain(self, cell: int) -> npt.NDArray[np.float64]:
        """ADU/keV by stage, exactly what the float32 constants say."""
        relative = self.relative[cell].astype(np.float64)
        per_kev: npt.NDArray[np.float64] = relative if self.kind == "JUNGFRAU" else self.slope[cell] / relative
        return per_kev

    def _with_gain_bits(
        self,
        sent: npt.NDArray[np.uint16],
        stage: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint32],
        draw: np.random.Generator,
    ) -> Digitised:
        """Gain bits, and at some twenty pixels the value that no chip should send."""
        code = JUNGFRAU_CODES[stage]
        wrong = draw.integers(0, code.size, 20)
        unswitched = wrong[stage.reshape(-1)[wrong] == 0]
        code.reshape(-1)[unswitched] = WRONG_CODE
        stage.reshape(-1)[unswitched] = 255
        mask.reshape(-1)[unswitched] |= np.uint32(WRONG_GAIN_VALUE)
        return Digitised(sent, code, stage, mask)

    def write_constants(self, path: Path, pdu: str) -> None:
        """Write the constants in the facility's layout: `/{PDU}/{Name}/0/data`, axes (fast, slow, cell,
        gain).
        """
        suffix = "10Hz" if self.kind == "JUNGFRAU" else ""
        parts: dict[str, npt.NDArray[Any]] = {
            f"Offset{suffix}": self.offset,
            f"RelativeGain{suffix}": self.relative,
            f"BadPixelsDark{suffix}": self.dark,
            f"BadPixelsFF{suffix}": self.flat,
        }
        if self.kind == "AGIPD":
            parts |= {"ThresholdsDark": self.thresholds, "SlopesFF": self.slope}
        with h5py.File(path, "w") as file:
            for name, planes in parts.items():
                axes = (3, 2, 0, 1) if planes.ndim == 4 else (2, 1, 0)
                stored = planes.transpose(axes)
                chunk = stored.shape[:2] + (1,) * (stored.ndim - 2)
                dataset = file.create_dataset(
                    f"{pdu}/{name}/0/data",
                    data=stored,
                    chunks=chunk,
                    shuffle=True,
                    compression="gzip",
                    compression_opts=1,
                )
                dataset.attrs["dims"] = ["fast_scan", "slow_scan", "cell", "gain"][: stored.ndim]


@dataclass(frozen=True)
class Digitised:
    """One frame.

    value: ADU; gain: gain bits (JUNGFRAU, uint8) or analog gain value (AGIPD, uint16, ADU); stage and mask:
    what a right correction has to find, stage 255 where the gain bits are wrong.
    """

    value: npt.NDArray[np.uint16]
    gain: npt.NDArray[Any]
    stage: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint32]


def _gains(kind: Kind, draw: np.random.Generator, cells: int) -> tuple[Float, Float]:
    """(relative, slope).

    JUNGFRAU: relative is ADU/keV, slope is not used. AGIPD: relative multiplies a stage to high gain, slope
    is ADU/keV in high gain. Gains differ by chip and column, in steps of 1/512.
    """
    slow, fast = FRAME[kind]
    chips = draw.normal(1, 0.02, (slow // 64, fast // 64)).repeat(64, axis=0).repeat(64, axis=1)
    spread = np.rint(512 * chips * draw.normal(1, 0.01, fast)) / 512
    by_stage = np.array(GAINS[kind])
    if kind == "JUNGFRAU":
        relative = (by_stage[:, None, None] * spread).astype(np.float32)
        return np.broadcast_to(relative, (cells, 3, slow, fast)), np.ones((cells, slow, fast), np.float32)
    relative = np.broadcast_to((by_stage[0] / by_stage)[:, None, None], (3, slow, fast)).astype(np.float32)
    slope = (by_stage[0] * spread).astype(np.float32)
    return np.broadcast_to(relative, (cells, 3, slow, fast)), np.broadcast_to(slope, (cells, slow, fast))
