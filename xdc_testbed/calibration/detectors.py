"""What the two detectors look like in files: sources, keys, shapes, gain coding, names of the corrected
sources.

Shapes are (slow scan, fast scan). Raw and corrected names follow the EuXFEL data format 1.2; since 2026/1
corrected sources carry `/CORR/`. Adding a detector is one more `Detector` here and one kernel module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xdc_testbed.calibration.failures import InputInvalid


@dataclass(frozen=True)
class Detector:
    """One detector type.

    raw_source: pattern with groups `detector` and `module`; corrected_channel: name after `:` of the
    corrected source; group: index group that holds the pixels; image: key of the pixels in raw and corrected
    data; frame: shape of one corrected frame; stored_frame: shape of one raw row, None where the number of
    memory cells is free; per_row: other keys copied row by row, without their axis of length one; stages:
    number of gain stages; module_name: how a module is called in the names of files and constants.
    """

    name: str
    raw_source: re.Pattern[str]
    corrected_channel: str
    group: str
    image: str
    frame: tuple[int, int]
    stored_frame: tuple[int | None, ...]
    cell: str
    per_row: tuple[str, ...]
    stages: int
    module_name: str

    @property
    def stored_unit(self) -> tuple[int, ...]:
        """Shape of the raw values of one frame: JUNGFRAU rows hold several frames, AGIPD frames are pairs."""
        return self.frame if self.group == "data" else tuple(n for n in self.stored_frame if n is not None)

    def module(self, source: str) -> Module:
        """The module that writes this raw source. Raises InputInvalid for a source of something else."""
        match = self.raw_source.fullmatch(source)
        if match is None:
            raise InputInvalid(f"{source} is not a raw source of {self.name}")
        return Module(
            detector=self,
            detector_id=match["detector"],
            name=self.module_name.format(int(match["module"])),
            raw_source=source,
            corrected_source=f"{match['detector']}/CORR/{match['device']}:{self.corrected_channel}",
        )


@dataclass(frozen=True)
class Module:
    """One module of one detector.

    detector_id: as in source names, `SPB_IRDA_JF4M`; name: as in file names, `JNGFR01`.
    """

    detector: Detector
    detector_id: str
    name: str
    raw_source: str
    corrected_source: str

    @property
    def constants_folder(self) -> str:
        """Where the versions of this module's constants are, relative to the folder of constants."""
        return f"{self.detector_id}/{self.name}"


JUNGFRAU = Detector(
    name="JUNGFRAU",
    raw_source=re.compile(
        r"(?P<detector>[^/]+_(?:JNGFR|JF[14]M|JUNGF|JF500K\d?|JF))/DET/"
        r"(?P<device>(?:JNGFR|MODULE_|RECEIVER-)(?P<module>\d+)):daqOutput"
    ),
    corrected_channel="daqOutput",
    group="data",
    image="adc",
    frame=(512, 1024),
    stored_frame=(None, 512, 1024),
    cell="memoryCell",
    per_row=("frameNumber", "memoryCell", "timestamp"),
    stages=3,
    module_name="JNGFR{:02d}",
)

AGIPD = Detector(
    name="AGIPD",
    raw_source=re.compile(r"(?P<detector>[^/]+_AGIPD[^/]*)/DET/(?P<device>(?P<module>\d+)CH0):xtdf"),
    corrected_channel="output",
    group="image",
    image="data",
    frame=(512, 128),
    stored_frame=(2, 512, 128),
    cell="cellId",
    per_row=("cellId", "pulseId", "length", "status"),
    stages=3,
    module_name="AGIPD{:02d}",
)

DETECTORS = (JUNGFRAU, AGIPD)


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
