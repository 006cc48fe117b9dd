"""Takes the bytes of an upload from a client into the pool and the namespace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from .. import checksums
from ..entries import Entry, NotFound
from ..http1 import ConnectionLost, Request, Response
from ..records import Status
from ..web import answer
from .replica import PoolFull, TooLarge, writing

if TYPE_CHECKING:
    from .mover import Mover, Pool

GONE_AWAY = "Connection lost before end of file."


class ChecksumWrong(Exception):
    """The bytes are not those that the client announced; checksums: what the namespace says of them then."""

    def __init__(self, text: str, found: Mapping[str, str]) -> None:
        super().__init__(text)
        self.checksums = dict(found)


def receive(pool: Pool, request: Request, mover: Mover) -> Entry:
    """Take the body of a request as the file of a mover, and commit it.

    Raises ConnectionLost, ChecksumWrong, PoolFull, TooLarge, NotFound (removed meanwhile). Then nothing is committed,
    and the mover's transfer knows how far it came.
    """
    transfer, entry, name = mover.transfer, mover.entry, pool.config.pool.name
    pool.begin(transfer, name)
    pool.namespace.tell(entry, "IN_OPEN")
    path = pool.namespace.data_file(entry.pnfsid, name)
    with writing(path, mover.algorithms, pool.config.pool.largest_file) as replica:
        try:
            for chunk in request.connection.body():
                if not replica.size:
                    pool.namespace.tell(entry, "IN_MODIFY")
                replica.write(chunk)
        finally:
            found = replica.close()
            transfer.moved = transfer.size = replica.size
            transfer.busy = replica.busy
            transfer.mover_ended = time.time()
            mover.partial = found
    problem = checksums.mismatch(mover.expected, found)
    if problem is not None:
        raise ChecksumWrong(problem, dict(mover.expected))
    committed = pool.namespace.commit(entry.pnfsid, size=replica.size, checksums=found, pool=name)
    transfer.entry, transfer.door_size = committed, replica.size
    return committed


def serve(pool: Pool, request: Request, mover: Mover) -> bool:
    """Answer the PUT of a redirected client. Raises ConnectionLost."""
    transfer = mover.transfer
    if request.wants_continue:
        request.connection.send(f"HTTP/1.1 100 Continue\r\nServer: {pool.server}\r\n\r\n".encode())
    try:
        receive(pool, request, mover)
    except ChecksumWrong as wrong:
        _keep(pool, mover, wrong.checksums)
        pool.billing.transferred(transfer, Status(10004, f"Post-processing failed: {wrong}"))
        return answer(request, Response(400, reason=str(wrong)), pool.server, pool=True)
    except ConnectionLost:
        _keep(pool, mover, mover.partial)
        pool.billing.transferred(transfer, Status(10004, GONE_AWAY))
        raise
    except (PoolFull, TooLarge, NotFound) as error:
        status, reason = refusal(error)
        pool.billing.transferred(transfer, Status(10006, reason))
        pool.abandon(transfer, mover.entry)
        return answer(request, Response(status, reason=reason), pool.server, pool=True)
    pool.billing.transferred(transfer)
    headers = [
        ("Content-Type", "text/plain; charset=UTF-8"),
        ("Location", mover.door + quote(mover.entry.path)),
        ("X-OC-MTime", "accepted"),
    ]
    text = f"{transfer.size} bytes uploaded\r\n\r\n".encode()
    return answer(request, Response(201, text, headers), pool.server, pool=True)


def refusal(error: PoolFull | TooLarge | NotFound) -> tuple[int, str]:
    """Status and reason for what went wrong on the side of the pool."""
    if isinstance(error, NotFound):
        return 409, "File was removed during the upload"
    return 507, "Pool is full" if isinstance(error, PoolFull) else "File is too large"


def _keep(pool: Pool, mover: Mover, found: Mapping[str, str]) -> None:
    """A redirected upload that failed leaves what came of it in the namespace, as in the product."""
    transfer = mover.transfer
    transfer.door_size = transfer.size
    with contextlib.suppress(NotFound):
        pool.namespace.commit(mover.entry.pnfsid, size=transfer.size, checksums=found, pool=transfer.pool, failed=True)
