"""The block driver of files: threads read a block of frames, correct it, write the energies and deflate the flags.

Frames of one memory cell are taken together over a few trains, because constants are more bytes than pixels. Memory is
a handful of blocks, however long the file. What comes out does not depend on threads or blocks: energies go to offsets
that are known beforehand, chunks of flags are stored in the order of the plan.
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
from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.corrected_file import CorrectedFile
from xdc_testbed.calibration.detector import Detector
from xdc_testbed.calibration.engine import Engine
from xdc_testbed.calibration.frames import Frames, Indices, Place, runs
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.native import Counts, Run
from xdc_testbed.calibration.reduction import reduce

BLOCK_BYTES = 4 << 20
"""Raw pixels of a block: large enough for one read per frame to be cheap, small enough for results to stay in cache."""

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
    within which the order is free.
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
    frames, size = len(work.place), max(1, BLOCK_BYTES // work.image.buffer(1).nbytes)
    together = max(size, work.together) if work.image.direct else size
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
    """Deflated chunks of one block, and its counts."""

    stage: tuple[bytes, ...]
    mask: tuple[bytes, ...]
    counts: Counts


@dataclass(frozen=True)
class _Room:
    """Buffers of one thread."""

    image: npt.NDArray[Any]
    code: npt.NDArray[Any] | None
    energy: npt.NDArray[np.float32]
    stage: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint32]


def _room(work: Work, frames: int) -> _Room:
    shape = (frames, *work.detector.frame)
    return _Room(
        work.image.buffer(frames),
        work.code.buffer(frames) if work.code else None,
        np.empty(shape, np.float32),
        np.empty(shape, np.uint8),
        np.empty(shape, np.uint32),
    )


def _block(work: Work, which: Indices, rooms: threading.local) -> _Done:
    number, work = which.size, work.of_block(which)
    room: _Room | None = getattr(rooms, "room", None)
    if room is None or room.image.shape[0] < number:
        rooms.room = room = _room(work, number)
    work.image.read(work.place, which, room.image)
    image, code = room.image[:number], None
    if work.code and room.code is not None:
        work.code.read(work.place, which, room.code)
        code = room.code[:number]
    values, gain = work.detector.views(image, code)
    energy, stage, mask = room.energy[:number], room.stage[:number], room.mask[:number]
    counts = Counts.zero()
    engines.correct(
        work.engine,
        work.detector,
        values,
        gain,
        work.cells[which],
        work.constants,
        work.parameters,
        energy=energy,
        stage=stage,
        mask=mask,
        counts=counts,
        how=Run(threads=1, instructions=work.engine.instructions),
    )
    stored, beyond = reduce(energy, mask, work.parameters)
    counts.reasons[_OUT_OF_RANGE] += beyond
    _write(work, which, stored)
    return _Done(tuple(_deflated(frame) for frame in stage), tuple(_deflated(frame) for frame in mask), counts)


def _write(work: Work, which: Indices, energy: npt.NDArray[Any]) -> None:
    size = energy[0].nbytes
    offsets = work.target.energy_offset + size * which.astype(np.int64)
    view = energy.reshape(-1).view(np.uint8).data
    for first, last in runs(offsets, size):
        rest, at = view[first * size : last * size], int(offsets[first])
        while rest:
            put = os.pwrite(work.descriptor, rest, at)
            rest, at = rest[put:], at + put


def _deflated(frame: npt.NDArray[Any]) -> bytes:
    return isal_zlib.compress(frame, DEFLATE_LEVEL)


def _store(work: Work, which: Indices, future: Future[_Done], counts: Counts) -> int:
    done = future.result()
    for frame, stage, mask in zip(which.tolist(), done.stage, done.mask, strict=True):
        work.target.write_flags(frame, stage, mask)
    counts.stages += done.counts.stages
    counts.reasons += done.counts.reasons
    return int(which.size)
