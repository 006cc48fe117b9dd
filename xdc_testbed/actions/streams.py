"""Correct raw data into a file of a storage, which appears under its name when all of it is there and right.

Used by the action and by the command line; neither the raw file nor the corrected one is ever a file here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from xdc_testbed.actions.storage import Storage, require_same
from xdc_testbed.calibration import CalibrationManifest, Parameters, Ranges, calibrate_stream
from xdc_testbed.clients.digests import Content

if TYPE_CHECKING:
    from xdc_testbed.calibration.blocks import Progress
    from xdc_testbed.calibration.lit_frames import LitFrames
    from xdc_testbed.calibration.pipeline import ConstantsFolder


def calibrate_onto(
    storage: Storage,
    target: str,
    part: str,
    raw: Path | Ranges,
    constants: ConstantsFolder,
    *,
    parameters: Parameters,
    packed: Path | None = None,
    progress: Progress | None = None,
    lit_frames: LitFrames | None = None,
) -> CalibrationManifest:
    """Correct one raw file; otherwise as `calibration.calibrate_stream`.

    target: path of the corrected file, part: that of the unfinished one, which is removed when anything fails. Raises
    ActionFailed when the storage has other bytes than were sent.
    """
    storage.make_folder(str(PurePosixPath(target).parent))
    with storage.removing(part):
        manifest = calibrate_stream(
            raw,
            PurePosixPath(target).name,
            partial(storage.receive, part),
            constants,
            parameters=parameters,
            packed=packed,
            progress=progress,
            lit_frames=lit_frames,
        )
        (outcome,) = manifest.files
        if outcome.output is None:
            raise ValueError(f"{outcome.input.name} was not corrected")
        require_same(f"{target} as stored", storage.stat(part), Content(outcome.output.size, outcome.output.adler32))
        storage.publish(part, target)
    return manifest


def put_manifest(storage: Storage, target: str, part: str, manifest: CalibrationManifest) -> None:
    """Publish a manifest in the same way."""
    with storage.removing(part):
        storage.send(part, manifest.to_json().encode())
        storage.publish(part, target)
