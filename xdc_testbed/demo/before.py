"""One raw frame of every module, kept for the picture of the detector before calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.demo.detector_data import DetectorPlan, RunManifest


def write_before(work: Path, manifest: RunManifest, target: Path) -> None:
    """Write the first frame of each module that has one, in ADU: arrays `<detector id>/<module number>`."""
    frames = {
        f"{detector.detector_id}/{module}": frame
        for detector in manifest.plan.detectors
        for module in detector.modules
        if (frame := _first_frame(work, manifest, detector, module)) is not None
    }
    np.savez_compressed(target, **frames)  # type: ignore[arg-type]  # the stub takes the names for options


def read_before(path: Path, detector_id: str) -> dict[int, npt.NDArray[np.uint16]]:
    """The frames of one detector by module number."""
    with np.load(path) as stored:
        return {
            int(name.rsplit("/", 1)[1]): stored[name] for name in stored.files if name.rsplit("/", 1)[0] == detector_id
        }


def _first_frame(work: Path, manifest: RunManifest, detector: DetectorPlan, module: int) -> npt.NDArray[Any] | None:
    """The value of each pixel in the first frame of the first whole file of a module."""
    name = detector.module_name(module)
    for file in manifest.files:
        if (file.detector_id, file.module, file.expected) == (detector.detector_id, name, "corrected"):
            with h5py.File(work / file.path, "r") as raw:
                group = raw[f"INSTRUMENT/{detector.source(module)}"]
                frame = group["data/adc"] if detector.kind == "JUNGFRAU" else group["image/data"]
                return np.asarray(frame[0, 0]) if frame.shape[0] else None
    return None
