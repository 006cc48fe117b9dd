"""A calibrated product as its manifest describes it, compared with what a storage holds.

The manifest of `/data/proc/r0001/CORR-R0001-JNGFR01-S00000.h5` lies beside it, is written last, and names the
raw file that went in. Whoever acts because a product has arrived starts here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import ValidationError

from xdc_testbed.actions.outcome import ActionFailed
from xdc_testbed.actions.storage import Storage, require_same
from xdc_testbed.calibration.manifest import CalibrationManifest, FileOutcome, FileRecord
from xdc_testbed.clients.digests import Content
from xdc_testbed.clients.errors import NotFound

MANIFEST = ".manifest.json"


@dataclass(frozen=True)
class Product:
    """A corrected file that was found as its manifest says.

    path: of the corrected file; output, source: corrected and raw file by content; raw: path of the raw file,
    by the layout `<proc>/<run>/CORR-*` from `<raw>/<run>/RAW-*`.
    """

    path: str
    raw: str
    manifest: CalibrationManifest
    outcome: FileOutcome
    output: FileRecord

    @property
    def source(self) -> FileRecord:
        """The raw file, as it was read."""
        return self.outcome.input


def verified(storage: Storage, manifest_path: str, *, proc: str, raw: str) -> Product:
    """Read a manifest and compare the corrected file beside it by size and Adler-32.

    proc, raw: folders of corrected and raw data. Raises ActionFailed: final for something that is no manifest
    of a corrected file below proc, to be retried while the file is not there or not yet whole.
    """
    if not manifest_path.endswith(MANIFEST):
        raise ActionFailed(f"{manifest_path} is no manifest: its name does not end in {MANIFEST}", retry=False)
    path = PurePosixPath(manifest_path.removesuffix(MANIFEST))
    if PurePosixPath(proc) not in path.parents:
        raise ActionFailed(f"{path} is not below {proc}", retry=False)
    try:
        manifest = CalibrationManifest.model_validate_json(storage.dav.get(manifest_path))
    except NotFound:
        raise ActionFailed(f"manifest has vanished: {manifest_path}", retry=False) from None
    except ValidationError as error:
        raise ActionFailed(f"{manifest_path} is no manifest: {error.errors()[0]['msg']}", retry=False) from error
    outcome = next((file for file in manifest.files if file.output and file.output.name == path.name), None)
    if outcome is None or outcome.output is None:
        raise ActionFailed(f"{manifest_path} does not name a corrected file {path.name}", retry=False)
    output = outcome.output
    require_same(str(path), storage.stat(str(path)), Content(output.size, output.adler32))
    folder = PurePosixPath(raw) / path.parent.relative_to(proc)
    return Product(str(path), str(folder / outcome.input.name), manifest, outcome, output)
