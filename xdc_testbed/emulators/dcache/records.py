"""The billing records of the product, one function per kind, with its keys, spelling and oddities.

Read off true records of 11.2.5 and 12.0.1: `VERSION` in a door's and `version` in a pool's, `filesize` in a hit,
`isWrite` a word, no `status.msg` where the product has no text, bandwidths only where bytes were moved.
Times are seconds, sizes bytes; what the product gives in milliseconds is a whole number of them.
"""

from __future__ import annotations

import base64
import datetime
import itertools
import secrets
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from .entries import Entry
from .subject import Subject

Record = dict[str, Any]
ROOT = ["UidPrincipal[0]", "GidPrincipal[0,primary]"]
UNKNOWN = "Unknown"
CLEANED = "cleaner-disk@dCacheDomain [PoolRemoveFiles]"
VANISHED = "Transfer failed and file no longer exists in namespace"
_counter = itertools.count(1)
_role_hash = struct.unpack(">q", secrets.token_bytes(8))[0]


@dataclass(frozen=True, slots=True)
class Status:
    """code 0: it went well. msg None: the record has none."""

    code: int = 0
    msg: str | None = ""

    @property
    def record(self) -> Record:
        """As it stands in a record."""
        return {"code": self.code} if self.msg is None else {"msg": self.msg, "code": self.code}


GOOD = Status()


@dataclass(slots=True)
class Transfer:
    """One transfer of a file between a client, or a third party, and a pool, and what the records of it need.

    door: cell of the door; session: of the door; pool, pool_session: of the mover; protocol: as in protocolInfo; host,
    port: of the other side; local: `address:port` of the pool's side; moved: bytes; busy: seconds spent in moving them.
    """

    door: str
    domain: str
    session: str
    subject: Subject
    path: str
    client: str
    is_write: bool
    protocol: str
    entry: Entry | None = None
    pool: str = ""
    pool_session: str = ""
    host: str = ""
    port: int = 0
    local: str | None = None
    tag: str = ""
    begun: float = field(default_factory=time.time)
    mover_begun: float | None = None
    mover_ended: float | None = None
    moved: int = 0
    busy: float = 0.0
    proxied: bool = False
    size: int = 0
    """Of the file in the pool when the transfer ended."""
    door_size: int = 0
    """Of the file as the door sees it."""


def door_session(cell: str, domain: str) -> str:
    """A session id of a door: `door:<cell>@<domain>:<8 random-looking bytes>:<microseconds>`."""
    now = int(time.time() * 1000)
    unique = base64.b64encode(struct.pack(">Q", now << 12 | next(_counter) & 0xFFF)).decode().rstrip("=")
    return f"door:{cell}@{domain}:{unique}:{now * 1000}"


def cell_session(kind: str, cell: str, domain: str) -> str:
    """A session id of a pool or of the transfer manager: `<kind>:<cell>@<domain>:<milliseconds>-<number>`."""
    return f"{kind}:{cell}@{domain}:{int(time.time() * 1000)}-{next(_counter)}"


def instant(moment: float | None = None) -> str:
    """ISO 8601 with milliseconds whose trailing zeros are left out, in UTC."""
    when = datetime.datetime.fromtimestamp(time.time() if moment is None else moment, datetime.UTC)
    fraction = f"{when.microsecond // 1000:03d}".rstrip("0")
    return f"{when:%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}Z"


def duration(seconds: float) -> str:
    """ISO 8601 with nanoseconds whose trailing zeros are left out."""
    text = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"PT{text if text not in {'-0', ''} else '0'}S"


def principals(subject: Subject) -> list[str]:
    """The subject as the product prints its principals."""
    if subject.anonymous:
        return [f"Origin[{subject.origin}]"] if subject.origin else []
    first, *others = subject.gids
    found = [f"Origin[{subject.origin}]"] if subject.origin else []
    if subject.dn:
        found.append(subject.dn)
    found += [
        f"UserNamePrincipal[{subject.username}]",
        f"UidPrincipal[{subject.uid}]",
        f"GidPrincipal[{first},primary]",
    ]
    found += [f"GidPrincipal[{gid}]" for gid in others]
    return [*found, f"MacaroonPrincipal[{subject.token_id}]" if subject.token_id else f"RolePrincipal[{_role_hash}]"]


def request(transfer: Transfer, status: Status, *, mover: bool) -> Record:
    """What a door says of a transfer; mover: with moverInfo, as on path A."""
    entry = transfer.entry
    third_party = transfer.door == "RemoteTransferManager"
    record = _door("request", transfer.door, transfer.domain, transfer.session, transfer.subject, transfer.path, status)
    record |= {
        "date": instant(transfer.begun if third_party else None),
        "sessionDuration": int((time.time() - transfer.begun) * 1000),
        "client": transfer.client,
        "clientChain": "unknown" if third_party else transfer.client,
        "fileSize": 0 if third_party else transfer.door_size,
    }
    if entry is not None:
        record["storageInfo"] = entry.storage
        if not (third_party and transfer.is_write):
            record["pnfsid"] = entry.pnfsid
    if mover and transfer.pool and not third_party and not (transfer.proxied and status.code):
        left = {"subject", "pnfsid", "fileSize", "initiator", "billingPath", "storageInfo"}
        record["moverInfo"] = {key: value for key, value in moved(transfer, status).items() if key not in left}
    return record


def removed_by_door(cell: str, domain: str, subject: Subject, entry: Entry, client: str) -> Record:
    """What a door says of a file that a client removed."""
    session = cell_session("door", cell, domain)
    record = _door("remove", cell, domain, session, subject, entry.path, GOOD)
    return record | {
        "date": instant(),
        "sessionDuration": 0,
        "client": client,
        "clientChain": "unknown",
        "fileSize": entry.size or 0,
        "pnfsid": entry.pnfsid,
    }


def moved(transfer: Transfer, status: Status) -> Record:
    """What a pool says of a transfer."""
    entry = transfer.entry
    begun = transfer.mover_begun or transfer.begun
    ended = transfer.mover_ended or time.time()
    record = _pool("transfer", transfer.pool, transfer.domain, transfer.pool_session, status, ended) | {
        "subject": principals(transfer.subject),
        "initiator": transfer.session,
        "transferPath": transfer.path,
        "billingPath": transfer.path,
        "isP2p": False,
        "isWrite": "write" if transfer.is_write else "read",
        "transferTime": int((ended - begun) * 1000),
        "transferSize": transfer.moved,
        "fileSize": transfer.size,
        "protocolInfo": _protocol(transfer.protocol, transfer.host, transfer.port, transfer.tag),
    }
    if entry is not None:
        record |= {"storageInfo": entry.storage, "pnfsid": entry.pnfsid}
    if transfer.local is not None:
        record["localEndpoint"] = transfer.local
    if transfer.moved:
        word = "write" if transfer.is_write else "read"
        busy = max(transfer.busy, 1e-6)
        record[f"mean{word.title()}Bandwidth"] = transfer.moved / busy
        record[f"{word}Active"] = duration(busy)
        record[f"{word}Idle"] = duration(ended - begun - busy)
    return record


def pool_to_pool(entry: Entry, source: str, target: str, domain: str, address: str, seconds: float) -> Record:
    """The one record of a copy from pool to pool, which the source sends."""
    record = _pool("transfer", source, domain, cell_session("pool", source, domain), GOOD, None)
    size = entry.size or 0
    busy = max(seconds, 1e-6)
    return record | {
        "subject": ROOT,
        "initiator": cell_session("pool", target, domain).rpartition(":")[0],
        "transferPath": UNKNOWN,
        "billingPath": UNKNOWN,
        "isP2p": True,
        "isWrite": "read",
        "transferTime": int(seconds * 1000),
        "transferSize": size,
        "fileSize": size,
        "protocolInfo": _protocol("Http", address, 0, ""),
        "storageInfo": entry.storage,
        "pnfsid": entry.pnfsid,
        "meanReadBandwidth": size / busy,
        "readActive": duration(busy),
        "readIdle": duration(0.0),
    }


def hit(entry: Entry, pool: str, domain: str, protocol: str, *, cached: bool = True) -> Record:
    """A file that is to be read was found on a pool; protocol: `<name>-<version>:...`."""
    return {
        "version": "1.0",
        "msgType": "hit",
        "date": instant(),
        "cellName": pool,
        "cellType": "pool",
        "cellDomain": domain,
        "status": GOOD.record,
        "pnfsid": entry.pnfsid,
        "filesize": entry.size or 0,
        "billingPath": entry.path,
        "protocol": protocol,
        "cached": cached,
        "storageInfo": entry.storage,
    }


def warning(cell: str, domain: str, status: Status) -> Record:
    """Something that the pool manager warns of."""
    return {
        "version": "1.0",
        "msgType": "warning",
        "date": instant(),
        "cellName": cell,
        "cellType": "PoolManager",
        "cellDomain": domain,
        "status": status.record,
    }


def tape(kind: str, entry: Entry, pool: str, domain: str, *, seconds: float, queued: float = 0.0) -> Record:
    """kind `store`: a file has gone to tape; `restore`: it has come back, which knows no path."""
    session = cell_session("pool", pool, domain)
    hsm = entry.storage.rpartition("@")[2]
    return _pool(kind, pool, domain, session, GOOD, None) | {
        "transaction": session,
        "queuingTime": int(queued * 1000),
        "hsm": {"instance": hsm, "provider": "copy", "type": hsm},
        "locations": [f"{hsm}://{hsm}/{entry.pnfsid}"],
        "transferTime": int(seconds * 1000),
        "pnfsid": entry.pnfsid,
        "fileSize": entry.size or 0,
        "billingPath": entry.path if kind == "store" else UNKNOWN,
        "storageInfo": entry.storage,
    }


def removed_by_pool(entry: Entry, pool: str, domain: str, why: str = CLEANED) -> Record:
    """A replica has gone."""
    session = cell_session("pool", pool, domain)
    return _pool("remove", pool, domain, session, Status(0, why), None) | {
        "transaction": session,
        "subject": ROOT,
        "pnfsid": entry.pnfsid,
        "billingPath": UNKNOWN,
        "fileSize": entry.size or 0,
        "storageInfo": entry.storage,
    }


def _door(kind: str, cell: str, domain: str, session: str, subject: Subject, path: str, status: Status) -> Record:
    record: Record = {
        "VERSION": "1.0",
        "msgType": kind,
        "queuingTime": 0,
        "cellName": cell,
        "cellType": "door",
        "cellDomain": domain,
        "status": status.record,
        "session": session,
        "transferPath": path,
        "billingPath": path,
        "subject": principals(subject),
        "mappedUID": subject.uid,
        "mappedGID": subject.gid,
    }
    if not subject.anonymous:
        record["owner"] = subject.dn or subject.username
    return record


def _pool(kind: str, cell: str, domain: str, session: str, status: Status, moment: float | None) -> Record:
    return {
        "version": "1.0",
        "msgType": kind,
        "date": instant(moment),
        "queuingTime": 0,
        "cellName": cell,
        "cellType": "pool",
        "cellDomain": domain,
        "status": status.record,
        "session": session,
    }


def _protocol(name: str, host: str, port: int, tag: str) -> Record:
    return {"protocol": name, "port": port, "host": host, "transferTag": tag, "versionMajor": 1, "versionMinor": 1}
