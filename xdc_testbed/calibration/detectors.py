"""The detectors that this package knows. Adding one is one module with its description and one name here
(docs/howto/add-a-detector.md).
"""

from __future__ import annotations

from xdc_testbed.calibration.agipd import AGIPD
from xdc_testbed.calibration.detector import Detector, Module
from xdc_testbed.calibration.dssc import DSSC
from xdc_testbed.calibration.epix100 import EPIX100
from xdc_testbed.calibration.failures import InputInvalid
from xdc_testbed.calibration.jungfrau import JUNGFRAU
from xdc_testbed.calibration.lpd import LPD

__all__ = ["AGIPD", "DETECTORS", "DSSC", "EPIX100", "JUNGFRAU", "LPD", "Detector", "Module", "identify"]

DETECTORS = (JUNGFRAU, AGIPD, LPD, DSSC, EPIX100)


def identify(sources: list[str]) -> Module:
    """The one detector module among the instrument sources of a file.

    Raises InputInvalid when there is none or more than one: a raw file holds the data of one aggregator.
    """
    modules = [
        detector.module(source) for source in sources for detector in DETECTORS if detector.raw_source.fullmatch(source)
    ]
    if not modules:
        known = ", ".join(detector.name for detector in DETECTORS)
        raise InputInvalid(f"no module of {known} in this file", remedy="give a RAW file of a detector module")
    if len(modules) > 1:
        raise InputInvalid(f"more than one detector module in this file: {', '.join(m.raw_source for m in modules)}")
    return modules[0]
