"""Third-party copies as the cases make them: who is active, with what, and what has to be right afterwards."""

from __future__ import annotations

from xdc_testbed.clients.thirdparty import TransferResult
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.interop.capabilities import CHECKSUM
from xdc_testbed.interop.outcome import require
from xdc_testbed.interop.place import Folder
from xdc_testbed.interop.trial import Trial


def passive_token(trial: Trial, push: str = "create") -> str:
    """The least that the passive side has to be shown: reading for a pull, creating for a push (WLCG
    profile, HTTP-TPC). push: the right for a push, where creating is not enough. dCache asks for the checksum of
    what it has pushed, so that it has to read as well.
    """
    rights = [push] if trial.cell.direction == "push" else ["read"]
    if trial.cell.direction == "push" and trial.active.place.endpoint.product == "dcache":
        rights.append("read")
    return trial.passive.place.wallet.scoped(" ".join(f"storage.{right}:{trial.passive.path}" for right in rights))


def copy(
    trial: Trial,
    source: str,
    destination: str,
    *,
    token: str | None,
    overwrite: bool = True,
    active: WebDav | None = None,
) -> TransferResult:
    """Copy source (a path, or a URL when pulling) to destination in the cell's direction, with the cell's
    credential.

    token: for the passive side; active: another door of the active side. What came of it is noted as
    evidence.
    """
    door = active or trial.active.place.webdav(trial.cell.credential, trial.active.path)
    if trial.cell.direction == "push":
        result = door.copy_push(
            source,
            trial.destination.url(destination),
            destination_token=token,
            overwrite=overwrite,
            timeout=trial.left(),
        )
    else:
        url = source if source.startswith("https://") else trial.source.url(source)
        result = door.copy_pull(url, destination, source_token=token, overwrite=overwrite, timeout=trial.left())
    trial.note("status", result.status)
    trial.note("verdict", "success" if result.ok else f"failure: {result.message}"[:300])
    trial.note("markers", len(result.markers))
    return result


def require_copied(trial: Trial, result: TransferResult, path: str, data: bytes) -> None:
    """Raise Wrong unless the copy succeeded and the destination holds just these bytes, with their
    checksum.
    """
    require(result.ok, f"the copy failed: HTTP {result.status}: {result.message}")
    trial.destination.require_content(path, data)


def require_failed(trial: Trial, result: TransferResult, path: str, why: str) -> None:
    """Raise Wrong unless the copy failed and left nothing at the destination."""
    require(not result.ok, f"the copy is said to have succeeded {why}")
    trial.destination.require_absent(path, f"a {trial.cell.direction} that failed {why}")


def adler32_of(folder: Folder, path: str) -> str:
    """What an endpoint tells as the checksum of a file, over https; of a cache that can tell none, its origin."""
    place = folder.place if CHECKSUM in folder.place.endpoint.capabilities else folder.place.writable
    return place.admin().head(path).checksums.get("adler32", "nothing")
