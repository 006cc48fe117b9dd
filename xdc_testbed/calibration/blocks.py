"""The block driver of files: threads read a block of frames, correct it, write the energies and deflate the flags.

Frames of one memory cell are taken together over a few trains, because constants are more bytes than pixels. Memory is
a handful of blocks, however long the file. What comes out does not depend on threads or blocks: energies go to offsets
that are known beforehand, chunks of flags are stored in the order of the plan.

A block goes through the native kernels slab by slab, without ever being whole in memory (`native.files`), or frame by
frame through numpy. Of a file that is elsewhere, blocks are fetched ahead, each in as few ranges as possible.
"""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from xdc_testbed.calibration import engine as engines
from xdc_testbed.calibration import native
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.engine import Engine
from xdc_testbed.calibration.frames import Frames, Indices, Place, runs
from xdc_testbed.calibration.inputs import Input, fetch
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import Counts, Run
from xdc_testbed.calibration.native import files as native_files
from xdc_testbed.calibration.pixels import Corrected, Pixels
from xdc_testbed.calibration.reduction import reduce, reduces

BLOCK_BYTES = 48 << 20
"""Raw pixels of a block: enough frames for the constants of a slab to be fetched once for many."""

FRAME_BLOCK_BYTES = 4 << 20
"""The same where a block is whole in memory."""

STREAM_BLOCK_BYTES = 4 << 20
"""Raw pixels of a block that comes or goes as a stream."""

CONNECTIONS = 4
"""Blocks that are fetched at once from elsewhere."""

TRAINS_TOGETHER = 8
"""Trains over which frames of one memory cell are collected."""

DEFLATE_LEVEL = 1

_OUT_OF_RANGE = int(BadPixels.VALUE_OUT_OF_RANGE).bit_length() - 1

Progress = Callable[[int, int], None]


class Target(Protocol):
    """Where corrected frames go. streamed: one block after the other."""

    @property
    def streamed(self) -> bool: ...

    def room(self, frames: Indices) -> native_files.Stored:
        """Where the energies of frames are put."""


@dataclass(frozen=True)
class Work:
    """One file: where its frames are, and what corrects them.

    image, code: frames of the pixels, and of the gain codes when they are a dataset of their own; cells: memory cell of
    each frame; stages: gain stage of each frame where that is known, a block then has one of them; together: frames
    within which the order is free; lower: where the same frames are in medium and in low gain, when each pixel takes
    one of the three.
    """

    source: Input
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
    lower: tuple[Place, ...] = ()

    @property
    def in_slabs(self) -> bool:
        """Whether blocks go through the native kernels, slab by slab."""
        kernel = engines.kernel_for(self.engine, self.detector, self.parameters)
        return kernel == "native" and not reduces(self.parameters) and not self.lower

    @property
    def staging(self) -> int:
        """Where the native kernels find the gain stage."""
        return self.detector.coding_for(self.parameters, in_word=self.code is None).staging

    @property
    def codes(self) -> Frames | None:
        """Gain codes where they are asked for."""
        return self.code if self.staging == native.CODE_IN_BYTE else None

    @property
    def direct(self) -> bool:
        """Whether all that is asked for is read at its offsets."""
        return self.image.direct and (self.codes is None or self.codes.direct)

    def of_block(self, which: Indices) -> Work:
        """The same for frames of one block, in fixed gain where their stage is known."""
        if self.stages is None:
            return self
        update = {"fixed_gain": int(self.stages[which[0]])}
        return replace(self, parameters=self.parameters.model_copy(update=update))


@dataclass(frozen=True)
class Part:
    """Bytes of the raw file that passed, frame by frame. offsets: in the file; size: bytes of each; adler: of each."""

    offsets: npt.NDArray[np.int64]
    size: int
    adler: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Block:
    """Corrected frames: deflated flags, where their energies are, what was counted, and what of the raw file passed."""

    which: Indices
    flags: native_files.Flags
    energy: native_files.Stored
    counts: Counts
    read: tuple[Part, ...] = ()


Fetched = Future[tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.int64]]]]


def correct_blocks(work: Work, target: Target, progress: Progress | None = None) -> Iterator[Block]:
    """Correct all frames of a file, block by block in the order of the plan.

    Raises CalibrationError for input, OSError for output, and what a storage has to say.
    """
    ahead = 2 * work.engine.threads + (CONNECTIONS if work.source.descriptor is None else 0)
    done, rooms = 0, threading.local()
    waiting: deque[Future[Block]] = deque()
    fetching = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="fetch")
    pool = ThreadPoolExecutor(work.engine.threads, thread_name_prefix="calibrate")

    def first() -> Block:
        nonlocal done
        block = waiting.popleft().result()
        done += block.which.size
        if progress:
            progress(done, len(work.place))
        return block

    try:
        for which in plan(work, streamed=target.streamed):
            of_block = work.of_block(which)
            fetched = None
            if work.source.descriptor is None and work.in_slabs and of_block.direct:
                fetched = fetching.submit(_fetch, of_block, which)
            waiting.append(pool.submit(_block, of_block, target, which, rooms, fetched))
            if len(waiting) > ahead:
                yield first()
        while waiting:
            yield first()
    finally:
        fetching.shutdown(wait=False, cancel_futures=True)
        pool.shutdown(wait=True, cancel_futures=True)


def plan(work: Work, *, streamed: bool = False) -> Iterator[Indices]:
    """Which frames make a block: sorted by memory cell within `together`, in file order where HDF5 has to read.

    The last blocks become smaller, so that no thread waits long for another. What comes or goes as a stream is in file
    order, in the same blocks whatever the number of threads.
    """
    left, frames, bytes_ = len(work.place), len(work.place), work.image.size
    if streamed or work.source.descriptor is None:
        size = together = least = max(1, STREAM_BLOCK_BYTES // bytes_)
    else:
        most = max(1, (BLOCK_BYTES if work.in_slabs and work.image.direct else FRAME_BLOCK_BYTES) // bytes_)
        size = max(1, min(most, frames // (4 * work.engine.threads)))  # a short file has work for every thread, too
        together = max(most, work.together) if work.image.direct else size
        least = max(1, size // 4)
    for start in range(0, frames, together):
        window = np.arange(start, min(start + together, frames), dtype=np.intp)
        if together > size:
            window = window[np.argsort(work.cells[window], kind="stable")]
        for part in [window] if work.stages is None else _by_stage(window, work.stages):
            while part.size:
                now = min(size, max(least, left // (2 * work.engine.threads)), part.size)
                yield part[:now]
                part, left = part[now:], left - now


def _by_stage(window: Indices, stages: npt.NDArray[np.uint8]) -> Iterator[Indices]:
    for stage in np.unique(stages[window]):
        yield window[stages[window] == stage]


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


def _fetch(work: Work, which: Indices) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.int64]]]:
    wanted = [work.image] + ([work.codes] if work.codes else [])
    return fetch(work.source, [(frames.offsets(work.place, which), frames.size) for frames in wanted])


def _block(work: Work, target: Target, which: Indices, rooms: threading.local, fetched: Fetched | None) -> Block:
    return _in_slabs(work, target, which, fetched) if work.in_slabs else _in_frames(work, target, which, rooms)


def _in_slabs(work: Work, target: Target, which: Indices, fetched: Fetched | None) -> Block:
    steps, cells = engines.native_steps(
        work.detector, work.cells[which], work.constants, work.parameters, in_word=work.code is None
    )
    read: list[Part] = []
    if work.direct:
        raw, *more = _in_place(work, which, fetched, read)
        gain = more[0] if more else None
    else:
        raw, gain = _through_hdf5(work, which)
    energy, counts = target.room(which), Counts.zero()
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
    return Block(which, flags, energy, counts, tuple(read))


def _in_place(work: Work, which: Indices, fetched: Fetched | None, read: list[Part]) -> Iterator[native_files.Stored]:
    """Values of frames, and what they say of their gain where that is beside them. read: given what this is in the
    file, without the bytes, which are not kept.
    """
    memory, at = fetched.result() if fetched else (None, [])
    pixels = math.prod(work.detector.frame)

    def stored(frames: Frames, number: int, size: int, beyond: int = 0) -> native_files.Stored:
        offsets, adler = frames.offsets(work.place, which) + beyond, np.ones(which.size, np.uint32)
        read.append(Part(offsets, pixels * size, adler))
        if memory is not None:
            return native_files.InMemory(memory, at[number] + beyond, size, adler)
        if work.source.descriptor is None:
            raise ValueError("a file that is elsewhere has to be fetched")
        return native_files.InFile(work.source.descriptor, offsets, size, adler)

    yield stored(work.image, 0, 2)
    if work.codes:
        yield stored(work.codes, 1, 1)
    elif work.staging == native.THRESHOLDS:  # value and analog gain value lie one after the other
        yield stored(work.image, 0, 2, 2 * pixels)


def _through_hdf5(work: Work, which: Indices) -> tuple[native_files.Stored, native_files.Stored | None]:
    stored, code = work.image.buffer(which.size), None
    work.image.read(work.place, which, stored)
    if work.codes:
        code = work.codes.buffer(which.size)
        work.codes.read(work.place, which, code)
    values, gain = work.detector.views(stored, code)
    return native_files.InMemory.of(values), None if gain is None else native_files.InMemory.of(gain)


def _in_frames(work: Work, target: Target, which: Indices, rooms: threading.local) -> Block:
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
    energy = target.room(which)
    _put(energy, stored)
    flags = native_files.Flags(tuple(map(_deflated, out.stage)), tuple(map(_deflated, out.mask)))
    return Block(which, flags, energy, counts)


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


def _put(place: native_files.Stored, energy: npt.NDArray[Any]) -> None:
    """Energies of frames to where they go, with their checksums."""
    values = energy.reshape(len(energy), -1).view(np.uint8)
    if place.adler is not None:
        place.adler[:] = [isal_zlib.adler32(frame) for frame in values]
    if isinstance(place, native_files.InMemory):
        for at, frame in zip(place.offsets.tolist(), values, strict=True):
            place.memory[at : at + frame.size] = frame
        return
    size, view = values.shape[1], values.reshape(-1).data
    for first, last in runs(place.offsets, size):
        rest, at = view[first * size : last * size], int(place.offsets[first])
        while rest:
            put = os.pwrite(place.descriptor, rest, at)
            rest, at = rest[put:], at + put


def _deflated(frame: npt.NDArray[Any]) -> bytes:
    """The bytes are those of the slabs wherever the library is, so that a file does not tell which way it took."""
    if native.why_not() is None:
        return native_files.deflated(frame, native.instructions())
    return isal_zlib.compress(frame, DEFLATE_LEVEL)
