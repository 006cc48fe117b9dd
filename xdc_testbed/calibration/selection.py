"""Which trains and frames of a raw file are corrected, and what is known of each frame before its pixels are read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.damage import reading
from xdc_testbed.calibration.failures import InputInvalid, NothingSelected
from xdc_testbed.calibration.lit_frames import LitFrames
from xdc_testbed.calibration.manifest import Parameters
from xdc_testbed.calibration.raw_file import RawFile, TrainIndex


@dataclass(frozen=True)
class Selected:
    """A raw file of which only the wanted trains and frames are left.

    cells: memory cell of each frame; stages: gain stage of each frame where parallel gain says it, else None; lower:
    where three frames become one, rows of the same frames in medium and in low gain, else empty;
    trains_left_out, frames_left_out: by what the user chose; frames_unlit: of these, by the lit frame finder alone;
    trains_untold: with data, of which the finder told nothing.
    """

    raw: RawFile
    cells: npt.NDArray[np.int64]
    stages: npt.NDArray[np.uint8] | None
    lower: tuple[npt.NDArray[np.intp], ...] = ()
    trains_left_out: int = 0
    frames_left_out: int = 0
    frames_unlit: int = 0
    trains_untold: int = 0


def select(raw: RawFile, parameters: Parameters, lit_frames: LitFrames | None = None) -> Selected:
    """Take the trains and frames that the parameters name and, of a detector that has a lit frame finder, those that
    hold data.

    Raises NothingSelected when no train is left, InputInvalid when parallel gain does not fit the data, or a lit frame
    finder is needed that there is not.
    """
    combined = parameters.combine_up_to is not None
    parallel = raw.module.detector.parallel_gain and (parameters.parallel_gain or combined)
    cells, stages = _cells(raw, parallel=parallel)
    index = raw.index
    trains = _wanted_trains(index, parameters)
    if index.train_ids.size and not trains.any():
        raise NothingSelected("no train of this file is selected", remedy="look at the range of trains")
    per_row = cells.size // index.rows.size if index.rows.size else 1
    rows = np.repeat(trains, index.count.astype(np.intp))
    if parameters.cells is not None and not raw.module.detector.several:
        rows &= np.isin(cells, parameters.cells)
    unlit = untold = 0
    if lit_frames is None and raw.module.detector.lit_frames and parameters.pulse_energy_above is not None:
        raise InputInvalid("only a lit frame finder tells energies of pulses", remedy="give --lit-frames")
    if lit_frames is not None and raw.module.detector.lit_frames:
        train_ids = np.repeat(index.train_ids, index.count.astype(np.intp))
        holds = lit_frames.hold_data(train_ids, cells, above=parameters.pulse_energy_above)
        unlit, rows = int(np.count_nonzero(rows & ~holds)), rows & holds
        untold = int(np.count_nonzero(~lit_frames.knows(index.train_ids[trains & (index.count > 0)])))
    if rows.all() and trains.all():
        selected = Selected(raw, cells, stages, trains_untold=untold)
        return _by_pulse(selected) if combined else selected
    frames = np.repeat(rows, per_row)
    train_of_row = np.repeat(np.arange(trains.size), index.count.astype(np.intp))
    count = np.bincount(train_of_row[rows], minlength=trains.size).astype(np.uint64)
    chosen = replace(
        index,
        train_ids=index.train_ids[trains],
        timestamps=index.timestamps[trains],
        first=index.first[trains],
        count=count[trains],
        picked=index.rows[rows],
    )
    selected = Selected(
        replace(raw, index=chosen),
        cells[frames],
        None if stages is None else stages[frames],
        trains_left_out=int(np.count_nonzero(~trains)),
        frames_left_out=int(np.count_nonzero(~frames)),
        frames_unlit=unlit,
        trains_untold=untold,
    )
    return _by_pulse(selected) if combined else selected


def _by_pulse(selected: Selected) -> Selected:
    """One frame for each pulse of parallel gain, in place of three; of other data nothing changes."""
    stages, index = selected.stages, selected.raw.index
    if stages is None:
        return selected
    high, *lower = (index.rows[stages == stage] for stage in range(3))
    pulses = replace(index, count=index.count // np.uint64(3), picked=high)
    return replace(
        selected,
        raw=replace(selected.raw, index=pulses),
        cells=selected.cells[stages == 0],
        stages=None,
        lower=tuple(lower),
    )


def _wanted_trains(index: TrainIndex, parameters: Parameters) -> npt.NDArray[np.bool_]:
    first, last = parameters.trains or (None, None)
    wanted = np.ones(index.train_ids.size, bool)
    if first is not None:
        wanted &= index.train_ids >= first
    if last is not None:
        wanted &= index.train_ids <= last
    return wanted


def _cells(raw: RawFile, *, parallel: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8] | None]:
    """Memory cell of every frame, and its stage with parallel gain: a train then has all its pulses in high gain, then
    in medium, then in low, and memory cells are written for the first third only (EXtra-data `LPDBase`).
    """
    index, detector = raw.index, raw.module.detector
    frames = index.rows.size * detector.frames_per_row(raw.dataset(detector.image).shape)
    cells = np.zeros(frames, np.int64)
    if detector.cell:
        with reading(InputInvalid):
            cells[:] = raw.whole(detector.cell)[index.rows].reshape(-1)
    if not parallel:
        return cells, None
    count = index.count.astype(np.intp)
    if np.any(count % 3):
        train = index.train_ids[np.argmax(count % 3 != 0)]
        raise InputInvalid(
            f"train {train} has {count[np.argmax(count % 3 != 0)]} frames, parallel gain has three per pulse",
            remedy="calibrate this run without parallel gain",
        )
    begin = np.repeat(np.cumsum(count) - count, count)
    pulses = np.repeat(count // 3, count)
    position = np.arange(frames) - begin
    return cells[begin + position % pulses], (position // pulses).astype(np.uint8)
