"""The record of a calibration: what went in, what was done, what came out. Enough to repeat it bit for bit.

No clock in it: the same inputs, constants, parameters and code give the same manifest.
"""

from __future__ import annotations

import math
import os
from functools import cache, partial
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from xxhash import xxh3_64

from xdc_testbed.calibration.checksums import Passed


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


Condition = float | str | tuple[float, float]
"""A number, a text, or a number and how far another may be from it."""


class Choice(_Record):
    """Which versions of constants are taken.

    strategy: closest in time to the data, or the last one prior to it; at: a time in place of that of the data;
    conditions: compared with those of a constant where both name one; within_days: how far away from the data a
    constant may begin.
    """

    strategy: Literal["closest", "prior"] = "closest"
    at: AwareDatetime | None = None
    conditions: dict[str, Condition] = {}
    within_days: float | None = Field(default=None, gt=0)


class Parameters(_Record):
    """What a user may choose about a correction.

    common_mode: subtract the shift that dark pixels share, per ASIC in high gain (AGIPD) or per bank, row and column
    (ePix100); cm_dark_range: a pixel is dark within plus or minus this, ADU; cm_dark_fraction: least part of dark
    pixels; cm_iterations: at most so many rounds, AGIPD; force_medium_below, force_high_below: a pixel in low (medium)
    gain counts as medium (high) when its value by the offset of that gain is below this, ADU, AGIPD; baseline_below:
    the median of pixels in the shadow of a stripe is taken away where it is below this, ADU, AGIPD; fixed_gain: stage
    of a detector run in fixed gain, None for adaptive gain; gain_in_word: gain bits are the two high bits of a word,
    not a dataset, JUNGFRAU; parallel_gain: a pulse has one frame per gain stage, LPD; combine_up_to: of these three,
    each pixel takes the most sensitive one whose value is not above this, ADU, so that a pulse has one frame; trains:
    first and last train ID, either may be None; cells: memory cells of which frames are kept, where a row of raw data
    is one frame; pulse_energy_above: of the frames that hold data by the lit frame finder, those with more energy than
    this are kept, uJ, AGIPD; photon_energy: keV, energies become whole photons; mantissa_bits: energies keep so many;
    half_precision: energies are float16; legacy_names: keep the raw source name as a soft link to the corrected one;
    constants: which versions are taken.
    """

    common_mode: bool = False
    cm_dark_range: float = Field(default=30.0, gt=0, lt=512)
    cm_dark_fraction: float = Field(default=0.15, gt=0, le=1)
    cm_iterations: int = Field(default=4, ge=1)
    force_medium_below: float | None = None
    force_high_below: float | None = None
    baseline_below: float | None = Field(default=None, gt=0)
    fixed_gain: Literal[0, 1, 2] | None = None
    gain_in_word: bool = False
    parallel_gain: bool = False
    combine_up_to: int | None = Field(default=None, ge=0, le=0xFFFF)
    trains: tuple[int | None, int | None] | None = None
    cells: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    pulse_energy_above: float | None = Field(default=None, allow_inf_nan=False)
    photon_energy: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    mantissa_bits: int | None = Field(default=None, ge=1, le=22)
    half_precision: bool = False
    legacy_names: bool = True
    constants: Choice = Field(default_factory=Choice)  # made when it is used: making one builds its schema

    def least_dark(self, pixels: int) -> int:
        """Number of dark pixels below which so many pixels are left alone by the common mode."""
        return math.ceil(self.cm_dark_fraction * pixels)


class FileRecord(_Record):
    """A file by content. size: bytes; adler32: eight hexadecimal digits, as storage reports it."""

    name: str
    size: int
    adler32: str

    @classmethod
    def of(cls, path: Path, name: str | None = None, passed: Passed | None = None) -> FileRecord:
        """Read the file, but for the parts that passed already."""
        with path.open("rb") as file:
            return cls.of_open(file, name or path.name, passed or Passed())

    @classmethod
    def of_open(cls, file: BinaryIO, name: str, passed: Passed) -> FileRecord:
        """The same of an open file."""
        size = os.fstat(file.fileno()).st_size
        adler32 = passed.adler32(partial(os.pread, file.fileno()), size)
        return cls(name=name, size=size, adler32=f"{adler32:08x}")


class ConstantRecord(_Record):
    """One constant as read.

    pdu: the physical module; file: relative to the folder of constants; begin: of its validity; conditions: under which
    it was taken; passed_over: files that come before this one in time, and why they were not taken; xxh3: XXH3-128 of
    the array's bytes in file order, so that it does not depend on compression.
    """

    pdu: str
    name: str
    file: str
    begin: AwareDatetime
    conditions: dict[str, Condition] = {}
    passed_over: tuple[str, ...] = ()
    shape: tuple[int, ...]
    dtype: str
    xxh3: str


class Constants(_Record):
    """The constants of one module. files: every file that a part was taken from, named relative to the folder of
    constants."""

    files: tuple[FileRecord, ...]
    parts: tuple[ConstantRecord, ...]


class FileOutcome(_Record):
    """What became of one raw file.

    failure: the name of what went wrong (docs/reference/outcomes.md), reason: in one sentence;
    recorded: when the data was taken, as far as the file says; constants are chosen by it.
    trains: in the corrected file; trains_without_data: of these, with no frame; trains_dropped: not taken
    over, because their ID is flagged invalid or does not increase; trains_left_out, frames_left_out: not asked for;
    frames_unlit: of these, left out because they hold no data by the lit frame finder; trains_untold: trains of which
    the finder told nothing, and which are kept whole;
    reference_only: what was asked for has no native kernel, so that the numpy reference did it; streamed: the corrected
    file is one stream (`calibrate_stream`), which has its bytes in another order; pixels_by_stage: keys
    "0", "1", "2", "none"; pixels_by_reason: of the bad-pixel mask.
    """

    input: FileRecord
    outcome: Literal["corrected", "failed", "left out"]
    failure: str | None = None
    reason: str | None = None
    output: FileRecord | None = None
    recorded: AwareDatetime | None = None
    constants: Constants | None = None
    detector: str | None = None
    module: str | None = None
    trains: int = 0
    trains_without_data: int = 0
    trains_dropped: int = 0
    trains_left_out: int = 0
    frames_left_out: int = 0
    frames_unlit: int = 0
    trains_untold: int = 0
    reference_only: bool = False
    streamed: bool = False
    frames: int = 0
    pixels_by_stage: dict[str, int] = {}
    pixels_by_reason: dict[str, int] = {}


class Gap(_Record):
    """Trains that the corrected run has in other modules of a detector, and not in this one.

    trains: how many of `of_trains`; all of them when the module is missing.
    """

    detector: str
    module: str
    trains: int
    of_trains: int


class CalibrationManifest(_Record):
    """The whole record.

    gaps: of a run, modules that lack trains; lit_frames: what told which frames hold data, none when all were kept;
    kernel_path: which implementation computed; software: what the bytes of the output depend on.
    """

    schema_version: Literal[1] = 1
    code_version: str
    kernel_path: Literal["numpy", "native"]
    software: dict[str, str]
    parameters: Parameters
    files: tuple[FileOutcome, ...]
    gaps: tuple[Gap, ...] = ()
    lit_frames: tuple[FileRecord, ...] = ()

    def to_json(self) -> str:
        """Render for storing beside the corrected file; the same content always gives the same text."""
        return self.model_dump_json(indent=2) + "\n"


@cache
def code_version() -> str:
    """Names the code that computes: changes when a source of this package or its kernels does, and does not when
    `report` does, which only shows what came out.
    """
    return sources_hash(Path(__file__).parent)


def sources_hash(package: Path) -> str:
    """XXH3-64 over the sources of this package in the folder `package`, 16 hexadecimal digits."""
    digest = xxh3_64()
    for folder in (package, package / "native"):
        for source in sorted(file for file in folder.iterdir() if file.suffix in (".py", ".c", ".h")):
            digest.update(f"{folder.name}/{source.name}".encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def software() -> dict[str, str]:
    """Versions of what the output bytes depend on beside this package."""
    import platform

    import h5py
    import isal
    import numpy as np

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "isal": isal.__version__,
    }
