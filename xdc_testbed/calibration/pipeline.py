"""Raw file in, corrected file and manifest out. Memory is bounded by a block of frames and the constants of
one module.

The corrected file appears under its name only when it is complete: it is written beside it and renamed.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration import agipd, jungfrau
from xdc_testbed.calibration.badpixels import count_by_reason
from xdc_testbed.calibration.constants import ModuleConstants, read_constants
from xdc_testbed.calibration.corrected_file import create_corrected
from xdc_testbed.calibration.detectors import JUNGFRAU
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
    parameters = parameters or Parameters()
    return _manifest(parameters, [_correct_file(raw, out, constants, parameters)])


def calibrate_run(
    raw: Path, out: Path, constants: Path, *, parameters: Parameters | None = None
) -> CalibrationManifest:
    """Correct every raw file of a folder into `out`; one that fails is recorded and the others go on.

    Raises InputInvalid when the folder has no raw file.
    """
    parameters = parameters or Parameters()
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(raw.glob("RAW-*.h5"))
    if not paths:
        raise InputInvalid(f"no raw file in {raw}", remedy="a run is a folder of RAW-R....h5 files")
    outcomes = []
    for path in paths:
        try:
            outcomes.append(_correct_file(path, out / corrected_name(path.name), constants, parameters))
        except CalibrationError as error:
            log.warning("%s: %s", path.name, error.message)
            outcomes.append(FileOutcome(input=FileRecord.of(path), outcome="failed", reason=error.message))
    return _manifest(parameters, outcomes)


def _manifest(parameters: Parameters, outcomes: Iterable[FileOutcome]) -> CalibrationManifest:
    return CalibrationManifest(
        code_version=code_version(), software=software(), parameters=parameters, files=tuple(outcomes)
    )


def _correct_file(raw_path: Path, out: Path, folder: Path, parameters: Parameters) -> FileOutcome:
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        with open_raw(raw_path) as raw:
            constants = read_constants(folder, raw.module)
            counts = _Counts()
            with create_corrected(part, raw, legacy_names=parameters.legacy_names) as corrected:
                kernel = _jungfrau(raw) if raw.module.detector is JUNGFRAU else _agipd(raw)
                for target, source in raw.blocks(max(1, BLOCK_FRAMES // _frames_per_row(raw))):
                    pixels = kernel(source, constants, parameters)
                    corrected.write(target, *pixels)
                    counts.add(pixels)
            outcome = _outcome(raw_path, part, out.name, raw, folder, constants, counts)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return outcome


_Pixels = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.uint32]]
_Kernel = Callable[[slice, ModuleConstants, Parameters], _Pixels]


def _frames_per_row(raw: RawFile) -> int:
    """JUNGFRAU stores all memory cells of a train in one row, AGIPD one frame per row."""
    return int(raw.dataset("adc").shape[1]) if raw.module.detector is JUNGFRAU else 1


def _jungfrau(raw: RawFile) -> _Kernel:
    adc, code, memory_cell = raw.dataset("adc"), raw.dataset("gain"), raw.dataset("memoryCell")
    slow, fast = raw.module.detector.frame
    single_cell = _frames_per_row(raw) == 1

    def kernel(rows: slice, constants: ModuleConstants, parameters: Parameters) -> _Pixels:
        cells = memory_cell[rows].reshape(-1)
        if single_cell and constants.cells == 1:  # then the number of the cell in use is arbitrary
            cells = np.where(cells == jungfrau.EMPTY_CELL, cells, 0)
        pixels = _empty((cells.size, slow, fast))
        jungfrau.correct(
            adc[rows].reshape(-1, slow, fast),
            code[rows].reshape(-1, slow, fast),
            cells,
            constants,
            energy=pixels[0],
            stage=pixels[1],
            mask=pixels[2],
            fixed_gain=parameters.fixed_gain,
        )
        return pixels

    return kernel


def _agipd(raw: RawFile) -> _Kernel:
    image, cell_id = raw.dataset("data"), raw.dataset("cellId")

    def kernel(rows: slice, constants: ModuleConstants, parameters: Parameters) -> _Pixels:
        cells = cell_id[rows].reshape(-1)
        pixels = _empty((cells.size, *raw.module.detector.frame))
        agipd.correct(image[rows], cells, constants, parameters, energy=pixels[0], stage=pixels[1], mask=pixels[2])
        return pixels

    return kernel


def _empty(shape: tuple[int, ...]) -> _Pixels:
    return np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.uint32)


@dataclass
class _Counts:
    """Adds up what the manifest says of the pixels."""

    frames: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, pixels: tuple[npt.NDArray[Any], npt.NDArray[np.uint8], npt.NDArray[np.uint32]]) -> None:
        _, stage, mask = pixels
        self.frames += stage.shape[0]
        for value, number in enumerate(np.bincount(stage.reshape(-1), minlength=3)):
            if number:
                self.stages["none" if value == jungfrau.NO_STAGE else str(value)] += int(number)
        self.reasons.update(count_by_reason(mask))


def _outcome(
    raw_path: Path,
    part: Path,
    name: str,
    raw: RawFile,
    folder: Path,
    constants: ModuleConstants,
    counts: _Counts,
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
        frames=counts.frames,
        pixels_by_stage=dict(sorted(counts.stages.items())),
        pixels_by_reason=dict(sorted(counts.reasons.items())),
    )
