"""Record a calibrated product: where it is, its size and checksums, and from what it was made.

Acts on the event of a manifest. The record is a JSON document, one per product, written below the folder
`catalogue` of a storage; the same product always gives the same record, so that a second try changes nothing.
Rule parameters, all optional: catalogue (folder, /data/catalogue), at (endpoint id, that of the event), proc, raw.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from xdc_testbed.actions.outcome import Arguments, Result, run
from xdc_testbed.actions.products import Product, verified
from xdc_testbed.actions.work import Work
from xdc_testbed.calibration.manifest import CalibrationManifest, FileRecord
from xdc_testbed.clients.errors import NotFound


class Replica(BaseModel):
    """One verified copy. checked: how the copy was compared with the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    path: str
    checked: Literal["size+adler32"] = "size+adler32"


class CatalogueRecord(BaseModel):
    """A dataset of one file.

    id: SHA-256 over name and provenance, which gives the same content each time; made_from: the raw file; provenance:
    the manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    id: str
    file: FileRecord
    made_from: FileRecord
    detector: str | None
    module: str | None
    trains: int
    frames: int
    replicas: tuple[Replica, ...]
    provenance: CalibrationManifest

    @classmethod
    def of(cls, product: Product, endpoint: str) -> CatalogueRecord:
        """The record of a product that was verified on an endpoint."""
        identity = f"{product.output.name}\0{product.manifest.to_json()}"
        return cls(
            id=hashlib.sha256(identity.encode()).hexdigest(),
            file=product.output,
            made_from=product.source,
            detector=product.outcome.detector,
            module=product.outcome.module,
            trains=product.outcome.trains,
            frames=product.outcome.frames,
            replicas=(Replica(endpoint=endpoint, path=product.path),),
            provenance=product.manifest,
        )

    def to_json(self) -> bytes:
        """The document; the same record always gives the same bytes."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def main(arguments: Arguments, started_at: float | None = None) -> Result:
    """Record the product whose manifest is `arguments["event"]`.

    Gives status "done" or "already-done", record (endpoint, path, id), product (path, size, adler32), and times
    (epoch seconds: started, recorded); or `error`.
    """
    return run(_catalogue, arguments, started_at)


def _catalogue(arguments: Arguments) -> Result:
    times = {"started": time.time()}
    work = Work.read(arguments)
    proc = work.parameter("proc", "/data/proc")
    product = verified(work.storage(), work.path, proc=proc, raw=work.parameter("raw", "/data/raw"))
    record = CatalogueRecord.of(product, work.endpoint)
    where = work.parameter("at", work.endpoint)
    storage = work.storage(where)
    relative = PurePosixPath(product.path).relative_to(proc)
    path = str(PurePosixPath(work.parameter("catalogue", "/data/catalogue")) / f"{relative}.json")
    result: dict[str, Any] = {
        "record": {"endpoint": where, "path": path, "id": record.id},
        "product": {"path": product.path, "size": product.output.size, "adler32": product.output.adler32},
        "times": times,
    }
    document = record.to_json()
    try:
        if storage.dav.get(path) == document:
            return {"status": "already-done", **result}
    except NotFound:
        pass
    part = work.part(path)
    with storage.removing(part):
        storage.make_folder(str(PurePosixPath(path).parent))
        storage.send(part, document)
        storage.publish(part, path)
    times["recorded"] = time.time()
    return {"status": "done", **result}
