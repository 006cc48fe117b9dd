"""GET, HEAD, OPTIONS and PROPFIND."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from .. import checksums
from ..entries import Entry
from ..http1 import Response, http_date
from ..pool import download
from ..pool.mover import Mover
from ..subject import permits
from ..web import answer
from . import properties
from .access import EXECUTE, READ, Call, Refused

if TYPE_CHECKING:
    from .door import Door

_LARGEST_QUERY = 1 << 20
_INFINITY = 3
"""How deep `Depth: infinity` goes."""


def get(door: Door, call: Call) -> bool:
    """Redirect to the pool that has the file, or list a directory."""
    entry = door.access.existing(call, "READ_METADATA", 0)
    if entry.is_dir:
        return _listing(door, call)
    entry = door.access.existing(call, "DOWNLOAD", READ)
    if entry.size is None:
        raise call.not_found()
    secure = call.request.connection.secure
    transfer = door.transfer(call, is_write=False, protocol="Https" if secure else "Http")
    if not entry.pools:
        entry = door.stage(call, entry)
    transfer.entry, transfer.door_size = entry, entry.size or 0
    protocol = f"{transfer.protocol}-1.1:{call.request.client}:{call.request.connection.peer[1]}"
    door.billing.hit(entry, entry.pools[0], f"{protocol}:{transfer.door}:{transfer.domain}:{entry.path}")
    mover = Mover(transfer, entry, call.base)
    if not door.config.webdav.redirect_on_read:
        transfer.port, transfer.proxied = 0, True
        transfer.local = door.pool.endpoints.get(secure)
        return download.serve(door.pool, call.request, mover)
    where = f"{door.pool_url(secure)}{quote(entry.path)}?{door.pool.expect(mover)}"
    return answer(call.request, Response(302, headers=[("Location", where)]), door.server)


def head(door: Door, call: Call) -> bool:
    """What a GET would say of the file, without a redirect."""
    entry = door.access.existing(call, "READ_METADATA", 0)
    headers = _facts(call, entry)
    if entry.is_dir:
        headers.append(("Content-Type", "text/html;charset=utf-8"))
    else:
        headers += [
            ("Content-Length", str(entry.size or 0)),
            ("Content-Type", properties.content_type(entry)),
        ]
        digest = checksums.digest(entry.checksums, call.header("want-digest") or "")
        if digest is not None:
            headers.append(("Digest", digest))
    return answer(call.request, Response(200, headers=headers), door.server)


def options(door: Door, call: Call) -> bool:
    """Nothing but a good status, as the product answers."""
    return answer(call.request, Response(200), door.server)


def propfind(door: Door, call: Call) -> bool:
    """Properties of an entry, and of what a directory holds."""
    body = b""
    for chunk in call.request.connection.body():
        body += chunk
        if len(body) > _LARGEST_QUERY:
            raise Refused(Response(413))
    try:
        names = properties.wanted(body)
    except properties.BadPropfind:
        raise Refused(Response(400)) from None
    entry = door.access.existing(call, "READ_METADATA", 0)
    depth = {"0": 0, "1": 1}.get((call.header("depth") or "infinity").strip(), _INFINITY)
    entries = [entry]
    if depth and entry.is_dir:
        door.access.existing(call, "LIST", READ | EXECUTE)
        _collect(door, call, entry, depth, entries.append)
    headers = [("Content-Type", "application/xml; charset=utf-8"), ("DAV", "1, 2")]
    response = Response(207, properties.multistatus(entries, names), headers, "Multi-status")
    return answer(call.request, response, door.server)


def _collect(door: Door, call: Call, directory: Entry, depth: int, take: Callable[[Entry], None]) -> None:
    door.namespace.tell(directory, "IN_OPEN", "IN_CLOSE_NOWRITE")
    for child in door.namespace.children(directory.path):
        take(child)
        if child.is_dir and depth > 1 and permits(call.subject, child, READ | EXECUTE):
            _collect(door, call, child, depth - 1, take)


def _facts(call: Call, entry: Entry) -> list[tuple[str, str]]:
    link = f"{call.base}{properties.href(entry)}?type=metalink"
    return [
        ("Accept-Ranges", "bytes"),
        ("ETag", properties.etag(entry)),
        ("Last-Modified", http_date(entry.modified)),
        ("Link", f'<{link}>; rel=describedby; type="application/metalink4+xml"'),
    ]


def _listing(door: Door, call: Call) -> bool:
    """A directory as a page for people."""
    entry = door.access.existing(call, "LIST", READ | EXECUTE)
    door.namespace.tell(entry, "IN_OPEN", "IN_CLOSE_NOWRITE")
    rows = "".join(
        f'<tr><td><a href="{html.escape(properties.href(child))}">{html.escape(child.name)}</a></td>'
        f"<td>{'' if child.is_dir else child.size}</td><td>{http_date(child.modified)}</td></tr>\n"
        for child in door.namespace.children(entry.path)
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>dCache File System</title></head>\n'
        f"<body>\n<h1>{html.escape(entry.path)}</h1>\n<p>{html.escape(door.config.name)}: an emulator of dCache</p>\n"
        f"<table>\n<tr><th>Name</th><th>Size</th><th>Last Modified</th></tr>\n{rows}</table>\n</body>\n</html>\n"
    )
    headers = [*_facts(call, entry), ("Content-Type", "text/html;charset=utf-8"), ("Cache-Control", "no-cache")]
    return answer(call.request, Response(200, page.encode(), headers), door.server)
