"""Records of a running dCache (captures) and such as a dCache might send, for the tests of the sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CAPTURES = Path(__file__).parents[3] / "contract" / "dcache" / "captures" / "kafka"
PNFSID = "0000B52AA437EF2245769BA1ED28B556BCBF"


def captured(name: str, path: str = "ab") -> list[bytes]:
    """The records of <name>.jsonl, in their order. path: publishing paths, `a`, `b` or both."""
    lines = [json.loads(line) for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()]
    return [line["value"].encode() for line in lines if line["topic"][-1] in path]


def upload(path: str = "/data/a.h5", *, pnfsid: str = PNFSID, without: str = "", **changes: Any) -> bytes:
    """The pool's record of an upload as captured, with other values."""
    told = json.loads(next(each for each in captured("webdav-http-upload") if b'"msgType":"transfer"' in each))
    told |= {"billingPath": path, "transferPath": path, "pnfsid": pnfsid, **changes}
    told.pop(without, None)
    return json.dumps(told).encode()


def by_xrootd(record: bytes, **changes: Any) -> bytes:
    """A captured record as an anonymous xrootd door makes the same go: as was observed, its records were not captured.

    There is no owner, nobody in subject, and uid and gid are -1.
    """
    told = json.loads(record) | {"subject": []}
    told.pop("owner", None)
    if told["cellType"] == "door":
        told |= {"cellName": "Xrootd-vm", "mappedUID": -1, "mappedGID": -1}
    if "protocolInfo" in told:
        told["protocolInfo"] |= {"protocol": "Xrootd", "versionMajor": 5, "versionMinor": 0}
    return json.dumps(told | changes).encode()
