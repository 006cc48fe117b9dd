"""PUT, MKCOL, DELETE and MOVE."""

from __future__ import annotations

import binascii
import contextlib
import posixpath
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from .. import checksums
from ..entries import AlreadyExists, BadName, Entry, NotADirectory, NotFound, clean
from ..http1 import ConnectionLost, Response
from ..pool import upload
from ..pool.mover import Mover
from ..pool.replica import PoolFull, TooLarge
from ..records import Status
from ..web import answer, plain
from . import properties
from .access import Call, Refused

if TYPE_CHECKING:
    from .door import Door

_GONE_AWAY = "Client disconnected while proxying an upload."
_KILLED = f"Transfer forcefully killed: Active transfer cancelled: {_GONE_AWAY}"


def put(door: Door, call: Call) -> bool:
    """Make a file: redirect to the pool a client that waits for 100, and take the bytes of any other."""
    request = call.request
    expected = _announced(call)
    line = door.access.parent(call, "UPLOAD")
    if not line[-1].is_dir:
        if line[-1].path != call.path:
            raise call.not_found()
        _make_room(door, call, line[-1])
    elif line[-1].path == call.path:
        raise Refused(plain(405, f"Cannot upload to the directory {call.path}"))
    if request.length is not None and request.length > _largest(door, call):
        raise Refused(plain(413, "File is too large"))
    secure = request.connection.secure
    redirect = request.wants_continue and door.config.webdav.redirect_on_write and request.length != 0
    protocol = ("Https" if secure else "Http") if redirect else "Http"
    transfer = door.transfer(call, is_write=True, protocol=protocol)
    entry = _new_file(door, call)
    transfer.entry, transfer.proxied = entry, not redirect
    transfer.door_size = request.length or 0
    algorithms = (*expected, *checksums.wanted_by(call.header("want-digest")))
    mover = Mover(transfer, entry, call.base, algorithms, expected)
    if redirect:
        where = f"{door.pool_url(secure)}{quote(entry.path)}?{door.pool.expect(mover)}"
        return answer(request, Response(307, headers=[("Location", where)]), door.server)
    return _proxied(door, call, mover)


def mkcol(door: Door, call: Call) -> bool:
    """Make a directory."""
    line = door.access.parent(call, "MANAGE")
    if line[-1].path == call.path:
        raise Refused(plain(405, f"Path exists: {call.path}"))
    try:
        door.namespace.mkdir(call.path, uid=call.subject.uid, gid=call.subject.gid)
    except NotFound:
        raise Refused(Response(409)) from None
    except AlreadyExists:
        raise Refused(plain(405, f"Path exists: {call.path}")) from None
    return answer(call.request, Response(201), door.server)


def delete(door: Door, call: Call) -> bool:
    """Remove a file, or a directory with all that is in it."""
    line = door.access.parent(call, "DELETE")
    if line[-1].path != call.path:
        raise call.not_found()
    if call.path == "/":
        raise call.forbidden()
    try:
        gone = door.namespace.remove(call.path, recursive=True)
    except NotFound:
        raise call.not_found() from None
    cell = door.cell(call.request.connection.secure)
    for entry in gone:
        if not entry.is_dir:
            door.billing.removed(cell, call.subject, entry, call.request.client)
    return answer(call.request, Response(204, headers=_tag(gone[-1])), door.server)


def move(door: Door, call: Call) -> bool:
    """Rename a file or directory."""
    door.access.existing(call, "READ_METADATA", 0)
    door.access.parent(call, "MANAGE")
    try:
        target = clean(unquote(urlsplit(call.header("destination") or "").path, errors="strict"))
    except (BadName, UnicodeDecodeError):
        target = "/"
    if target == "/":
        raise Refused(plain(400, "Received a bad MOVE request."))
    line = door.access.parent(call, "MANAGE", target)
    overwrite = (call.header("overwrite") or "T").strip().upper() != "F"
    existed = line[-1].path == target
    if existed and not overwrite:
        raise Refused(Response(412))
    try:
        if existed and line[-1].is_dir:
            door.namespace.remove(target, recursive=True)
        moved = door.namespace.rename(call.path, target, overwrite=overwrite)
    except NotFound as missing:
        raise Refused(Response(409)) from missing
    except (AlreadyExists, NotADirectory) as error:
        raise Refused(Response(412 if isinstance(error, AlreadyExists) else 409)) from error
    return answer(call.request, Response(204 if existed else 201, headers=_tag(moved)), door.server)


def _proxied(door: Door, call: Call, mover: Mover) -> bool:
    """Take the bytes in the name of a client that was not redirected."""
    request, transfer = call.request, mover.transfer
    transfer.host, transfer.port = request.client, 0
    transfer.local = door.pool.endpoints.get(False) or door.pool.endpoints.get(True)
    if request.wants_continue:
        request.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        entry = upload.receive(door.pool, request, mover)
    except ConnectionLost:
        door.billing.transferred(transfer, Status(10011, _GONE_AWAY), Status(666, _KILLED))
        door.pool.abandon(transfer, mover.entry)
        raise
    except upload.ChecksumWrong as wrong:
        door.billing.transferred(transfer, Status(10011, None), Status(10004, f"Post-processing failed: {wrong}"))
        door.pool.abandon(transfer, mover.entry)
        return answer(request, plain(400, "Received a bad PUT request."), door.server)
    except (PoolFull, TooLarge, NotFound) as error:
        status, reason = upload.refusal(error)
        door.billing.transferred(transfer, Status(10011, reason), Status(10006, reason))
        door.pool.abandon(transfer, mover.entry)
        return answer(request, plain(status, reason), door.server)
    door.billing.transferred(transfer)
    return answer(request, Response(201, headers=_tag(entry)), door.server)


def _make_room(door: Door, call: Call, old: Entry) -> None:
    """Remove what is to be overwritten, as the product does before the first byte comes."""
    if not call.subject.may("DELETE", call.path):
        raise call.forbidden()
    with contextlib.suppress(NotFound):
        door.namespace.remove(old.path)


def _new_file(door: Door, call: Call) -> Entry:
    """The entry of a new file, and of the directories above it that are missing."""
    uid, gid = call.subject.uid, call.subject.gid
    for attempt in (1, 2, 3):
        try:
            return door.namespace.create(call.path, uid=uid, gid=gid)
        except NotFound:
            _make_directories(door, posixpath.dirname(call.path), uid, gid)
        except AlreadyExists:
            if attempt == 3:
                raise Refused(plain(409, f"Another upload to {call.path} is running")) from None
            _make_room(door, call, door.namespace.get(call.path))
        except NotADirectory:
            raise call.not_found() from None
    raise Refused(Response(409))


def _make_directories(door: Door, path: str, uid: int, gid: int) -> None:
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts)):
        with contextlib.suppress(AlreadyExists):
            door.namespace.mkdir("/" + "/".join(parts[: depth + 1]), uid=uid, gid=gid)


def _announced(call: Call) -> dict[str, str]:
    """The checksum of Content-MD5, the only one that the product enforces on PUT."""
    given = call.header("content-md5")
    if given is None:
        return {}
    try:
        value = b64decode(given, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != 16:
        raise Refused(plain(400, "Received a bad PUT request."))
    return {"md5": value.hex()}


def _largest(door: Door, call: Call) -> int:
    limit = door.config.pool.largest_file
    limits = call.subject.limits
    if limits is not None and limits.largest_upload is not None:
        return min(limit, limits.largest_upload)
    return limit


def _tag(entry: Entry) -> list[tuple[str, str]]:
    return [("Accept-Ranges", "bytes"), ("ETag", properties.etag(entry))]
