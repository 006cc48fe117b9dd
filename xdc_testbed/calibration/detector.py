"""What a detector is to this package: how its data lie in files, how a pixel tells its gain, where constants come from.

Everything else (files, threads, blocks, manifest) reads this description and knows no detector by name. Shapes are
(slow scan, fast scan). Raw and corrected names follow the EuXFEL data format 1.2; since 2026/1 corrected sources carry
`/CORR/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.failures import InputInvalid
from xdc_testbed.calibration.native import CODE_IN_BYTE, FIXED_STAGE, THRESHOLDS, Coding

if TYPE_CHECKING:
    from xdc_testbed.calibration.constants import ModuleConstants, Reader
    from xdc_testbed.calibration.manifest import Parameters
    from xdc_testbed.calibration.pixels import Corrected, Pixels


class Reference(Protocol):
    """The formula of a detector in plain numpy, which every other implementation has to match bit by bit."""

    def __call__(self, pixels: Pixels, constants: ModuleConstants, parameters: Parameters, out: Corrected, /) -> None:
        """Correct frames in place of `out`. Raises ConstantsMissing for a memory cell without constants."""


class Recipe(Protocol):
    """How the constants of a module are put together from the facility's."""

    def __call__(self, read: Reader, /) -> ModuleConstants:
        """Raises ConstantsMissing and ConstantsInvalid."""


@dataclass(frozen=True)
class DarkNames:
    """How the facility calls the constants that come from dark runs. thresholds: of a detector with gain levels."""

    offset: str = "Offset"
    noise: str = "Noise"
    bad: str = "BadPixelsDark"
    thresholds: str | None = None


@dataclass(frozen=True)
class Detector:
    """One detector type.

    raw_source: pattern with groups `detector`, `device` and `module`; module_name: how a module is called in the names
    of files and constants; corrected_channel: name after `:` of the corrected source; group: index group that holds the
    pixels; image: key of the pixels in raw and corrected data, mask and gain lie beside it; frame: shape of one
    corrected frame; stored: shape of one raw row, its first length None where a row holds several frames; per_row:
    other keys copied row by row; cell: which of them is the memory cell, None for a detector that has one cell only;
    empty_cell: number of a cell in which no frame was taken; any_single_cell: whether the number of the cell is
    arbitrary when only one is in use; stages: number of gain stages, without gain axis in the constants when it is one;
    coding: how a pixel tells its stage; code: key of the gain codes when they are a dataset of their own; words: types
    that raw values may be declared as; asic: pixels that share a common mode in the native kernels; parallel_gain:
    whether it can take one frame per gain stage of each pulse; lit_frames: whether it has a lit frame finder at the
    facility; by_reference: parameters that only the numpy reference carries out; energy_unit: of what comes out; darks:
    names of the constants from dark runs.
    """

    name: str
    raw_source: re.Pattern[str]
    module_name: str
    corrected_channel: str
    group: str
    image: str
    frame: tuple[int, int]
    stored: tuple[int | None, ...]
    per_row: tuple[str, ...]
    cell: str | None
    stages: int
    coding: Coding
    reference: Reference
    recipe: Recipe
    code: str | None = None
    empty_cell: int | None = None
    any_single_cell: bool = False
    words: tuple[str, ...] = ("u2",)
    asic: tuple[int, int] | None = None
    parallel_gain: bool = False
    lit_frames: bool = False
    by_reference: tuple[str, ...] = ()
    energy_unit: str = "keV"
    darks: DarkNames = DarkNames()

    @property
    def several(self) -> bool:
        """Whether a row of the raw data holds several frames, one per memory cell."""
        return self.stored[0] is None

    @property
    def unit(self) -> tuple[int, ...]:
        """Shape of the raw values of one frame."""
        return tuple(n for n in self.stored if n is not None)

    def frames_per_row(self, shape: tuple[int, ...]) -> int:
        """How many frames a row of a raw dataset of this shape holds."""
        return shape[1] if self.several else 1

    def row(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a row of corrected data, for raw data of this shape."""
        return (shape[1], *self.frame) if self.several else self.frame

    def views(
        self, stored: npt.NDArray[Any], code: npt.NDArray[Any] | None
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[Any] | None]:
        """Values and gain of frames as stored. In adaptive gain by analog values both lie beside each other."""
        words = stored.view(np.uint16)
        if self.coding.staging == THRESHOLDS:
            return words[:, 0], words[:, 1]
        return words.reshape(words.shape[0], *self.frame), code

    def coding_for(self, parameters: Parameters, *, in_word: bool) -> Coding:
        """How the native kernels read pixels: fixed gain ignores what they say. in_word: codes are in the word itself
        though the detector usually has a dataset of them.
        """
        coding = self.coding.in_word() if in_word and self.coding.staging == CODE_IN_BYTE else self.coding
        return coding if parameters.fixed_gain is None else coding.fixed()

    def needs_reference(self, parameters: Parameters) -> bool:
        """Whether these parameters ask for something that has no native kernel."""
        return any(getattr(parameters, name) for name in self.by_reference)

    def stage_of(self, parameters: Parameters) -> int:
        """The stage that all pixels are in when they do not tell; a detector with one stage has nothing to choose."""
        return 0 if self.coding.staging == FIXED_STAGE else parameters.fixed_gain or 0

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
