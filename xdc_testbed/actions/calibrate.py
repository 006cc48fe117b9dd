"""Correct one raw file where it lies: its bytes are read, corrected and uploaded at the same time, without a file here,
and published when all of them are right; the manifest comes last.

`/data/raw/r0001/RAW-R0001-JNGFR01-S00000.h5` becomes `/data/proc/r0001/CORR-R0001-JNGFR01-S00000.h5` and,
when that is there, `CORR-R0001-JNGFR01-S00000.h5.manifest.json`. A manifest of the same input, constants,
parameters and code says that the work is done; newer constants that came after it do not start it again. Rule
parameters, all optional: raw, proc, cal (folders on the storage), correction (see `calibration.Parameters`), cache
(local folder for constants).
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from xdc_testbed.actions.constants_cache import ConstantsCache, gather
from xdc_testbed.actions.outcome import ActionFailed, Arguments, Result, run
from xdc_testbed.actions.storage import Storage, require_same
from xdc_testbed.actions.streams import calibrate_onto, put_manifest
from xdc_testbed.actions.work import Work
from xdc_testbed.calibration import CalibrationManifest, Parameters
from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.manifest import FileRecord, code_version
from xdc_testbed.calibration.pipeline import corrected_name
from xdc_testbed.clients.digests import Content
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.remote_file import RemoteFile


def main(arguments: Arguments, started_at: float | None = None) -> Result:
    """Correct the file of `arguments["event"]`.

    Gives status "done" or "already-done", input and output (endpoint, path, size, adler32), manifest (its
    path), trains, frames, and times (epoch seconds: started; opened, with the raw file's description read and constants
    here; calibrated, with the last frames corrected; uploaded, under its name; published, with its manifest); or
    `error`.
    """
    return run(_calibrate, arguments, started_at)


@dataclass(frozen=True)
class _Job:
    """source, target: paths on the storage; raw: the raw file there."""

    work: Work
    storage: Storage
    raw: RemoteFile
    source: str
    target: str
    cal: PurePosixPath
    parameters: Parameters

    @property
    def manifest(self) -> str:
        return f"{self.target}.manifest.json"


def _calibrate(arguments: Arguments) -> Result:
    times = {"started": time.time()}
    job = _job(Work.read(arguments))
    done = _already_done(job)
    if done is not None:
        return _result(job, "already-done", done, times)
    cache = ConstantsCache.at(job.work.arguments.get("cache"))
    with tempfile.TemporaryDirectory(prefix="xdc-calibrate-") as folder:

        def constants(module: Module) -> Path:
            gather(job.storage, str(job.cal), module, cache, Path(folder))
            times["opened"] = time.time()
            return Path(folder)

        def progress(*_: int) -> None:
            times["calibrated"] = time.time()

        manifest = calibrate_onto(
            job.storage,
            job.target,
            job.work.part(job.target),
            job.raw,
            constants,
            parameters=job.parameters,
            packed=cache.packed,
            progress=progress,
        )
    times["uploaded"] = time.time()
    times.setdefault("calibrated", times["uploaded"])  # a file without frames has no progress
    put_manifest(job.storage, job.manifest, job.work.part(job.manifest), manifest)
    times["published"] = time.time()
    return _result(job, "done", manifest, times)


def _job(work: Work) -> _Job:
    source = PurePosixPath(work.path)
    raw, proc = (PurePosixPath(work.parameter(name, f"/data/{name}")) for name in ("raw", "proc"))
    if not source.is_relative_to(raw):
        raise ActionFailed(f"{source} is not below {raw}", retry=False)
    storage = work.storage()
    try:
        file = storage.open(work.path)
    except NotFound:
        raise ActionFailed(f"source has vanished: {source}", retry=False) from None
    if work.size is not None:
        have = Content(file.size, file.adler32)
        require_same(f"{source} on {work.endpoint}", have, Content(work.size, work.adler32 or ""))
    try:
        parameters = Parameters.model_validate(work.arguments.get("correction") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ActionFailed(f"parameter correction.{where}: {first['msg']}", retry=False) from error
    return _Job(
        work=work,
        storage=storage,
        raw=file,
        source=work.path,
        target=str(proc / source.relative_to(raw).with_name(corrected_name(source.name))),
        cal=PurePosixPath(work.parameter("cal", "/data/cal")),
        parameters=parameters,
    )


def _already_done(job: _Job) -> CalibrationManifest | None:
    """The manifest of the same work, when there is one and everything it names is still what it was."""
    try:
        manifest = CalibrationManifest.model_validate_json(job.storage.dav.get(job.manifest))
    except (NotFound, ValidationError):
        return None
    (outcome,) = manifest.files[:1] or (None,)
    if outcome is None or outcome.output is None or outcome.constants is None:
        return None
    same = (
        manifest.code_version == code_version()
        and manifest.parameters == job.parameters
        and _is(outcome.input, Content(job.raw.size, job.raw.adler32))
        and all(_is(file, job.storage.stat(str(job.cal / file.name))) for file in outcome.constants.files)
        and _is(outcome.output, job.storage.stat(job.target))
    )
    return manifest if same else None


def _is(record: FileRecord, content: Content | None) -> bool:
    """Whether a stored file is the recorded one; without a checksum from the storage that is not known."""
    return content is not None and (record.size, record.adler32) == (content.size, content.adler32)


def _result(job: _Job, status: str, manifest: CalibrationManifest, times: dict[str, float]) -> Result:
    outcome = manifest.files[0]
    return {
        "status": status,
        "input": _file(job, job.source, outcome.input),
        "output": _file(job, job.target, outcome.output),
        "manifest": job.manifest,
        "detector": outcome.detector,
        "module": outcome.module,
        "trains": outcome.trains,
        "trains_without_data": outcome.trains_without_data,
        "frames": outcome.frames,
        "times": times,
    }


def _file(job: _Job, path: str, record: FileRecord | None) -> dict[str, Any]:
    known = {"size": record.size, "adler32": record.adler32} if record else {}
    return {"endpoint": job.work.endpoint, "path": path, **known}
