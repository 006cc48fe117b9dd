"""Constants from dark runs: offset, noise, bad pixels, and the thresholds of a detector that tells its gain by a level.

One run for each gain stage, in which all pixels are held in it. Sums are of whole numbers, so that the result does not
depend on the order of the frames; memory is that of the constants, however long the runs are. A pixel is bad when its
offset or noise is further from the median of its memory cell and stage than so many standard deviations, which are
taken from the median absolute deviation, so that bad pixels do not hide each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.constants import DIMENSIONS
from xdc_testbed.calibration.detector import DarkNames, Module
from xdc_testbed.calibration.failures import DarksInvalid, InputInvalid, OutputFailed
from xdc_testbed.calibration.frames import Frames
from xdc_testbed.calibration.inputs import opened
from xdc_testbed.calibration.manifest import Condition, Parameters
from xdc_testbed.calibration.native import CODE_IN_BYTE, CODE_IN_WORD, THRESHOLDS
from xdc_testbed.calibration.pipeline import frames_of, raw_files
from xdc_testbed.calibration.raw_file import RawFile, open_raw
from xdc_testbed.calibration.selection import select
from xdc_testbed.calibration.versions import CONDITIONS, begin_of, file_name

LEAST_FRAMES = 2
"""Frames below which a pixel has no noise, and counts as without data."""

_TO_SIGMA = 1.4826  # of a normal distribution, from the median absolute deviation
_BLOCK = 16

Planes = npt.NDArray[np.float32]
Sums = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Limits:
    """How many standard deviations a pixel may be away from the others."""

    offset_sigma: float = 5.0
    noise_sigma: float = 5.0


@dataclass(frozen=True)
class Darks:
    """What dark runs of one module say. offset, noise: ADU, [cell, stage, slow, fast]; thresholds: [cell, 5, slow,
    fast], between the stages and then the level of each, None for a detector without; bad: bits of BadPixels.
    """

    offset: Planes
    noise: Planes
    bad: npt.NDArray[np.uint32]
    thresholds: Planes | None


@dataclass(frozen=True)
class Written:
    """A file of constants that was made. frames: by stage; bad: part of all pixels of all cells and stages."""

    module: Module
    pdu: str
    path: Path
    frames: tuple[int, ...]
    bad: float


def make_constants(
    runs: Mapping[int, Path],
    out: Path,
    *,
    begin: datetime | None = None,
    conditions: Mapping[str, Condition] | None = None,
    limits: Limits | None = None,
) -> Iterator[Written]:
    """Make constants of every module in these dark runs, one file for each below `out`.

    runs: gain stage -> folder of raw files; begin: of validity, by default when the first file was begun. Raises
    DarksInvalid when runs and detector do not go together or nobody knows when it was, OutputFailed when there are
    constants of this time already, and as `open_raw`.
    """
    files = {stage: _by_module(folder) for stage, folder in sorted(runs.items())}
    modules = {module.raw_source: module for known in files.values() for module, _ in known.values()}
    for source, module in sorted(modules.items()):
        paths = {stage: known[source][1] for stage, known in files.items() if source in known}
        yield _make(module, paths, out, begin, conditions or {}, limits or Limits())


def _make(
    module: Module,
    paths: Mapping[int, list[Path]],
    out: Path,
    begin: datetime | None,
    conditions: Mapping[str, Condition],
    limits: Limits,
) -> Written:
    names = module.detector.darks
    if max(paths) >= module.detector.stages:
        raise DarksInvalid(f"{module.detector.name} has {module.detector.stages} gain stage(s), not {max(paths) + 1}")
    cells, recorded = _survey([path for stage in paths.values() for path in stage])
    begin = begin or recorded
    if begin is None:
        raise DarksInvalid("the files do not say when they were taken", remedy="give the begin of validity (--begin)")
    target = out / module.constants_folder / file_name(begin)
    if target.exists():
        raise OutputFailed(f"there are constants of this time already: {target}", remedy="give another begin (--begin)")
    pdu = _unit(target.parent, module)
    darks, frames = _evaluate(module, paths, cells, limits)
    with _appearing(target) as part, h5py.File(part, "w") as file:
        for name, planes in _named(names, darks):
            _write(file, f"{pdu}/{name}/0", planes, conditions)
    return Written(module, pdu, target, frames, float(np.count_nonzero(darks.bad)) / darks.bad.size)


def _evaluate(
    module: Module, paths: Mapping[int, list[Path]], cells: int, limits: Limits
) -> tuple[Darks, tuple[int, ...]]:
    detector = module.detector
    shape = (cells, detector.stages, *detector.frame)
    offset, noise = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    levels = np.full(shape, np.nan, np.float32) if detector.coding.staging == THRESHOLDS else None
    bad = np.full(shape, BadPixels.NO_DARK_DATA | BadPixels.OFFSET_NOISE_EVAL_ERROR, np.uint32)
    frames = [0] * detector.stages
    for stage, files in paths.items():
        total = _Total.empty((cells, *detector.frame), levels=levels is not None)
        for path in files:
            frames[stage] += _add(path, stage, total)
        for cell in range(cells):
            offset[cell, stage], noise[cell, stage] = total.mean_and_noise(cell)
            if levels is not None:
                levels[cell, stage] = total.level(cell)
            bad[cell, stage] = _bad(offset[cell, stage], noise[cell, stage], limits)
    thresholds = None
    if levels is not None:
        between = (levels[:, :-1] + levels[:, 1:]) / 2
        thresholds = np.concatenate([between, levels], axis=1).astype(np.float32)
        ordered = np.all(levels[:, :-1] < levels[:, 1:], axis=1)
        bad |= np.where(ordered, np.uint32(0), np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR))[:, None]
    return Darks(offset, noise, bad, thresholds), tuple(frames)


def _bad(offset: Planes, noise: Planes, limits: Limits) -> npt.NDArray[np.uint32]:
    """Bits of one memory cell and stage."""
    bits = np.zeros(offset.shape, np.uint32)
    known = np.isfinite(offset) & np.isfinite(noise)
    bits[~known] = BadPixels.NO_DARK_DATA | BadPixels.OFFSET_NOISE_EVAL_ERROR
    for values, sigmas, bit in (
        (offset, limits.offset_sigma, BadPixels.OFFSET_OUT_OF_THRESHOLD),
        (noise, limits.noise_sigma, BadPixels.NOISE_OUT_OF_THRESHOLD),
    ):
        if known.any():
            middle = np.median(values[known])
            away = np.abs(values - middle)
            bits[known & (away > sigmas * _TO_SIGMA * np.median(away[known]))] |= np.uint32(bit)
    return bits


@dataclass(frozen=True)
class _Total:
    """Sums over the frames of one stage, [cell, slow, fast]; gain: of the analog gain value."""

    number: npt.NDArray[np.uint32]
    first: Sums
    second: Sums
    gain: Sums | None

    @classmethod
    def empty(cls, shape: tuple[int, ...], *, levels: bool) -> _Total:
        return cls(
            np.zeros(shape, np.uint32),
            np.zeros(shape, np.uint64),
            np.zeros(shape, np.uint64),
            np.zeros(shape, np.uint64) if levels else None,
        )

    def add(
        self,
        cell: int,
        value: npt.NDArray[np.uint16],
        gain: npt.NDArray[Any] | None,
        taken: npt.NDArray[np.bool_] | None,
    ) -> None:
        """taken: pixels that are in the stage, None for all."""
        wide = value.astype(np.uint64)
        if taken is None:
            self.number[cell] += np.uint32(1)
        else:
            wide *= taken
            self.number[cell] += taken
        self.first[cell] += wide
        self.second[cell] += wide * wide
        if self.gain is not None and gain is not None:
            self.gain[cell] += gain

    def mean_and_noise(self, cell: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """NaN where there are too few frames."""
        number = np.where(self.number[cell] >= LEAST_FRAMES, self.number[cell], np.nan)
        mean = self.first[cell] / number
        return mean, np.sqrt(np.maximum(self.second[cell] / number - mean * mean, 0))

    def level(self, cell: int) -> npt.NDArray[np.float64]:
        assert self.gain is not None  # noqa: S101 - asked for only where levels are kept
        level: npt.NDArray[np.float64] = self.gain[cell] / np.where(
            self.number[cell] >= LEAST_FRAMES, self.number[cell], np.nan
        )
        return level


def _add(path: Path, stage: int, total: _Total) -> int:
    """Add the frames of one file. Returns how many."""
    with opened(path) as source, open_raw(source.hdf5) as raw:
        detector = raw.module.detector
        place, cells, used = frames_of(select(raw, Parameters()))
        cells = np.zeros_like(cells) if _single(raw) else cells
        image = Frames(raw.dataset(detector.image), detector.unit, source)
        code = Frames(raw.dataset(detector.code), detector.frame, source) if detector.code else None
        which = np.flatnonzero(used)
        for first in range(0, which.size, _BLOCK):
            block = which[first : first + _BLOCK]
            stored, codes = image.buffer(block.size), code.buffer(block.size) if code else None
            image.read(place, block, stored)
            if code and codes is not None:
                code.read(place, block, codes)
            words, gain = detector.views(stored, codes)
            for number, frame in enumerate(block):
                one = None if gain is None else gain[number]
                total.add(int(cells[frame]), *_in_stage(raw, words[number], one, stage))
        return int(which.size)


def _in_stage(
    raw: RawFile, words: npt.NDArray[np.uint16], gain: npt.NDArray[Any] | None, stage: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[Any] | None, npt.NDArray[np.bool_] | None]:
    """Values, analog gain values, and which pixels say that they are in the stage."""
    coding = raw.module.detector.coding
    wanted = (0, coding.code1, coding.code2)[stage]
    if coding.staging == CODE_IN_WORD:
        return words & np.uint16(coding.word_bits), None, (words >> coding.code_shift) & 3 == wanted
    if coding.staging == CODE_IN_BYTE and gain is not None:
        return words, None, gain == wanted
    if coding.zero_means:
        words = np.where(words == 0, np.uint16(coding.zero_means), words)
    return words, gain, None


def _survey(paths: list[Path]) -> tuple[int, datetime | None]:
    """How many memory cells there are, and when the first file was begun."""
    cells, begun = 1, []
    for path in paths:
        with open_raw(path) as raw:
            _, numbers, used = frames_of(select(raw, Parameters()))
            if used.any() and not _single(raw):
                cells = max(cells, int(numbers[used].max()) + 1)
            if raw.recorded:
                begun.append(raw.recorded)
    return cells, min(begun, default=None)


def _single(raw: RawFile) -> bool:
    """Whether one memory cell is in use, whatever its number."""
    detector = raw.module.detector
    return detector.any_single_cell and detector.frames_per_row(raw.dataset(detector.image).shape) == 1


def _by_module(folder: Path) -> dict[str, tuple[Module, list[Path]]]:
    if not folder.is_dir():
        raise InputInvalid(f"{folder} is no folder", remedy="a dark run is a folder of RAW-R....h5 files")
    found: dict[str, tuple[Module, list[Path]]] = {}
    for path in raw_files(folder):
        with open_raw(path) as raw:
            found.setdefault(raw.module.raw_source, (raw.module, []))[1].append(path)
    return found


def _unit(folder: Path, module: Module) -> str:
    """The physical module: that of the newest constants in the folder, else the name of its place."""
    known = [(begin, file) for file in folder.glob("*") if (begin := begin_of(file.name)) is not None]
    if not known:
        return f"{module.detector_id}_{module.name}"
    with h5py.File(max(known)[1], "r") as file:
        return str(next(iter(file)))


def _named(names: DarkNames, darks: Darks) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    yield names.offset, darks.offset
    yield names.noise, darks.noise
    yield names.bad, darks.bad
    if names.thresholds and darks.thresholds is not None:
        yield names.thresholds, darks.thresholds


def _write(file: h5py.File, where: str, planes: npt.NDArray[Any], conditions: Mapping[str, Condition]) -> None:
    """Without gain axis where there is one stage, as they are read."""
    cells, stages, slow, fast = planes.shape
    axes = (fast, slow, cells) if stages == 1 else (fast, slow, cells, stages)
    dataset = file.create_dataset(f"{where}/data", axes, planes.dtype)
    for first in range(0, slow, _BLOCK):  # strips, as they are read
        strip = planes[:, :, first : first + _BLOCK].transpose(3, 2, 0, 1)
        dataset[:, first : first + _BLOCK] = strip[..., 0] if stages == 1 else strip
    dataset.attrs["dims"] = DIMENSIONS[: len(axes)]
    if conditions:
        file.create_group(f"{where}/{CONDITIONS}").attrs.update(conditions)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A name beside the target for what becomes it when it is whole. Raises OutputFailed."""
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        raise OutputFailed(f"{target.name} cannot be written: {error}", remedy=f"look at {target.parent}") from error
    finally:
        part.unlink(missing_ok=True)
