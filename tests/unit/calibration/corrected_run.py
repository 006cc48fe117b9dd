"""What the tests of a corrected run know of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
