"""Gives the bytes of a file to a client."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from .. import checksums
from ..http1 import Request, Response
from ..records import Status
from ..web import answer, head
from .ranges import Unsatisfiable, wanted

if TYPE_CHECKING:
    from .mover import Mover, Pool

_GONE_AWAY = Status(10011, "Connection lost before end of file.")


def serve(pool: Pool, request: Request, mover: Mover) -> bool:
    """Answer the GET or HEAD of a redirected client. Raises ConnectionLost."""
    transfer, entry = mover.transfer, mover.entry
    size = transfer.size = transfer.door_size = entry.size or 0
    name = entry.pools[0] if entry.pools else pool.config.pool.name
    pool.begin(transfer, name)
    status = _GONE_AWAY
    pool.namespace.tell(entry, "IN_OPEN")
    try:
        try:
            parts = wanted(request.headers.get("range"), size)
        except Unsatisfiable:
            refused = Response(416, headers=[("Accept-Ranges", "bytes"), ("Content-Range", f"bytes */{size}")])
            open_ = answer(request, refused, pool.server, pool=True)
            status = Status()
            return open_
        try:
            file = pool.namespace.data_file(entry.pnfsid, name).open("rb")
        except FileNotFoundError:
            status = Status(10001, "No such file or directory")
            return answer(request, Response(404, reason="No such file or directory"), pool.server, pool=True)
        with file:
            open_ = _stream(pool, request, mover, file, parts)
        status = Status()
        return open_
    finally:
        transfer.mover_ended = time.time()
        if transfer.moved:
            pool.namespace.tell(entry, "IN_ACCESS")
        pool.namespace.tell(entry, "IN_CLOSE_NOWRITE")
        if not mover.told:
            mover.told = True
            pool.billing.transferred(transfer, status)


def _stream(pool: Pool, request: Request, mover: Mover, file: BinaryIO, parts: list[tuple[int, int]]) -> bool:
    entry, size = mover.entry, mover.entry.size or 0
    headers = [("Accept-Ranges", "bytes")]
    digest = checksums.digest(entry.checksums, request.headers.get("want-digest", ""))
    status = 206 if parts else 200
    boundary = secrets.token_hex(16)
    frames = [
        f"\r\n--{boundary}\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n".encode() for first, last in parts
    ]
    if len(parts) > 1:
        end = f"\r\n--{boundary}--\r\n".encode()
        length = sum(map(len, frames)) + sum(last - first + 1 for first, last in parts) + len(end)
        headers += [("Content-Length", str(length)), ("Content-Type", f"multipart/byteranges; boundary={boundary}")]
    elif parts:
        first, last = parts[0]
        headers += [("Content-Length", str(last - first + 1)), ("Content-Range", f"bytes {first}-{last}/{size}")]
        frames, end = [b""], b""
    else:
        headers += [
            ("Content-Length", str(size)),
            ("Content-Disposition", f"attachment;filename={quote(entry.name)}"),
            ("Content-Location", mover.door + quote(entry.path)),
        ]
        parts, frames, end = [(0, size - 1)], [b""], b""
    if digest is not None:
        headers.append(("Digest", digest))
    response = Response(status, headers=headers)
    open_ = request.connection.keep_alive
    connection = request.connection
    connection.send(head(request, response, pool.server, open_=open_, pool=True))
    if request.method == "HEAD":
        return open_
    transfer, begun = mover.transfer, time.perf_counter()

    def sent(count: int) -> None:
        transfer.moved += count
        transfer.busy = time.perf_counter() - begun

    for frame, (first, last) in zip(frames, parts, strict=True):
        if frame:
            connection.send(frame)
        connection.send_file(file, first, last - first + 1, sent)
    if end:
        connection.send(end)
    return open_
