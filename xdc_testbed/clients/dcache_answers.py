"""What dCache's frontend answers, as typed records: names and files, QoS classes, bulk and stage requests. Pure.

Field names are those of the product (`fileLocality`, `currentQos`, ...); which of them are there depends on what was
asked for, so most may be None. Source: dCache 11.2 and 12.0, REST API v1, as seen on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from xdc_testbed.clients.errors import StorageError, storage_error

Json: TypeAlias = dict[str, Any]

BULK_ENDED = frozenset({"COMPLETED", "CANCELLED"})
STAGE_ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class Busy(StorageError):
    """429: too many requests, channels or failed logins. retry_after: seconds that the frontend wants to be left."""

    def __init__(self, message: str, *, retry_after: float, body: str = "") -> None:
        super().__init__(message, status=429, body=body, remedy=f"ask again in {retry_after:g} s")
        self.retry_after = retry_after


@dataclass(frozen=True)
class FileInfo:
    """A name in the namespace.

    path: absolute; size: bytes, None while the first upload runs; checksums: {algorithm: lower-case hex}; times: epoch
    seconds; locality: ONLINE, NEARLINE, ONLINE_AND_NEARLINE, UNAVAILABLE, LOST or NONE; qos: the class now, target_qos:
    the one that it is on its way to; tape: URIs of its copies there. Checksums, locality, qos, changed and tape are
    told on request only.
    """

    path: str
    pnfsid: str
    is_directory: bool
    size: int | None
    modified: float
    created: float
    checksums: Mapping[str, str] = field(default_factory=dict)
    locality: str | None = None
    qos: str | None = None
    target_qos: str | None = None
    changed: float | None = None
    pools: tuple[str, ...] = ()
    tape: tuple[str, ...] = ()

    @property
    def on_tape(self) -> bool:
        """Whether a copy is on tape; False also when the locality was not asked for."""
        return "NEARLINE" in (self.locality or "")

    def has_class(self, name: str) -> bool:
        """Whether the file has this class, no transition pends, and a class with tape has a copy there: dCache calls
        a file `tape` before the copy exists.
        """
        settled = self.qos == name and self.target_qos in (None, name)
        return settled and ("tape" not in name or self.on_tape)

    @property
    def on_disk(self) -> bool:
        """Whether it can be read at once."""
        return "ONLINE" in (self.locality or "")


@dataclass(frozen=True)
class QosClass:
    """A QoS class. transitions: classes that a file of it can be changed to; metadata: the `cdmi_*` values."""

    name: str
    transitions: tuple[str, ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class TargetState:
    """One file of a bulk or stage request. state: COMPLETED, FAILED, CANCELLED, ...; error: the product's words."""

    path: str
    state: str
    error: str | None = None


@dataclass(frozen=True)
class BulkRequest:
    """A bulk request. status: QUEUED, STARTED, COMPLETED, ...; COMPLETED says nothing of the targets' fate."""

    id: str
    status: str
    targets: tuple[TargetState, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in BULK_ENDED


@dataclass(frozen=True)
class StageRequest:
    """A request of the WLCG tape REST API."""

    id: str
    files: tuple[TargetState, ...]

    @property
    def ended(self) -> bool:
        """Whether every file is on disk, failed or cancelled."""
        return all(each.state in STAGE_ENDED for each in self.files)


def file_info(path: str, told: Json) -> FileInfo:
    """The record of one name. Raises ValueError, KeyError or TypeError when it is none."""
    size = told.get("size")
    return FileInfo(
        path=path,
        pnfsid=str(told["pnfsId"]),
        is_directory=told["fileType"] == "DIR",
        size=int(size) if size is not None and told["fileType"] == "REGULAR" else None,
        modified=float(told["mtime"]) / 1000,
        created=float(told["creationTime"]) / 1000,
        checksums=checksums(told.get("checksums") or []),
        locality=told.get("fileLocality"),
        qos=told.get("currentQos"),
        target_qos=told.get("targetQos"),
        changed=float(told["ctime"]) / 1000 if "ctime" in told else None,
        pools=tuple(told.get("locations") or ()),
        tape=tuple(told.get("suris") or ()),
    )


def checksums(told: list[Json]) -> dict[str, str]:
    """`[{"type": "MD5_TYPE", "value": "..."}]` as {"md5": "..."}."""
    return {str(each["type"]).removesuffix("_TYPE").lower(): str(each["value"]).lower() for each in told}


def qos_class(told: Json) -> QosClass:
    """The record of a QoS class."""
    capability = told["backendCapability"]
    return QosClass(capability["name"], tuple(capability["transition"]), capability.get("metadata") or {})


def bulk_request(told: Json) -> BulkRequest:
    """The record of a bulk request."""
    targets = tuple(
        TargetState(str(each["target"]), str(each["state"]), each.get("errorMessage"))
        for each in told.get("targets") or ()
    )
    return BulkRequest(str(told["uid"]), str(told["status"]), targets)


def stage_request(told: Json) -> StageRequest:
    """The record of a stage request."""
    files = tuple(TargetState(str(each["path"]), str(each["state"]), each.get("error")) for each in told["files"])
    return StageRequest(str(told["id"]), files)


def refusal(
    what: str, status: int, headers: Mapping[str, str], body: str, *, authorization: str | None = None
) -> StorageError:
    """The error for an answer of 400 and more. what: method and URL, without credentials; authorization: as sent."""
    if status == 429:
        try:
            wait = float(headers.get("Retry-After", "1"))
        except ValueError:
            wait = 1.0
        return Busy(f"{what}: HTTP 429: {' '.join(body.split())[:200]}", retry_after=wait, body=body)
    return storage_error(what, status, body, authorization=authorization)
