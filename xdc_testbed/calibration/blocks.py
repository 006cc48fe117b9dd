"""The block driver of files: threads read a block of frames, correct it, write the energies and deflate the flags.

Frames of one memory cell are taken together over a few trains, because constants are more bytes than pixels. Memory is
a handful of blocks, however long the file. What comes out does not depend on threads or blocks: energies go to offsets
that are known beforehand, chunks of flags are stored in the order of the plan.

A block goes through the native kernels slab by slab, without ever being whole in memory (`native.files`), or frame by
frame through numpy.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from xdc_testbed.calibration import engine as engines
from xdc_testbed.calibration import native
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.checksums import Passed
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.corrected_file import CorrectedFile
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.engine import Engine
from xdc_testbed.calibration.frames import Frames, Indices, Place, runs
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import Counts, Run
from xdc_testbed.calibration.native import files as native_files
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reduction import reduce, reduces

BLOCK_BYTES = 16 << 20
"""Raw pixels of a block: enough frames for the constants of a slab to be fetched once for many."""

FRAME_BLOCK_BYTES = 4 << 20
"""The same where a block is whole in memory."""

TRAINS_TOGETHER = 8
"""Trains over which frames of one memory cell are collected."""

DEFLATE_LEVEL = 1

_OUT_OF_RANGE = int(BadPixels.VALUE_OUT_OF_RANGE).bit_length() - 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """One file: where its frames are, what corrects them, and where they go.

    image, code: frames of the pixels, and of the gain codes when they are a dataset of their own; cells: memory cell of
    each frame; stages: gain stage of each frame where that is known, a block then has one of them; together: frames
    within which the order is free; read, written: what passed of both files; lower: where the same frames are in medium
    and in low gain, when each pixel takes one of the three.
    """

    detector: Detector
    engine: Engine
    constants: ModuleConstants
    parameters: Parameters
    image: Frames
    code: Frames | None
    place: Place
    cells: npt.NDArray[np.int64]
    stages: npt.NDArray[np.uint8] | None
    together: int
    target: CorrectedFile
    descriptor: int
    read: Passed
    written: Passed
    lower: tuple[Place, ...] = ()

    @property
    def in_slabs(self) -> bool:
        """Whether blocks go through the native kernels, slab by slab."""
        kernel = engines.kernel_for(self.engine, self.detector, self.parameters)
        return kernel == "native" and not reduces(self.parameters) and not self.lower

    def of_block(self, which: Indices) -> Work:
        """The same for frames of one block, in fixed gain where their stage is known."""
        if self.stages is None:
            return self
        update = {"fixed_gain": int(self.stages[which[0]])}
        return replace(self, parameters=self.parameters.model_copy(update=update))


def correct_blocks(work: Work, progress: Progress | None = None) -> Counts:
    """Correct all frames of a file. Raises CalibrationError for input, OSError for output."""
    counts, done = Counts.zero(), 0
    threads = work.engine.threads
    room = threading.local()
    waiting: deque[tuple[Indices, Future[_Done]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="calibrate")
    try:
        for which in plan(work):
            waiting.append((which, pool.submit(_block, work, which, room)))
            if len(waiting) > 2 * threads:
                done += _store(work, *waiting.popleft(), counts)
                if progress:
                    progress(done, len(work.place))
        while waiting:
            done += _store(work, *waiting.popleft(), counts)
            if progress:
                progress(done, len(work.place))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return counts


def plan(work: Work) -> Iterator[Indices]:
    """Which frames make a block: sorted by memory cell within `together`, in file order where HDF5 has to read."""
    frames, bytes_ = len(work.place), work.image.buffer(1).nbytes
    most = max(1, (BLOCK_BYTES if work.in_slabs and work.image.direct else FRAME_BLOCK_BYTES) // bytes_)
    size = max(1, min(most, frames // (4 * work.engine.threads)))  # a short file has work for every thread, too
    together = max(most, work.together) if work.image.direct else size
    for start in range(0, frames, together):
        window = np.arange(start, min(start + together, frames), dtype=np.intp)
        if together > size:
            window = window[np.argsort(work.cells[window], kind="stable")]
        for part in [window] if work.stages is None else _by_stage(window, work.stages):
            for first in range(0, part.size, size):
                yield part[first : first + size]


def _by_stage(window: Indices, stages: npt.NDArray[np.uint8]) -> Iterator[Indices]:
    for stage in np.unique(stages[window]):
        yield window[stages[window] == stage]


@dataclass(frozen=True)
class _Done:
    """Deflated chunks of one block, its counts, and what of both files passed."""

    flags: native_files.Flags
    counts: Counts
    read: tuple[native_files.InFile, ...] = ()
    written: native_files.InFile | None = None


@dataclass(frozen=True)
class _Room:
    """Buffers of one thread."""

    image: npt.NDArray[Any]
    code: npt.NDArray[Any] | None
    corrected: Corrected


def _room(work: Work, frames: int) -> _Room:
    return _Room(
        work.image.buffer(frames),
        work.code.buffer(frames) if work.code else None,
        Corrected.empty((frames, *work.detector.frame)),
    )


def _block(work: Work, which: Indices, rooms: threading.local) -> _Done:
    work = work.of_block(which)
    return _in_slabs(work, which) if work.in_slabs else _in_frames(work, which, rooms)


def _in_slabs(work: Work, which: Indices) -> _Done:
    steps, cells = engines.native_steps(
        work.detector, work.cells[which], work.constants, work.parameters, in_word=work.code is None
    )
    raw, gain = _sources(work, which, steps.coding.staging)
    energy = native_files.InFile.at(work.descriptor, _energy_offsets(work, which, 4), 4)
    counts = Counts.zero()
    flags = native_files.correct(
        raw,
        gain,
        cells,
        engines.planes_of(work.constants),
        steps,
        frame=work.detector.frame,
        energy=energy,
        counts=counts,
        instructions=work.engine.instructions,
    )
    read = tuple(place for place in (raw, gain) if isinstance(place, native_files.InFile))
    return _Done(flags, counts, read, energy)


def _sources(work: Work, which: Indices, staging: int) -> tuple[native_files.Frames, native_files.Frames | None]:
    """Values and gain of frames: where they lie in the file, or read where HDF5 has to. No gain where nobody asks."""
    place, separate = work.place, staging == native.CODE_IN_BYTE
    if work.image.direct and not (separate and work.code and not work.code.direct):
        image = native_files.InFile.at(work.image.descriptor, work.image.offsets(place, which), 2)
        if work.code and separate:
            return image, native_files.InFile.at(work.code.descriptor, work.code.offsets(place, which), 1)
        if staging == native.THRESHOLDS:  # value and analog gain value lie one after the other
            plane = 2 * int(np.prod(work.detector.frame))
            return image, native_files.InFile.at(image.descriptor, image.offsets + plane, 2)
        return image, None
    stored, code = work.image.buffer(which.size), None
    work.image.read(place, which, stored)
    if work.code and separate:
        code = work.code.buffer(which.size)
        work.code.read(place, which, code)
    return work.detector.views(stored, code)


def _in_frames(work: Work, which: Indices, rooms: threading.local) -> _Done:
    number = which.size
    room: _Room | None = getattr(rooms, "room", None)
    if room is None or room.image.shape[0] < number:
        rooms.room = room = _room(work, number)
    out, counts = room.corrected[:number], Counts.zero()
    if work.lower:
        _combine(work, which, room, out, counts)
    else:
        _correct(work, work.place, which, room, out, counts)
    stored, beyond = reduce(out.energy, out.mask, work.parameters)
    counts.reasons[_OUT_OF_RANGE] += beyond
    _write(work, which, stored)
    flags = native_files.Flags(tuple(map(_deflated, out.stage)), tuple(map(_deflated, out.mask)))
    return _Done(flags, counts)


def _correct(work: Work, place: Place, which: Indices, room: _Room, out: Corrected, counts: Counts | None) -> Pixels:
    """Read frames and correct them into `out`. Returns what was read."""
    work.image.read(place, which, room.image)
    image, code = room.image[: which.size], None
    if work.code and room.code is not None:
        work.code.read(place, which, room.code)
        code = room.code[: which.size]
    pixels = Pixels(*work.detector.views(image, code), work.cells[which])
    how = Run(threads=1, instructions=work.engine.instructions)
    engines.correct(work.engine, work.detector, pixels, work.constants, work.parameters, out, counts=counts, how=how)
    return pixels


def _combine(work: Work, which: Indices, room: _Room, out: Corrected, counts: Counts) -> None:
    """Each pixel from low gain, but from medium and then from high gain where the value there is not too large."""
    most, bits = work.parameters.combine_up_to or 0, np.uint16(work.detector.coding.word_bits)
    places, one = (work.place, *work.lower), Corrected.empty(out.energy.shape)
    for stage in (2, 1, 0):
        fixed = replace(work, parameters=work.parameters.model_copy(update={"fixed_gain": stage}))
        pixels = _correct(fixed, places[stage], which, room, out if stage == 2 else one, None)
        if stage < 2:
            out.take(one, where=(pixels.raw & bits) <= most)
    engines.count(out, counts)


def _energy_offsets(work: Work, which: Indices, itemsize: int) -> npt.NDArray[np.int64]:
    size = itemsize * int(np.prod(work.detector.frame))
    offsets: npt.NDArray[np.int64] = work.target.energy_offset + size * which.astype(np.int64)
    return offsets


def _write(work: Work, which: Indices, energy: npt.NDArray[Any]) -> None:
    size, offsets = energy[0].nbytes, _energy_offsets(work, which, energy.itemsize)
    view = energy.reshape(-1).view(np.uint8).data
    for first, last in runs(offsets, size):
        rest, at = view[first * size : last * size], int(offsets[first])
        while rest:
            put = os.pwrite(work.descriptor, rest, at)
            rest, at = rest[put:], at + put


def _deflated(frame: npt.NDArray[Any]) -> bytes:
    """The bytes are those of the slabs wherever the library is, so that a file does not tell which way it took."""
    if native.why_not() is None:
        return native_files.deflated(frame, native.instructions())
    return isal_zlib.compress(frame, DEFLATE_LEVEL)


def _store(work: Work, which: Indices, future: Future[_Done], counts: Counts) -> int:
    done = future.result()
    for frame, stage, mask in zip(which.tolist(), done.flags.stage, done.flags.mask, strict=True):
        work.target.write_flags(frame, stage, mask)
    pixels = int(np.prod(work.detector.frame))
    for place in done.read:
        work.read.add(place.offsets, pixels * place.size, place.adler)
    if done.written:
        work.written.add(done.written.offsets, pixels * done.written.size, done.written.adler)
    counts.stages += done.counts.stages
    counts.reasons += done.counts.reasons
    return int(which.size)
