"""The native kernels from file to file: one call is one thread's work on a block of frames, without the GIL.

native.files.correct(...) -> energies are in the file; flags come back deflated, with checksums of all that passed
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration import native
from xdc_testbed.calibration.failures import InputInvalid, InputTruncated

SLAB = 16384
"""Pixels of a frame that one step takes: with their constants and results they fit the second cache."""

_NOT_READ, _ENDS_EARLY, _NOT_WRITTEN = 1, 2, 3


class _Place(ctypes.Structure):
    """`struct place` of file.c."""

    _fields_ = (
        ("descriptor", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("memory", ctypes.c_void_p),
        ("at", ctypes.c_void_p),
        ("adler", ctypes.c_void_p),
    )


class _FileCorrection(ctypes.Structure):
    """`struct file_correction` of file.c."""

    _fields_ = (
        ("how", native.Correction),
        *((name, _Place) for name in ("raw", "gain", "energy")),
        ("slab", ctypes.c_int64),
        ("mask", ctypes.c_void_p),
        ("stage", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("mask_stride", "stage_stride")),
        *((name, ctypes.c_void_p) for name in ("mask_bytes", "stage_bytes")),
        ("where", ctypes.c_int64),
        ("error", ctypes.c_int64),
    )


@dataclass(frozen=True)
class InFile:
    """Values of each frame in a file. size: bytes of a value; adler: Adler-32 of a frame, which `correct` sets."""

    descriptor: int
    offsets: npt.NDArray[np.int64]
    size: int
    adler: npt.NDArray[np.uint32]

    @classmethod
    def at(cls, descriptor: int, offsets: npt.NDArray[np.int64], size: int) -> InFile:
        """No byte has passed yet."""
        return cls(descriptor, np.ascontiguousarray(offsets, np.int64), size, np.ones(len(offsets), np.uint32))


@dataclass(frozen=True)
class InMemory:
    """Values of each frame in memory. offsets: from its first byte; size: bytes of a value; adler: as of InFile, None
    where nobody asks for it.
    """

    memory: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    size: int
    adler: npt.NDArray[np.uint32] | None = None

    @classmethod
    def of(cls, frames: npt.NDArray[Any]) -> InMemory:
        """frames: (frames, slow, fast), each in one piece."""
        if frames.size and not frames[:1].flags.c_contiguous:
            raise ValueError(f"a frame is not in one piece: {frames.shape}, {frames.strides}")
        return cls(frames, frames.strides[0] * np.arange(len(frames), dtype=np.int64), frames.itemsize)


Stored = InFile | InMemory


@dataclass(frozen=True)
class Flags:
    """Deflated stages and masks, by frame."""

    stage: tuple[bytes, ...]
    mask: tuple[bytes, ...]


def correct(
    raw: Stored,
    gain: Stored | None,
    cells: npt.NDArray[np.integer],
    planes: native.Planes,
    steps: native.Steps,
    *,
    frame: tuple[int, int],
    energy: Stored,
    counts: native.Counts,
    instructions: int,
    slab: int = SLAB,
    flags: bool = True,
) -> Flags:
    """Correct frames and put their energies where they go; otherwise as `native.correct`, in the calling thread alone.

    frame: (slow, fast); flags: without them nothing is deflated and nothing counted, to measure
    what that costs. Raises InputInvalid, InputTruncated, and OSError for the output.
    """
    frames, pixels = len(cells), frame[0] * frame[1]
    needed = steps.fixed_stage + 1 if steps.coding.staging == native.FIXED_STAGE else 3
    known = (planes.offset, planes.factor, planes.bad)
    fit = all(each.shape[1] >= needed and each[0, 0].size == pixels for each in known)
    if steps.coding.staging == native.THRESHOLDS:
        fit = fit and planes.thresholds is not None and gain is not None
    if not fit or len(energy.offsets) != frames or (frames and int(np.max(cells)) >= planes.offset.shape[0]):
        raise ValueError("frames, cells and constants do not fit")
    if steps.common_mode:  # whole rows of ASICs
        row = steps.common_mode.rows * frame[1]
        slab = max(1, slab // row) * row
    how = native.Run(instructions=instructions, block=slab, group=max(1, frames))
    prepared = native.correction(cells, frame, planes, steps, counts, how)
    size = {native.CODE_IN_BYTE: 1, native.THRESHOLDS: 2}.get(steps.coding.staging, 0)
    room = [most_deflated(pixels, width, slab) for width in (4, 1)]
    masks, stages = _room(frames * room[0]).reshape(frames, -1), _room(frames * room[1]).reshape(frames, -1)
    lengths = np.zeros((2, frames), np.int64)
    job = _FileCorrection(
        how=prepared.structure,
        raw=_place(raw, 2),
        gain=_place(gain, size) if size and gain is not None else _Place(descriptor=-1),
        energy=_place(energy, 4),
        slab=slab,
        mask=native.at(masks) if flags else None,
        stage=native.at(stages) if flags else None,
        mask_stride=room[0],
        stage_stride=room[1],
        mask_bytes=native.at(lengths[0]),
        stage_bytes=native.at(lengths[1]),
    )
    failure = native.library().xdc_correct_file(ctypes.byref(job))
    if failure == _NOT_WRITTEN:
        raise OSError(job.error, f"byte {job.where} cannot be written")
    if failure == _ENDS_EARLY:
        raise InputTruncated(f"input ends at byte {job.where}, in a frame")
    if failure == _NOT_READ:
        reason = OSError(job.error, "").strerror or f"error {job.error}"
        raise InputInvalid(f"input cannot be read at byte {job.where}: {reason}")
    return Flags(_chunks(stages, lengths[1]), _chunks(masks, lengths[0]))


def deflated(flags: npt.NDArray[Any], instructions: int, slab: int = SLAB) -> bytes:
    """Stages or mask of one frame, with the same bytes as `correct` gives them."""
    flags = np.ascontiguousarray(flags)
    out = _room(most_deflated(flags.size, flags.itemsize, slab))
    pointers = (native.at(flags), None) if flags.itemsize == 1 else (None, native.at(flags))
    length = native.library().xdc_deflate(*pointers, flags.size, slab, instructions, native.at(out))
    return out[:length].tobytes()


def most_deflated(pixels: int, width: int, slab: int = SLAB) -> int:
    """Bytes that deflated flags take at most: fifteen bits for eight, and headers of codes."""
    return pixels * width * 2 + 512 * (-(-pixels // slab) + 1)


def _room(size: int) -> npt.NDArray[np.uint8]:
    """Memory of which little is used: small pages, so that no more than that is cleared and kept."""
    memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)[:size]


def _place(frames: Stored, size: int) -> _Place:
    if frames.size != size:
        raise ValueError(f"values of {frames.size} bytes where {size} are wanted")
    where = (frames.descriptor, size, None) if isinstance(frames, InFile) else (-1, size, native.at(frames.memory))
    return _Place(*where, native.at(frames.offsets), native.at(frames.adler))


def _chunks(rows: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> tuple[bytes, ...]:
    return tuple(row[:length].tobytes() for row, length in zip(rows, lengths.tolist(), strict=True))
