"""The native kernels: a small C library without dependencies, loaded with ctypes, which lets go of the GIL.

    native.available() -> None, or why the library cannot be used here
    native.correct(...) -> corrects frames in place, several threads, any memory cells

The library knows nothing of Python, so that one build serves every interpreter of a platform, also the ones on the
nodes and in an OpenWhisk runtime. C sources lie beside this module; hatch_build.py compiles them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LIBRARY: Final = "libcalibration.so"
INSTRUCTIONS: Final = ("generic", "avx2", "avx512")
FIXED_STAGE, CODE_IN_BYTE, CODE_IN_WORD, THRESHOLDS = range(4)

_INT64, _UINT32, _INT32, _FLOAT, _POINTER = (
    ctypes.c_int64,
    ctypes.c_uint32,
    ctypes.c_int32,
    ctypes.c_float,
    ctypes.c_void_p,
)


class Correction(ctypes.Structure):
    """`struct correction` of correction.h, field by field."""

    _fields_ = (
        *((name, _INT64) for name in ("frames", "pixels", "raw_stride", "gain_stride")),
        *((name, _POINTER) for name in ("raw", "gain", "offset", "factor", "thresholds", "bad")),
        *((name, _INT64) for name in ("offset_stride", "factor_stride", "thresholds_stride", "bad_stride")),
        *((name, _POINTER) for name in ("energy", "mask", "stage")),
        ("groups", _INT64),
        *((name, _POINTER) for name in ("order", "start", "cell", "stages", "reasons")),
        ("staging", _INT32),
        ("fixed_stage", _INT32),
        *((name, _UINT32) for name in ("value_bits", "word_bits", "code_shift", "code1", "code2", "counts_down")),
        ("zero_means", _UINT32),
        *((name, _UINT32) for name in ("asic_rows", "asic_columns", "row", "cm_rounds", "cm_least")),
        *((name, _FLOAT) for name in ("cm_range", "force_medium", "force_high")),
        ("block", _INT64),
        *((name, _INT32) for name in ("threads", "instructions", "streaming")),
    )


@dataclass(frozen=True)
class Coding:
    """How a pixel tells its gain stage, and what its words mean.

    staging: one of FIXED_STAGE, CODE_IN_BYTE, CODE_IN_WORD, THRESHOLDS; value_bits: the largest value; word_bits: the
    bits of a word that are its value, unless codes are in bytes; code_shift: where two bits of code begin,
    CODE_IN_WORD; code1, code2: codes of stages 1 and 2; counts_down: stages 1 and 2 end at 0, and all ones in stage 2
    is an error word; zero_means: the value of a word that is 0, FIXED_STAGE.
    """

    staging: int
    value_bits: int = 0xFFFF
    word_bits: int = 0xFFFF
    code_shift: int = 0
    code1: int = 1
    code2: int = 2
    counts_down: bool = False
    zero_means: int = 0

    def in_word(self) -> Coding:
        """The same codes, in the high bits of the word."""
        return replace(self, staging=CODE_IN_WORD, word_bits=self.value_bits)

    def fixed(self) -> Coding:
        """The same values, whatever the codes say."""
        return replace(self, staging=FIXED_STAGE)


@dataclass(frozen=True)
class Planes:
    """Constants as the kernels want them: [cell, stage, slow, fast], planes of one cell contiguous.

    offset: ADU; factor: keV per ADU; bad: bits known before the data; thresholds: two per cell, in order, no NaN.
    """

    offset: npt.NDArray[np.float32]
    factor: npt.NDArray[np.float32]
    bad: npt.NDArray[np.uint32]
    thresholds: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class CommonMode:
    """Per ASIC of `rows` x `columns` pixels: `rounds` at most, `least` dark pixels, within `range` ADU of zero."""

    rows: int
    columns: int
    rounds: int
    least: int
    range: float


@dataclass(frozen=True)
class Steps:
    """What is done to a pixel; see `correct`."""

    coding: Coding
    fixed_stage: int = 0
    common_mode: CommonMode | None = None
    force: tuple[float, float] = (float("nan"), float("nan"))


@dataclass
class Counts:
    """Pixels by stage (0, 1, 2, none) and by bit of the mask; `correct` adds to them."""

    stages: npt.NDArray[np.int64]
    reasons: npt.NDArray[np.int64]

    @classmethod
    def zero(cls) -> Counts:
        return cls(np.zeros(4, np.int64), np.zeros(32, np.int64))


@dataclass(frozen=True)
class Run:
    """How to go about it: results never depend on it.

    threads: at work; instructions: index in INSTRUCTIONS; block: pixels of a frame that one step takes, its constants
    then stay in the first cache; group: frames of one memory cell that one step takes; streaming: store past the
    caches, for results that nobody reads again at once.
    """

    threads: int = 1
    instructions: int = 0
    block: int = 1024
    group: int = 64
    streaming: bool = False


@cache
def why_not() -> str | None:
    """Why the native kernels cannot run here, None when they can."""
    try:
        library()
    except OSError as error:
        return str(error)
    return None


def instructions() -> int:
    """The newest instruction set of this processor that the library has kernels for. Raises OSError as `why_not`."""
    return int(library().xdc_instructions())


def correct(
    raw: npt.NDArray[np.uint16],
    gain: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None,
    cells: npt.NDArray[np.integer],
    planes: Planes,
    coding: Coding,
    *,
    energy: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint32] | None = None,
    stage: npt.NDArray[np.uint8] | None = None,
    counts: Counts | None = None,
    fixed_stage: int = 0,
    common_mode: CommonMode | None = None,
    force: tuple[float, float] = (float("nan"), float("nan")),
    how: Run | None = None,
) -> None:
    """Correct frames in place of `energy`, `mask` and `stage` (mask and stage: both or neither).

    raw: (frames, slow, fast), each frame contiguous; gain: codes (uint8) or analog gain values (uint16), same shape;
    cells: (frames,), negative for an empty frame, all below the cells of `planes`; force: a pixel in medium (high)
    gain is re-classed when its value by the offset of the stage above is below, ADU, first medium, then high.
    counts and common_mode need mask and stage. Lets go of the GIL.
    """
    how = how or Run()
    pixels = int(np.prod(raw.shape[1:], dtype=np.int64))
    _check(
        raw, gain, cells, planes, coding, pixels, energy, mask, stage,
        flags=bool(counts or common_mode), fixed_stage=fixed_stage,
    )  # fmt: skip
    steps = Steps(coding, fixed_stage, common_mode, force)
    prepared = correction(cells, raw.shape[1:], planes, steps, counts, how)
    job = prepared.structure
    job.raw_stride, job.raw = raw.strides[0] // 2, at(raw)
    job.gain_stride, job.gain = 0 if gain is None else gain.strides[0] // gain.itemsize, at(gain)
    job.energy, job.mask, job.stage = at(energy), at(mask), at(stage)
    library().xdc_correct(ctypes.byref(job))


@dataclass(frozen=True)
class Prepared:
    """What `xdc_correct` is given, and the arrays that it points to."""

    structure: Correction
    arrays: tuple[npt.NDArray[Any], ...]


def correction(
    cells: npt.NDArray[np.integer],
    frame: tuple[int, ...],
    planes: Planes,
    steps: Steps,
    counts: Counts | None,
    how: Run,
) -> Prepared:
    """All but where pixels are and results go. frame: (slow, fast)."""
    coding, common_mode = steps.coding, steps.common_mode
    order = np.argsort(cells, kind="stable").astype(np.int64)
    start, cell = _groups(np.asarray(cells)[order], how.group)
    job = Correction(
        frames=len(cells),
        pixels=int(np.prod(frame, dtype=np.int64)),
        offset=at(planes.offset),
        factor=at(planes.factor),
        bad=at(planes.bad),
        thresholds=at(planes.thresholds),
        offset_stride=planes.offset.strides[0] // 4,
        factor_stride=planes.factor.strides[0] // 4,
        bad_stride=planes.bad.strides[0] // 4,
        thresholds_stride=0 if planes.thresholds is None else planes.thresholds.strides[0] // 4,
        groups=cell.size,
        order=at(order),
        start=at(start),
        cell=at(cell),
        stages=at(counts.stages) if counts else None,
        reasons=at(counts.reasons) if counts else None,
        staging=coding.staging,
        fixed_stage=steps.fixed_stage if coding.staging == FIXED_STAGE else 0,
        value_bits=coding.value_bits,
        word_bits=coding.word_bits,
        code_shift=coding.code_shift,
        code1=coding.code1,
        code2=coding.code2,
        counts_down=coding.counts_down,
        zero_means=coding.zero_means,
        force_medium=steps.force[0],
        force_high=steps.force[1],
        row=frame[-1],
        block=how.block,
        threads=how.threads,
        instructions=min(how.instructions, library().xdc_instructions()),
        streaming=how.streaming,
    )
    if common_mode:
        slow, fast = frame
        if slow % common_mode.rows or fast % common_mode.columns or common_mode.columns not in (32, 64):
            raise ValueError(f"{frame} is not made of ASICs of {common_mode.rows} x {common_mode.columns}")
        job.asic_rows, job.asic_columns, job.cm_rounds = common_mode.rows, common_mode.columns, common_mode.rounds
        job.cm_least, job.cm_range = common_mode.least, common_mode.range
        job.block = common_mode.rows * fast
    return Prepared(job, (order, start, cell))


def _check(
    raw: npt.NDArray[np.uint16],
    gain: npt.NDArray[Any] | None,
    cells: npt.NDArray[np.integer],
    planes: Planes,
    coding: Coding,
    pixels: int,
    *results: npt.NDArray[Any] | None,
    flags: bool,
    fixed_stage: int,
) -> None:
    """The library trusts its caller; this is the caller. Raises ValueError."""
    stages = fixed_stage + 1 if coding.staging == FIXED_STAGE else 3
    per_cell: dict[str, npt.NDArray[Any]] = {"offset": planes.offset, "factor": planes.factor, "bad": planes.bad}
    wanted = {CODE_IN_BYTE: np.uint8, THRESHOLDS: np.uint16}.get(coding.staging)
    if coding.staging == THRESHOLDS:
        if planes.thresholds is None:
            raise ValueError("thresholds are needed")
        per_cell["thresholds"] = planes.thresholds
    for name, known in per_cell.items():
        least = 2 if name == "thresholds" else stages
        if known.shape[1] < least or not known[:1].flags.c_contiguous or known[0, 0].size != pixels:
            raise ValueError(f"{name} does not fit: {known.shape}")
    if wanted is not None and (gain is None or gain.dtype != wanted or gain.shape != raw.shape):
        raise ValueError("gain does not fit the coding")
    for frames in (raw, gain):
        if frames is not None and frames.size and not frames[:1].flags.c_contiguous:
            raise ValueError("a frame is not contiguous")
    for values, kind in zip(results, (np.float32, np.uint32, np.uint8), strict=True):
        if values is not None and (values.dtype != kind or values.size != raw.size or not values.flags.c_contiguous):
            raise ValueError(f"a result does not fit: {values.dtype} {values.shape}")
    if (results[1] is None) != (results[2] is None) or (flags and results[1] is None):
        raise ValueError("mask and stage: both, or neither; counts and common mode need both")
    if cells.shape != raw.shape[:1] or (cells.size and int(cells.max()) >= planes.offset.shape[0]):
        raise ValueError("a memory cell has no constants")


def _groups(cells: npt.NDArray[np.integer], most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bounds of runs of one cell, at most `most` long, and the cell of each; cells are sorted."""
    starts: list[int] = []
    edges: Sequence[int] = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), cells.size]
    for begin, end in pairwise(edges):
        starts.extend(range(begin, end, most))
    return np.array([*starts, cells.size], np.int64), np.asarray(cells)[starts].astype(np.int64)


def at(values: npt.NDArray[Any] | None) -> int | None:
    return None if values is None else values.ctypes.data


@cache
def library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.fspath(Path(__file__).with_name(LIBRARY)))
    library.xdc_sources.restype = ctypes.c_char_p
    if library.xdc_sources().decode() != _digest():
        raise OSError(f"{LIBRARY} was built of other sources, install the package again")
    library.xdc_correct.argtypes = (ctypes.c_void_p,)
    library.xdc_correct.restype = None
    library.xdc_instructions.restype = ctypes.c_int
    library.xdc_correct_file.argtypes = (ctypes.c_void_p,)
    library.xdc_correct_file.restype = ctypes.c_int
    library.xdc_deflate.argtypes = (ctypes.c_void_p, ctypes.c_void_p, _INT64, _INT64, ctypes.c_int, ctypes.c_void_p)
    library.xdc_deflate.restype = _INT64
    return library


def _digest() -> str:
    """As hatch_build.digest: structures of other sources would not fit."""
    import hashlib

    sources = sorted(file for file in Path(__file__).parent.iterdir() if file.suffix in (".c", ".h"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
