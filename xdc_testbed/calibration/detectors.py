"""The detectors that this package knows. Adding one is one module with its description and one name here
(docs/howto/add-a-detector.md).
"""

from __future__ import annotations

import re

from xdc_testbed.calibration.agipd import AGIPD
from xdc_testbed.calibration.detector import Detector, Module
from xdc_testbed.calibration.dssc import DSSC
from xdc_testbed.calibration.epix100 import EPIX100
from xdc_testbed.calibration.failures import InputInvalid, NoDetector
from xdc_testbed.calibration.jungfrau import JUNGFRAU
from xdc_testbed.calibration.lpd import LPD

__all__ = ["AGIPD", "DETECTORS", "DSSC", "EPIX100", "JUNGFRAU", "LPD", "Detector", "Module", "identify", "is_of_module"]

DETECTORS = (JUNGFRAU, AGIPD, LPD, DSSC, EPIX100)


def identify(sources: list[str]) -> Module:
    """The one detector module among the instrument sources of a file.

    Raises NoDetector when there is none, InputInvalid when there is more than one: a raw file holds the data of one
    aggregator.
    """
    modules = [
        detector.module(source) for source in sources for detector in DETECTORS if detector.raw_source.fullmatch(source)
    ]
    if not modules:
        known = ", ".join(detector.name for detector in DETECTORS)
        raise NoDetector(f"no module of {known} in this file", remedy="give a RAW file of a detector module")
    if len(modules) > 1:
        raise InputInvalid(f"more than one detector module in this file: {', '.join(m.raw_source for m in modules)}")
    return modules[0]


def is_of_module(file_name: str) -> bool:
    """Whether a raw file is named as one of a detector module: `RAW-R0001-AGIPD00-S00000.h5`."""
    return any(
        re.search(rf"-{detector.module_name.partition('{')[0]}\d+-", file_name) is not None for detector in DETECTORS
    )
