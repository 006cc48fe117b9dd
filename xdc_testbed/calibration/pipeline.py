"""Raw file in, corrected file and manifest out. Memory is bounded by a few blocks of frames and the
constants of one module.

The corrected file appears under its name only when it is complete: it is written beside it and renamed.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration import engine
from xdc_testbed.calibration.badpixels import reasons
from xdc_testbed.calibration.blocks import TRAINS_TOGETHER, Progress, Work, correct_blocks
from xdc_testbed.calibration.checksums import Passed
from xdc_testbed.calibration.completeness import gaps
from xdc_testbed.calibration.constants import ModuleConstants
from xdc_testbed.calibration.corrected_file import create_corrected
from xdc_testbed.calibration.detectors import is_of_module
from xdc_testbed.calibration.engine import Engine
from xdc_testbed.calibration.failures import (
    CalibrationError,
    InputChanged,
    InputInvalid,
    NoDetector,
    NothingSelected,
    OutputFailed,
)
from xdc_testbed.calibration.frames import Frames, Place
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
from xdc_testbed.calibration.reduction import dtype_of
from xdc_testbed.calibration.selection import Selected, select

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


def calibrate_file(
    raw: Path,
    out: Path,
    constants: Path,
    *,
    parameters: Parameters | None = None,
    packed: Path | None = None,
    progress: Progress | None = None,
    lit_frames: LitFrames | None = None,
) -> CalibrationManifest:
    """Correct one raw file into `out` with the constants below the folder `constants`.

    packed: folder of packed constants, which are compiled there when they are used for the first time; progress: told
    of frames done and frames in all; lit_frames: frames that hold no data by these are left out. Raises
    CalibrationError (see failures); then `out` is untouched.
    """
    parameters, chosen = parameters or Parameters(), engine.choose()
    outcome = _correct_file(raw, out, constants, parameters, chosen, packed, progress, lit_frames)
    return _manifest(parameters, chosen, [outcome], lit_frames)


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
    parameters, chosen = parameters or Parameters(), engine.choose()
    paths = raw_files(raw)
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for path in paths:
        target = out / corrected_name(path.name)
        progress = partial(watch, path.name) if watch else None
        try:
            outcome = _correct_file(path, target, constants, parameters, chosen, packed, progress, lit_frames)
            outcomes.append(outcome)
        except CalibrationError as error:
            log.info("%s: %s", path.name, error.message)
            outcomes.append(failed(path, error))
    return _manifest(parameters, chosen, outcomes, lit_frames, gaps(out, constants, outcomes))


def failed(path: Path, error: CalibrationError) -> FileOutcome:
    """The record of a file that was not corrected."""
    other = isinstance(error, NoDetector) and not is_of_module(path.name)
    outcome: Literal["left out", "failed"] = "left out" if other or isinstance(error, NothingSelected) else "failed"
    return FileOutcome(input=FileRecord.of(path), outcome=outcome, failure=error.name, reason=error.message)


def _manifest(
    parameters: Parameters,
    chosen: Engine,
    outcomes: Iterable[FileOutcome],
    lit_frames: LitFrames | None,
    missing: tuple[Gap, ...] = (),
) -> CalibrationManifest:
    return CalibrationManifest(
        gaps=missing,
        lit_frames=lit_frames.files if lit_frames else (),
        code_version=code_version(),
        kernel_path=chosen.name,
        software=software(),
        parameters=parameters,
        files=tuple(outcomes),
    )


def _correct_file(
    raw_path: Path,
    out: Path,
    folder: Path,
    parameters: Parameters,
    chosen: Engine,
    packed: Path | None = None,
    progress: Progress | None = None,
    lit_frames: LitFrames | None = None,
) -> FileOutcome:
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        with _unchanged(raw_path) as descriptor, _opened(raw_path, parameters, lit_frames) as selected:
            raw = selected.raw
            adaptive = parameters.fixed_gain is None
            compiled = open_constants(
                folder, raw.module, adaptive=adaptive, packed=packed, at=raw.recorded, choice=parameters.constants
            )
            constants = compiled.constants
            place, cells = _places(selected, constants)
            read, written = Passed(), Passed()
            with _writing(out):
                counts = _pixels(
                    selected, part, constants, parameters, chosen, descriptor, place, cells, progress, read, written
                )
                output = FileRecord.of(part, out.name, written)
            record = FileRecord.of(raw_path, passed=read)
            outcome = _outcome(record, output, selected, compiled.record, counts, parameters)
        with _writing(out):
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return outcome


@contextmanager
def _opened(path: Path, parameters: Parameters, lit_frames: LitFrames | None) -> Iterator[Selected]:
    with open_raw(path, gain_in_word=parameters.gain_in_word) as raw:
        yield select(raw, parameters, lit_frames)


def _pixels(
    selected: Selected,
    part: Path,
    constants: ModuleConstants,
    parameters: Parameters,
    chosen: Engine,
    descriptor: int,
    place: Place,
    cells: npt.NDArray[np.int64],
    progress: Progress | None,
    read: Passed,
    written: Passed,
) -> Counts:
    """Write the corrected file `part`. read, written: given the checksums of what passes."""
    raw, detector = selected.raw, selected.raw.module.detector
    dtype = dtype_of(parameters)
    with create_corrected(part, raw, dtype=dtype, legacy_names=parameters.legacy_names) as corrected:
        if not len(place):
            return Counts.zero()
        target = os.open(part, os.O_WRONLY)
        try:
            work = Work(
                detector=detector,
                engine=chosen,
                constants=constants,
                parameters=parameters,
                image=Frames(raw.dataset(detector.image), detector.unit, descriptor),
                code=Frames(raw.dataset(raw.code), detector.frame, descriptor) if raw.code else None,
                place=place,
                cells=cells,
                stages=selected.stages,
                together=TRAINS_TOGETHER * int(raw.index.count.max()) * _frames_per_row(raw),
                target=corrected,
                descriptor=target,
                read=read,
                written=written,
                lower=tuple(Place(rows, np.zeros_like(rows)) for rows in selected.lower),
            )
            return correct_blocks(work, progress)
        finally:
            os.close(target)


@contextmanager
def _unchanged(path: Path) -> Iterator[int]:
    """A descriptor of the file, which must be the same file with the same content until the end."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InputInvalid(f"input cannot be opened: {error.strerror}") from error
    try:
        before = os.fstat(descriptor)
        yield descriptor
        now = path.stat() if path.exists() else None
        same = ("st_ino", "st_size", "st_mtime_ns")
        if now is None or any(getattr(before, name) != getattr(now, name) for name in same):
            raise InputChanged("input was replaced or written while it was read", remedy="correct it again")
    finally:
        os.close(descriptor)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What goes wrong with the output is told by name; h5py tells errors of the system in words only."""
    try:
        yield
    except OSError as error:
        known = next((n for n in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS) if _is(error, n)), None)
        reason = os.strerror(known) if known else str(error).splitlines()[0]
        raise OutputFailed(f"{out.name} cannot be written: {reason}", remedy=f"look at {out.parent}") from error


def _is(error: OSError, number: int) -> bool:
    return error.errno == number or f"errno = {number}," in str(error)


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
    parameters: Parameters,
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
        reference_only=module.detector.needs_reference(parameters),
        frames=selected.cells.size,
        pixels_by_stage={name: n for name, n in zip(_STAGES, counts.stages.tolist(), strict=True) if n},
        pixels_by_reason=reasons(counts.reasons.tolist()),
    )
