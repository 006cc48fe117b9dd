"""Small raw files and constants of every detector, written with the mock data of EXtra-data and filled at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from extra_data.components import AGIPD1M, AGIPD500K, DSSC1M, JUNGFRAU, LPD1M
from extra_data.tests.mockdata import write_file
from extra_data.tests.mockdata.base import DeviceBase
from extra_data.tests.mockdata.detectors import AGIPDModule, DSSCModule, LPDModule
from extra_data.tests.mockdata.jungfrau import JUNGFRAUModule

from xdc_testbed.calibration.detectors import Module, identify

TRAINS, FIRST_TRAIN = 2, 10000


class EPix100(DeviceBase):
    output_channels = ("daqOutput/data",)
    instrument_keys = (("image/pixels", "u2", (708, 768)),)


@dataclass(frozen=True)
class Kind:
    """One detector: its device, what mocks it, the component that opens it, its constants and their axes.

    constants: name -> (number of gain stages, None without such an axis; mean of the values, None for masks).
    """

    device: str
    channel: str
    mock: Callable[[str], Any]
    component: Any
    cells: int
    words: tuple[int, int]
    constants: dict[str, tuple[int | None, float | None]]

    @property
    def module(self) -> Module:
        return identify([f"{self.device}:{self.channel}"])

    @property
    def raw_name(self) -> str:
        return f"RAW-R0001-{self.module.name}-S00000.h5"


KINDS = {
    "AGIPD 1M": Kind(
        "SPB_DET_AGIPD1M-1/DET/0CH0", "xtdf", lambda d: AGIPDModule(d, frames_per_train=4), AGIPD1M, 4, (3900, 9000),
        {"Offset": (3, 4000), "RelativeGain": (3, 1), "SlopesFF": (None, 7), "ThresholdsDark": (3, 6000),
         "BadPixelsDark": (3, None)},
    ),
    "AGIPD 500K": Kind(
        "HED_DET_AGIPD500K2G/DET/3CH0", "xtdf", lambda d: AGIPDModule(d, frames_per_train=2), AGIPD500K, 2,
        (3900, 9000),
        {"Offset": (3, 4000), "RelativeGain": (3, 1), "SlopesFF": (None, 7), "ThresholdsDark": (3, 6000),
         "BadPixelsDark": (3, None), "BadPixelsFF": (3, None)},
    ),
    "LPD": Kind(
        "FXE_DET_LPD1M-1/DET/1CH0", "xtdf", lambda d: LPDModule(d, frames_per_train=6), LPD1M, 6, (0, 0x4000),
        {"Offset": (3, 900), "RelativeGain": (3, 1), "GainAmpMap": (3, 1), "FFMap": (3, 1), "BadPixelsDark": (3, None)},
    ),
    "DSSC": Kind(
        "SCS_DET_DSSC1M-1/DET/7CH0", "xtdf", lambda d: DSSCModule(d, frames_per_train=5), DSSC1M, 5, (0, 256),
        {"Offset": (None, 40), "BadPixelsDark": (None, None)},
    ),
    "JUNGFRAU, 16 cells": Kind(
        "SPB_IRDA_JF4M/DET/JNGFR02", "daqOutput", lambda d: JUNGFRAUModule(d, raw=True), JUNGFRAU, 4, (0, 0x4000),
        {"Offset10Hz": (3, 2600), "RelativeGain10Hz": (3, 40), "BadPixelsDark10Hz": (3, None)},
    ),
    "ePix100": Kind(
        "MID_EXP_EPIX-1/DET/RECEIVER", "daqOutput", EPix100, None, 1, (2500, 3000),
        {"OffsetEPix100": (None, 2600), "RelativeGainEPix100": (None, 1), "BadPixelsDarkEPix100": (None, None)},
    ),
}  # fmt: skip


def write_raw(kind: Kind, folder: Path, version: str = "1.2") -> Path:
    """One raw file with random words."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / kind.raw_name
    write_file(path, [kind.mock(kind.device)], TRAINS, FIRST_TRAIN, chunksize=1, format_version=version)
    rng = np.random.default_rng(5)
    detector = kind.module.detector
    with h5py.File(path, "r+") as file:
        group = file[f"INSTRUMENT/{kind.module.raw_source}/{detector.group}"]
        image = group[detector.image]
        image[...] = rng.integers(*kind.words, image.shape).astype(np.uint16)
        if detector.code:
            switched = rng.random(group[detector.code].shape, np.float32) < 0.03
            group[detector.code][...] = np.where(switched, rng.integers(1, 4, switched.shape), 0)
            group[detector.cell][...] = [*range(kind.cells)] * 3 + [3, 2, 1, 255]
    return path


def write_constants(kind: Kind, folder: Path, cells: int | None = None) -> None:
    """Constants that fit, in one file."""
    rng, cells = np.random.default_rng(6), cells or kind.cells
    slow, fast = kind.module.detector.frame
    path = folder / kind.module.constants_folder / "cal.20200101T000000Z.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, (stages, mean) in kind.constants.items():
            shape = (fast, slow, cells) if stages is None else (fast, slow, cells, stages)
            noise = rng.standard_normal((fast, slow), np.float32).reshape(fast, slow, *(1,) * (len(shape) - 2))
            values = noise + rng.standard_normal(shape[2:], np.float32)
            values = (values > 3).astype(np.uint32) << 17 if mean is None else np.float32(mean) * (1 + values / 64)
            dataset = file.create_dataset(f"Unit_1/{name}/0/data", data=values)
            dataset.attrs["dims"] = ["fast_scan", "slow_scan", "cell", "gain"][: len(shape)]
