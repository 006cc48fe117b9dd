"""Sends answers as the doors and the movers of the product write them."""

from __future__ import annotations

import re

from .config import Config
from .http1 import ConnectionLost, Request, Response, http_date

_DRAINED = 64 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def server_name(config: Config) -> str:
    """The Server header: what the product says, and that this is an emulator of it."""
    return f"dCache/{config.version} (xdc-testbed emulator)"


def answer(request: Request, response: Response, server: str, *, pool: bool = False) -> bool:
    """Send an answer with its body; pool: in the style of a mover, without a Date. Returns whether the connection may
    be used again. Raises ConnectionLost."""
    open_ = _drained(request)
    lines = head(request, response, server, open_=open_, pool=pool)
    request.connection.send(lines if request.method == "HEAD" else lines + response.body)
    return open_


def head(request: Request, response: Response, server: str, *, open_: bool, pool: bool = False) -> bytes:
    """Status line and headers. open_: whether the connection stays open afterwards."""
    names = {name.lower() for name, _ in response.headers}
    headers = list(response.headers)
    if response.body and "content-length" not in names:
        headers.append(("Content-Length", str(len(response.body))))
    elif not response.body and "content-length" not in names and "transfer-encoding" not in names:
        empty = response.status not in {204, 304} and (open_ or pool)
        if empty and request.method != "HEAD":
            headers.append(("Content-Length", "0"))
    closing = [] if open_ else [("Connection", "close")]
    if pool:
        fields = [*headers, ("Server", server), *closing]
    else:
        fields = [*closing, ("Date", http_date()), ("Server", server), *headers]
    lines = [f"HTTP/1.1 {response.status_line}", *(f"{name}: {value}" for name, value in fields)]
    clean = (_CONTROL.sub("?", line) for line in lines)
    return ("\r\n".join(clean) + "\r\n\r\n").encode("latin-1", "replace")


def plain(status: int, text: str, reason: str = "") -> Response:
    """An answer with one line of text, as the door writes its errors."""
    return Response(status, f"{text}\n".encode(), [("Content-Type", "text/plain;charset=utf-8")], reason)


def _drained(request: Request) -> bool:
    """Whether another request may follow; the rest of a small body that nobody wanted is read for it."""
    connection = request.connection
    if not connection.body_complete and not request.wants_continue and (request.length or 0) <= _DRAINED:
        size = 0
        try:
            for chunk in connection.body():
                size += len(chunk)
                if size > _DRAINED:
                    return False
        except ConnectionLost:
            return False
    return connection.keep_alive
