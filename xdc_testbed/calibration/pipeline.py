"""Raw file in, corrected file and manifest out. Memory is bounded by a block of frames and the constants of
one module.

The corrected file appears under its name only when it is complete: it is written beside it and renamed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration import engine, jungfrau
from xdc_testbed.calibration.badpixels import reasons
from xdc_testbed.calibration.constants import ModuleConstants, read_constants
from xdc_testbed.calibration.corrected_file import create_corrected
from xdc_testbed.calibration.detectors import JUNGFRAU
from xdc_testbed.calibration.engine import Engine
from xdc_testbed.calibration.failures import CalibrationError, InputInvalid
from xdc_testbed.calibration.manifest import (
    CalibrationManifest,
    Constants,
    FileOutcome,
    FileRecord,
    Parameters,
    code_version,
    software,
)
from xdc_testbed.calibration.native import Counts
from xdc_testbed.calibration.raw_file import RawFile, open_raw

log = logging.getLogger(__name__)

BLOCK_FRAMES = 16
"""Frames corrected at a time: 8 MiB of JUNGFRAU raw pixels, 4 MiB of AGIPD."""


def corrected_name(raw_name: str) -> str:
    """`RAW-R0001-JNGFR01-S00000.h5` to `CORR-R0001-JNGFR01-S00000.h5`. Raises InputInvalid for another kind
    of name.
    """
    if not (raw_name.startswith("RAW-") and raw_name.endswith(".h5")):
        raise InputInvalid(f"{raw_name} is not the name of a raw file (RAW-R....h5)")
    return "CORR-" + raw_name.removeprefix("RAW-")


def calibrate_file(
    raw: Path, out: Path, constants: Path, *, parameters: Parameters | None = None
) -> CalibrationManifest:
    """Correct one raw file into `out` with the constants below the folder `constants`.

    Raises CalibrationError (InputTruncated, InputInvalid, ConstantsMissing, ConstantsInvalid); then `out` is
    untouched.
    """
    parameters, chosen = parameters or Parameters(), engine.choose()
    return _manifest(parameters, chosen, [_correct_file(raw, out, constants, parameters, chosen)])


def calibrate_run(
    raw: Path, out: Path, constants: Path, *, parameters: Parameters | None = None
) -> CalibrationManifest:
    """Correct every raw file of a folder into `out`; one that fails is recorded and the others go on.

    Raises InputInvalid when the folder has no raw file.
    """
    parameters, chosen = parameters or Parameters(), engine.choose()
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(raw.glob("RAW-*.h5"))
    if not paths:
        raise InputInvalid(f"no raw file in {raw}", remedy="a run is a folder of RAW-R....h5 files")
    outcomes = []
    for path in paths:
        try:
            outcomes.append(_correct_file(path, out / corrected_name(path.name), constants, parameters, chosen))
        except CalibrationError as error:
            log.warning("%s: %s", path.name, error.message)
            outcomes.append(FileOutcome(input=FileRecord.of(path), outcome="failed", reason=error.message))
    return _manifest(parameters, chosen, outcomes)


def _manifest(parameters: Parameters, chosen: Engine, outcomes: Iterable[FileOutcome]) -> CalibrationManifest:
    return CalibrationManifest(
        code_version=code_version(),
        kernel_path=chosen.name,
        software=software(),
        parameters=parameters,
        files=tuple(outcomes),
    )


def _correct_file(raw_path: Path, out: Path, folder: Path, parameters: Parameters, chosen: Engine) -> FileOutcome:
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        with open_raw(raw_path) as raw:
            constants = read_constants(folder, raw.module)
            counts, frames = Counts.zero(), 0
            planes = engine.fold(constants, engine.coding_of(raw.module.detector, parameters))
            with create_corrected(part, raw, legacy_names=parameters.legacy_names) as corrected:
                for target, source in raw.blocks(max(1, BLOCK_FRAMES // _frames_per_row(raw))):
                    image, gain, cells = _pixels(raw, source, constants)
                    pixels = _empty(image.shape)
                    engine.correct(
                        chosen,
                        raw.module.detector,
                        image,
                        gain,
                        cells,
                        constants,
                        parameters,
                        energy=pixels[0],
                        stage=pixels[1],
                        mask=pixels[2],
                        planes=planes,
                        counts=counts,
                    )
                    corrected.write(target, *pixels)
                    frames += cells.size
            outcome = _outcome(raw_path, part, out.name, raw, folder, constants, counts, frames)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return outcome


_STAGES = ("0", "1", "2", "none")
_Pixels = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.uint32]]


def _frames_per_row(raw: RawFile) -> int:
    """JUNGFRAU stores all memory cells of a train in one row, AGIPD one frame per row."""
    return int(raw.dataset("adc").shape[1]) if raw.module.detector is JUNGFRAU else 1


def _pixels(
    raw: RawFile, rows: slice, constants: ModuleConstants
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[Any], npt.NDArray[np.integer]]:
    """Values, codes or analog gain values, and memory cells of these rows, frame by frame."""
    detector = raw.module.detector
    cells = raw.dataset(detector.cell)[rows].reshape(-1)
    if detector is not JUNGFRAU:
        image = raw.dataset("data")[rows]
        return image[:, 0], image[:, 1], cells
    if _frames_per_row(raw) == 1 and constants.cells == 1:  # then the number of the cell in use is arbitrary
        cells = np.where(cells == jungfrau.EMPTY_CELL, cells, 0)
    return (
        raw.dataset("adc")[rows].reshape(-1, *detector.frame),
        raw.dataset("gain")[rows].reshape(-1, *detector.frame),
        cells,
    )


def _empty(shape: tuple[int, ...]) -> _Pixels:
    return np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.uint32)


def _outcome(
    raw_path: Path,
    part: Path,
    name: str,
    raw: RawFile,
    folder: Path,
    constants: ModuleConstants,
    counts: Counts,
    frames: int,
) -> FileOutcome:
    module = raw.module
    return FileOutcome(
        input=FileRecord.of(raw_path),
        outcome="corrected",
        output=FileRecord.of(part, name),
        constants=Constants(
            file=FileRecord.of(folder / module.constants_file, module.constants_file), parts=constants.records
        ),
        detector=module.detector_id,
        module=module.name,
        trains=int(raw.index.train_ids.size),
        trains_without_data=int(np.count_nonzero(raw.index.count == 0)),
        trains_dropped=raw.index.dropped,
        frames=frames,
        pixels_by_stage={name: n for name, n in zip(_STAGES, counts.stages.tolist(), strict=True) if n},
        pixels_by_reason=reasons(counts.reasons.tolist()),
    )
