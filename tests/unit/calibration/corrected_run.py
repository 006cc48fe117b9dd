"""What the tests of a corrected run know of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py

from xdc_testbed.calibration import CalibrationManifest
from xdc_testbed.demo.detector_data import RunManifest


@dataclass(frozen=True)
class Corrected:
    """A run below `folder`, and what correcting it gave."""

    folder: Path
    run: RunManifest
    manifest: CalibrationManifest

    @property
    def raw(self) -> Path:
        return self.folder / "raw" / "r0001"

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    @property
    def cal(self) -> Path:
        return self.folder / "cal"


def pixels(path: Path) -> dict[str, str]:
    """Digests of the three large datasets, read with stock h5py."""
    found = {}
    with h5py.File(path) as file:
        (source,) = (f"INSTRUMENT/{d}/CORR/{s}" for d in file["INSTRUMENT"] for s in file[f"INSTRUMENT/{d}/CORR"])
        for key in ("image/data", "image/gain", "image/mask", "data/adc", "data/gain", "data/mask"):
            if f"{source}/{key}" in file:
                found[key] = hashlib.sha256(file[f"{source}/{key}"][...].tobytes()).hexdigest()
    assert len(found) == 3
    return found
