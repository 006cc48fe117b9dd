"""What the REST interface shows of an entry."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from ..entries import Entry
from ..namespace import Namespace
from ..transitions import current_and_target, locality

_MEDIA = mimetypes.MimeTypes(filenames=())
_ALGORITHMS = {"md5": "MD5_TYPE"}
_NOWHERE = "0" * 36


@dataclass(frozen=True)
class Wanted:
    """What a request asks for beside the plain metadata."""

    children: bool = False
    locality: bool = False
    locations: bool = False
    qos: bool = False
    xattr: bool = False
    checksum: bool = False
    optional: bool = False

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """The parameters of a request; only `true` is true."""
        query = request.query_params
        return cls(**{name: query.get(name, "").lower() == "true" for name in cls.__dataclass_fields__})


def attributes(namespace: Namespace, entry: Entry, wanted: Wanted, *, child: bool = False) -> dict[str, Any]:
    """The JSON object of an entry; child: as one of a listing, which has its name. Times in ms, mode in decimal."""
    found: dict[str, Any] = {"fileName": entry.name} if child else {}
    found["fileMimeType"] = _media_type(entry)
    if wanted.locality and not entry.is_dir:
        found["fileLocality"] = locality(entry)
    if wanted.qos:
        found |= _classes(entry)
    found |= {"labels": sorted(entry.labels), "mtime": _ms(entry.modified), "mode": entry.mode}
    if entry.size is not None:
        found["size"] = entry.size
    found["creationTime"] = _ms(entry.created)
    if wanted.locations and not entry.is_dir:
        found["locations"] = list(entry.pools)
    found["fileType"] = "DIR" if entry.is_dir else "REGULAR"
    if wanted.checksum:
        found["checksums"] = [
            {"type": _ALGORITHMS.get(name, name.upper()), "value": value} for name, value in entry.checksums.items()
        ]
    if wanted.xattr:
        found["extendedAttributes"] = dict(entry.xattrs)
    if wanted.optional:
        found |= _optional(entry)
    found["nlink"] = 2 + namespace.subdirectories(entry.pnfsid) if entry.is_dir else 1
    found["pnfsId"] = entry.pnfsid
    return found


def _classes(entry: Entry) -> dict[str, Any]:
    current, target = current_and_target(entry)
    found: dict[str, Any] = {"currentQos": current}
    if target is not None:
        found["targetQos"] = target
    if entry.policy is not None:
        found |= {"qosPolicy": entry.policy, "qosState": entry.policy_state}
    return found


def _optional(entry: Entry) -> dict[str, Any]:
    storage_class, _, hsm = entry.storage.rpartition("@")
    store, _, group = storage_class.partition(":")
    details = {
        "storageClass": storage_class,
        "storageGroup": group,
        "store": store,
        "map": {
            "path": entry.path,
            "uid": str(entry.uid),
            "links": f"{entry.parent or _NOWHERE} {entry.name}",
            "gid": str(entry.gid),
            "StoreName": store,
        },
        "hsm": hsm,
        "setAddLocation": False,
        "bitfileId": "<Unknown>",
        "createdOnly": entry.is_dir or entry.size is None,
        "stored": entry.on_tape,
        "setHsm": False,
        "setStorageClass": False,
        "setBitFileId": False,
        "legacySize": 0,
        "legacyAccessLatency": {"id": 0},
        "legacyRetentionPolicy": {"id": 0},
    }
    return {
        "ctime": _ms(entry.changed),
        "storageClass": storage_class,
        "atime": _ms(entry.accessed),
        "suris": [f"{hsm}://{hsm}/{entry.pnfsid}"] if entry.on_tape else [],
        "owner": entry.uid,
        "group": entry.gid,
        "accessLatency": entry.latency,
        "retentionPolicy": entry.retention,
        "storageInfo": details,
        "hsm": hsm,
    }


def _media_type(entry: Entry) -> str:
    if entry.is_dir:
        return "application/vnd.dcache.folder"
    return _MEDIA.guess_type(entry.name)[0] or "application/octet-stream"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
