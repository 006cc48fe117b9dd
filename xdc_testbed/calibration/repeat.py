"""Repeat a calibration from its manifest, and compare what comes out with what came out then.

The inputs must be the recorded ones; of the constants, exactly the recorded versions are taken, whatever was added
since. Other code or software is no obstacle: whether it gives the same bytes is the question.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.calibration.failures import CalibrationError, ConstantsMissing, InputChanged, InputInvalid
from xdc_testbed.calibration.lit_frames import LitFrames, read_lit_frames
from xdc_testbed.calibration.manifest import CalibrationManifest, FileOutcome, FileRecord, code_version, software
from xdc_testbed.calibration.pipeline import Watch, calibrate_file, corrected_name, failed


@dataclass(frozen=True)
class Repetition:
    """What came of it. differences: name of a raw file -> in what its outcome differs from the recorded one; changed:
    what is not as it was when the manifest was written, one line each.
    """

    manifest: CalibrationManifest
    differences: dict[str, str]
    changed: tuple[str, ...]


def repeat(
    recorded: CalibrationManifest,
    raw: Path,
    out: Path,
    constants: Path,
    *,
    packed: Path | None = None,
    watch: Watch | None = None,
    lit_frames: Path | None = None,
) -> Repetition:
    """Correct the files of a manifest again. raw: the folder they are in, or the one file; lit_frames: where the lit
    frame finder's data are, when they were used and are not in `raw`. Raises InputChanged when these are other ones.
    """
    lit = read_lit_frames(lit_frames or raw) if recorded.lit_frames else None
    if lit is not None and lit.files != recorded.lit_frames:
        raise InputChanged(
            "the lit frame finder's files are not those that the manifest names",
            remedy=f"give --lit-frames with {', '.join(file.name for file in recorded.lit_frames)}",
        )
    out.mkdir(parents=True, exist_ok=True)
    outcomes, differences = [], {}
    for before in recorded.files:
        path = raw / before.input.name if raw.is_dir() else raw
        outcome = _again(recorded, before, path, out, constants, packed, watch, lit)
        outcomes.append(outcome)
        why = _difference(before, outcome)
        if why:
            differences[before.input.name] = why
    manifest = recorded.model_copy(
        update={"files": tuple(outcomes), "code_version": code_version(), "software": software()}
    )
    return Repetition(manifest, differences, tuple(_changes(recorded, manifest)))


def _again(
    recorded: CalibrationManifest,
    before: FileOutcome,
    path: Path,
    out: Path,
    constants: Path,
    packed: Path | None,
    watch: Watch | None,
    lit: LitFrames | None,
) -> FileOutcome:
    if not path.is_file():
        missing = InputInvalid(f"{path.name} is not there", remedy="give the folder of the raw files")
        return before.model_copy(update={"outcome": "failed", "failure": missing.name, "reason": missing.message,
                                         "output": None})  # fmt: skip
    try:
        if FileRecord.of(path) != before.input:
            raise InputChanged(f"{path.name} is not the file that the manifest names")
        with tempfile.TemporaryDirectory(prefix="xdc-repeat-") as folder:
            chosen = _recorded_constants(before, constants, Path(folder))
            target = out / corrected_name(path.name)
            again = calibrate_file(
                path, target, chosen, parameters=recorded.parameters, packed=packed, lit_frames=lit,
                progress=None if watch is None else lambda done, of: watch(path.name, done, of),
                streamed=before.streamed,
            )  # fmt: skip
            return again.files[0]
    except CalibrationError as error:
        return failed(path, error)


def _recorded_constants(before: FileOutcome, constants: Path, folder: Path) -> Path:
    """A folder that holds the recorded versions only. A file that failed then meets all there are."""
    if before.constants is None:
        return constants
    for file in before.constants.files:
        path = constants / file.name
        if not path.is_file() or FileRecord.of(path, file.name) != file:
            raise ConstantsMissing(
                f"constants {file.name} are not there as the manifest names them",
                remedy="give the folder of constants that was used then",
            )
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).symlink_to(path.resolve())
    return folder


def _difference(before: FileOutcome, again: FileOutcome) -> str | None:
    if before.outcome != again.outcome or before.failure != again.failure:
        return again.reason or f"it was not corrected then: {before.reason}"
    if before.output != again.output:
        return "the corrected file is another one"
    same = ("trains", "trains_without_data", "trains_dropped", "frames", "pixels_by_stage", "pixels_by_reason")
    return next((f"{name} differ" for name in same if getattr(before, name) != getattr(again, name)), None)


def _changes(before: CalibrationManifest, now: CalibrationManifest) -> list[str]:
    changed = []
    if before.code_version != now.code_version:
        changed.append(f"code is {now.code_version}, was {before.code_version}")
    names = sorted(before.software.keys() | now.software.keys())
    changed += [
        f"{name} is {now.software.get(name, 'not there')}, was {before.software.get(name, 'not there')}"
        for name in names
        if before.software.get(name) != now.software.get(name)
    ]
    return changed
