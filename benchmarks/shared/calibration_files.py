"""Raw files and constants for the calibration benchmark, in the facility's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xdc_testbed.calibration.detectors import AGIPD, JUNGFRAU, Module
from xdc_testbed.demo.detector_data import CONSTANTS_FILE
from xdc_testbed.demo.raw_files import RawSpan, create_raw

JF = JUNGFRAU.module("SPB_IRDA_JF4M/DET/JNGFR01:daqOutput")


def write_jungfrau(folder: Path, frames: int, *, chunked: bool) -> tuple[Path, Path]:
    """A raw file, one frame per train, 1 % switched pixels, and its constants. Returns file and folder of constants."""
    cal = folder / "cal"
    (cal / JF.constants_folder).mkdir(parents=True)
    rng = np.random.default_rng(11)
    slow, fast = JUNGFRAU.frame
    with h5py.File(cal / JF.constants_folder / CONSTANTS_FILE, "w") as file:
        shape = (fast, slow, 1, 3)
        dark = np.where(rng.random(shape) < 0.005, 1, 0).astype(np.uint32)
        offset = rng.normal((4000, 14000, 14500), 30, shape).astype(np.float32)
        gain = (np.array([41.5, -1.39, -0.11]) * np.ones(shape)).astype(np.float32)
        for name, values in (("Offset10Hz", offset), ("RelativeGain10Hz", gain), ("BadPixelsDark10Hz", dark)):
            _constant(file, "Jungfrau_M101", name, values)
    raw = folder / "RAW-R0001-JNGFR01-S00000.h5"
    span = RawSpan(
        source=JF.raw_source, groups={"data": np.ones(frames, np.uint64)}, first_train=0, trains=frames,
        run=1, proposal=900001, sequence=0,
    )  # fmt: skip
    with create_raw(raw, span) as file:
        group = file[f"INSTRUMENT/{JF.raw_source}/data"]
        group["memoryCell"] = np.zeros((frames, 1), np.uint8)
        group["frameNumber"] = np.arange(frames, dtype=np.uint64)[:, None]
        group["timestamp"] = np.zeros((frames, 1))
        layout: dict[str, Any] = {"chunks": (1, 1, slow, fast)} if chunked else {}
        adc = group.create_dataset("adc", (frames, 1, slow, fast), "u2", **layout)
        code = group.create_dataset("gain", (frames, 1, slow, fast), "u1", **layout)
        parts = []
        for _ in range(4):
            switched = rng.random((slow, fast)) < 0.01
            parts.append((rng.integers(3900, 5000, (slow, fast)).astype(np.uint16), switched.astype(np.uint8)))
        for frame in range(frames):
            adc[frame, 0], code[frame, 0] = parts[frame % 4]
    return raw, cal


def write_agipd(raw: Path, trains: int) -> None:
    """A raw file of one frame per train, all of memory cell 0, for the module of `write_agipd_constants`."""
    module = AGIPD.module("SPB_DET_AGIPD1M-1/DET/0CH0:xtdf")
    rng = np.random.default_rng(17)
    span = RawSpan(
        source=module.raw_source, groups={"image": np.ones(trains, np.uint64)}, first_train=0, trains=trains,
        run=1, proposal=900001, sequence=0,
    )  # fmt: skip
    raw.parent.mkdir(parents=True, exist_ok=True)
    with create_raw(raw, span) as file:
        group = file[f"INSTRUMENT/{module.raw_source}/image"]
        for key, kind in (("cellId", "u2"), ("pulseId", "u8"), ("length", "u4"), ("status", "u2")):
            group[key] = np.zeros((trains, 1), kind)
        data = group.create_dataset("data", (trains, 2, *AGIPD.frame), "u2")
        some = rng.integers(3950, 4050, (50, 2, *AGIPD.frame)).astype(np.uint16)
        for first in range(0, trains, 50):
            data[first : first + 50] = some[: min(50, trains - first)]


def write_agipd_constants(folder: Path, cells: int) -> Module:
    """Constants of one AGIPD module as the facility keeps them: offsets and thresholds in float64, not compressed."""
    module = AGIPD.module("SPB_DET_AGIPD1M-1/DET/0CH0:xtdf")
    (folder / module.constants_folder).mkdir(parents=True)
    slow, fast = AGIPD.frame
    rng = np.random.default_rng(13)
    noise = rng.normal(0, 20, (fast, slow, 1, 3))
    by_cell = rng.normal(0, 5, (1, 1, cells, 1))
    with h5py.File(folder / module.constants_folder / CONSTANTS_FILE, "w") as file:
        pdu = "Agipd_M100"
        _constant(file, pdu, "Offset", np.array([4000.0, 3900, 4000]) + noise + by_cell)
        _constant(file, pdu, "ThresholdsDark", np.array([5200.0, 7200, 0]) + noise * 0 + by_cell)
        _constant(file, pdu, "RelativeGain", np.ones((fast, slow, cells, 3), np.float32))
        _constant(file, pdu, "SlopesFF", np.full((fast, slow, cells), 41.5, np.float32))
        _constant(file, pdu, "BadPixelsDark", np.zeros((fast, slow, cells, 3), np.uint32))
    return module


def _constant(file: h5py.File, pdu: str, name: str, values: Any) -> None:
    dataset = file.create_dataset(f"{pdu}/{name}/0/data", data=values)
    dataset.attrs["dims"] = ["fast_scan", "slow_scan", "cell", "gain"][: values.ndim]
