"""Correct raw files of detectors into files of photon energy, with a manifest that is enough to repeat it.

    from xdc_testbed.calibration import calibrate_file
    manifest = calibrate_file(Path("RAW-R0001-JNGFR01-S00000.h5"), Path("CORR.h5"), Path("cal"))

The plain numpy reference of each detector says what is right; native kernels give the same bits. This package knows
files, constants and pixels; it knows nothing of storage, events or functions, and imports nothing of the kit but its
errors.
"""

from __future__ import annotations

from xdc_testbed.calibration.failures import (
    CalibrationError,
    ConstantsInvalid,
    ConstantsMismatch,
    ConstantsMissing,
    ConstantsOutdated,
    InputChanged,
    InputInvalid,
    InputTruncated,
)
from xdc_testbed.calibration.inputs import Ranges
from xdc_testbed.calibration.lit_frames import LitFrames, read_lit_frames
from xdc_testbed.calibration.manifest import CalibrationManifest, Parameters
from xdc_testbed.calibration.pipeline import calibrate_file, calibrate_run, calibrate_stream

__all__ = [
    "CalibrationError",
    "CalibrationManifest",
    "ConstantsInvalid",
    "ConstantsMismatch",
    "ConstantsMissing",
    "ConstantsOutdated",
    "InputChanged",
    "InputInvalid",
    "InputTruncated",
    "LitFrames",
    "Parameters",
    "Ranges",
    "calibrate_file",
    "calibrate_run",
    "calibrate_stream",
    "read_lit_frames",
]
