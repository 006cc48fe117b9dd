"""Raw file in, corrected file and manifest out. Memory is bounded by a few blocks of frames and the constants of one
module, wherever the raw file comes from and the corrected file goes to.

The corrected file appears under its name only when it is complete: it is written beside it and renamed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration import engine
from xdc_testbed.calibration.badpixels import reasons
from xdc_testbed.calibration.blocks import TRAINS_TOGETHER, Progress, Work
from xdc_testbed.calibration.completeness import gaps
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.detectors import is_of_module
from xdc_testbed.calibration.engine import Engine
from xdc_testbed.calibration.failures import CalibrationError, InputInvalid, NoDetector, NothingSelected
from xdc_testbed.calibration.frames import Frames, Place
from xdc_testbed.calibration.inputs import Input, Ranges, opened
from xdc_testbed.calibration.lit_frames import LitFrames
from xdc_testbed.calibration.manifest import (
    CalibrationManifest,
    Constants,
    FileOutcome,
    FileRecord,
    Gap,
    Parameters,
    code_version,
    software,
)
from xdc_testbed.calibration.native import Counts
from xdc_testbed.calibration.packed import open_constants
from xdc_testbed.calibration.raw_file import RawFile, open_raw
from xdc_testbed.calibration.selection import Selected, select
from xdc_testbed.calibration.stores import Correction, Send, Store, keep, to_file, to_stream, writing

log = logging.getLogger(__name__)

Watch = Callable[[str, int, int], None]
"""Name of a raw file, frames done, frames in all."""


def corrected_name(raw_name: str) -> str:
    """`RAW-R0001-JNGFR01-S00000.h5` to `CORR-R0001-JNGFR01-S00000.h5`. Raises InputInvalid for another kind
    of name.
    """
    if not (raw_name.startswith("RAW-") and raw_name.endswith(".h5")):
        raise InputInvalid(f"{raw_name} is not the name of a raw file (RAW-R....h5)")
    return "CORR-" + raw_name.removeprefix("RAW-")


ConstantsFolder = Path | Callable[[Module], Path]
"""The folder of constants, or what finds it once it is known which module they are for."""


@dataclass(frozen=True)
class Task:
    """What is done with a raw file. constants: their folder; packed: folder of packed constants, which are compiled
    there when they are used for the first time; progress: told of frames done and frames in all; lit_frames:
    frames that hold no data by these are left out; streamed: the corrected file is one stream.
    """

    constants: ConstantsFolder
    parameters: Parameters
    engine: Engine
    packed: Path | None = None
    progress: Progress | None = None
    lit_frames: LitFrames | None = None
    streamed: bool = False


def calibrate_file(
    raw: Path | Ranges,
    out: Path,
    constants: ConstantsFolder,
    *,
    parameters: Parameters | None = None,
    packed: Path | None = None,
    progress: Progress | None = None,
    lit_frames: LitFrames | None = None,
    streamed: bool = False,
) -> CalibrationManifest:
    """Correct one raw file into `out` with the constants below the folder `constants`, or below what it gives.

    raw: a file of this machine, or one elsewhere that is read by ranges; packed: folder of packed constants, which are
    compiled there when they are used for the first time; progress: told of frames done and frames in all; lit_frames:
    frames that hold no data by these are left out; streamed: the file gets the bytes that `calibrate_stream` sends.
    Raises CalibrationError (see failures), and what the storage of the raw file raises; then `out` is untouched.
    """
    task = Task(constants, parameters or Parameters(), engine.choose(), packed, progress, lit_frames, streamed)
    return _manifest(task, [_correct_file(raw, out, task)])


def calibrate_stream(
    raw: Path | Ranges,
    name: str,
    send: Send,
    constants: ConstantsFolder,
    *,
    parameters: Parameters | None = None,
    packed: Path | None = None,
    progress: Progress | None = None,
    lit_frames: LitFrames | None = None,
) -> CalibrationManifest:
    """Correct one raw file into a stream of bytes; otherwise as `calibrate_file`.

    name: of the corrected file; send: takes the bytes in their order, while later ones are computed. It is called a
    second time, from the beginning, when flags turn out to need more room than the first frames told. Pixels are those
    of `calibrate_file` and lie in another order: energies are one frame per chunk. Memory does not grow with the file.

    The file is whole when this returns: what was sent is of no use, and to be removed, when it raises.
    """
    task = Task(constants, parameters or Parameters(), engine.choose(), packed, progress, lit_frames, streamed=True)
    return _manifest(task, [_correct(raw, partial(to_stream, name, send), task)])


def raw_files(folder: Path) -> list[Path]:
    """The raw files of a run. Raises InputInvalid when there is none."""
    paths = sorted(folder.glob("RAW-*.h5"))
    if not paths:
        raise InputInvalid(f"no raw file in {folder}", remedy="a run is a folder of RAW-R....h5 files")
    return paths


def calibrate_run(
    raw: Path,
    out: Path,
    constants: Path,
    *,
    parameters: Parameters | None = None,
    packed: Path | None = None,
    watch: Watch | None = None,
    lit_frames: LitFrames | None = None,
) -> CalibrationManifest:
    """Correct every raw file of a folder into `out`; one that fails is recorded and the others go on. Files of other
    data than a detector's are left out.

    watch: told of every file and its frames; lit_frames: as of a file. Raises InputInvalid when the folder has no raw
    file.
    """
    task = Task(constants, parameters or Parameters(), engine.choose(), packed, lit_frames=lit_frames)
    paths = raw_files(raw)
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for path in paths:
        watched = replace(task, progress=partial(watch, path.name)) if watch else task
        try:
            outcomes.append(_correct_file(path, out / corrected_name(path.name), watched))
        except CalibrationError as error:
            log.info("%s: %s", path.name, error.message)
            outcomes.append(failed(path, error))
    return _manifest(task, outcomes, gaps(out, constants, outcomes))


def failed(raw: Path | Ranges, error: CalibrationError) -> FileOutcome:
    """The record of a file that was not corrected. Of one that is elsewhere it has what the storage says."""
    other = isinstance(error, NoDetector) and not is_of_module(raw.name)
    outcome: Literal["left out", "failed"] = "left out" if other or isinstance(error, NothingSelected) else "failed"
    if isinstance(raw, Path):
        record = FileRecord.of(raw)
    else:
        record = FileRecord(name=raw.name, size=raw.size, adler32=raw.adler32)
    return FileOutcome(input=record, outcome=outcome, failure=error.name, reason=error.message)


def run_manifest(
    outcomes: Iterable[FileOutcome], parameters: Parameters, lit_frames: LitFrames | None = None
) -> CalibrationManifest:
    """The manifest of files that were corrected one by one."""
    return _manifest(Task(Path(), parameters, engine.choose(), lit_frames=lit_frames), outcomes)


def _manifest(task: Task, outcomes: Iterable[FileOutcome], missing: tuple[Gap, ...] = ()) -> CalibrationManifest:
    return CalibrationManifest(
        gaps=missing,
        lit_frames=task.lit_frames.files if task.lit_frames else (),
        code_version=code_version(),
        kernel_path=task.engine.name,
        software=software(),
        parameters=task.parameters,
        files=tuple(outcomes),
    )


def _correct_file(raw: Path | Ranges, out: Path, task: Task) -> FileOutcome:
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        if task.streamed:
            outcome = _correct(raw, partial(to_stream, out.name, partial(keep, part, out)), task)
        else:
            outcome = _correct(raw, partial(to_file, part, out), task)
        with writing(out):
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return outcome


def _correct(raw: Path | Ranges, store: Store, task: Task) -> FileOutcome:
    parameters = task.parameters
    with opened(raw) as source, open_raw(source.hdf5, gain_in_word=parameters.gain_in_word) as file:
        selected = select(file, parameters, task.lit_frames)
        compiled = open_constants(
            task.constants if isinstance(task.constants, Path) else task.constants(file.module),
            file.module,
            adaptive=parameters.fixed_gain is None,
            packed=task.packed,
            at=file.recorded,
            choice=parameters.constants,
        )
        work = _work(source, selected, compiled.constants, task)
        correction = Correction(selected.raw, work, task.progress)
        output = store(correction)
        return _outcome(source.record(correction.read), output, selected, compiled.record, correction.counts, task)


def _work(source: Input, selected: Selected, constants: ModuleConstants, task: Task) -> Work:
    raw, detector = selected.raw, selected.raw.module.detector
    place, cells = _places(selected, constants)
    return Work(
        source=source,
        detector=detector,
        engine=task.engine,
        constants=constants,
        parameters=task.parameters,
        image=Frames(raw.dataset(detector.image), detector.unit, source),
        code=Frames(raw.dataset(raw.code), detector.frame, source) if raw.code else None,
        place=place,
        cells=cells,
        stages=selected.stages,
        together=TRAINS_TOGETHER * int(raw.index.count.max(initial=1)) * _frames_per_row(raw),
        lower=tuple(Place(rows, np.zeros_like(rows)) for rows in selected.lower),
    )


_STAGES = ("0", "1", "2", "none")


def _frames_per_row(raw: RawFile) -> int:
    detector = raw.module.detector
    return detector.frames_per_row(raw.dataset(detector.image).shape)


def frames_of(selected: Selected) -> tuple[Place, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where each selected frame is in the raw file, its memory cell, and whether it was taken at all."""
    raw, cells = selected.raw, selected.cells.copy()
    rows, per_row, detector = raw.index.rows, _frames_per_row(raw), raw.module.detector
    used = np.ones(cells.size, bool) if detector.empty_cell is None else cells != detector.empty_cell
    return Place(np.repeat(rows, per_row), np.tile(np.arange(per_row, dtype=np.intp), rows.size)), cells, used


def _places(selected: Selected, constants: ModuleConstants) -> tuple[Place, npt.NDArray[np.int64]]:
    """As `frames_of`, with memory cells by their constants. Raises ConstantsMissing for one without."""
    place, cells, used = frames_of(selected)
    raw = selected.raw
    if raw.module.detector.any_single_cell and _frames_per_row(raw) == 1 and constants.cells == 1:
        cells[used] = 0
    constants.require_cells(cells[used])
    return place, cells


def _outcome(
    record: FileRecord,
    output: FileRecord,
    selected: Selected,
    constants: Constants,
    counts: Counts,
    task: Task,
) -> FileOutcome:
    raw, module = selected.raw, selected.raw.module
    return FileOutcome(
        input=record,
        outcome="corrected",
        output=output,
        recorded=raw.recorded,
        constants=constants,
        detector=module.detector_id,
        module=module.name,
        trains=int(raw.index.train_ids.size),
        trains_without_data=int(np.count_nonzero(raw.index.count == 0)),
        trains_dropped=raw.index.dropped,
        trains_left_out=selected.trains_left_out,
        frames_left_out=selected.frames_left_out,
        frames_unlit=selected.frames_unlit,
        trains_untold=selected.trains_untold,
        reference_only=module.detector.needs_reference(task.parameters),
        streamed=task.streamed,
        frames=selected.cells.size,
        pixels_by_stage={name: n for name, n in zip(_STAGES, counts.stages.tolist(), strict=True) if n},
        pixels_by_reason=reasons(counts.reasons.tolist()),
    )
