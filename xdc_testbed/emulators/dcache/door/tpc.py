"""COPY: third-party copies, in the product's words: 202, a stream of markers, and the outcome in its last line."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from .. import tls
from ..entries import AlreadyExists, Entry, NamespaceError, NotADirectory, NotFound
from ..http1 import ConnectionLost, Response
from ..records import Transfer, cell_session
from ..subject import permits
from ..tpc.copy import Copy
from ..web import head
from .access import READ, Call, Refused

if TYPE_CHECKING:
    from .door import Door

_CELL = "RemoteTransferManager"
_SCHEMES = ("gsiftp", "http", "https")
_CREDENTIALS = ("none", "oidc", "gridsite")


def copy(door: Door, call: Call) -> bool:
    """Check what can be checked at once, then let the pool copy while the client reads how it goes."""
    source, destination = call.header("source"), call.header("destination")
    if (source is None) == (destination is None):
        raise Refused(Response(400))
    pull = source is not None
    url = source if source is not None else str(destination)
    parts = _checked(url, "source" if pull else "destination")
    _check_credential(door, call)
    entry = _target(door, call) if pull else _origin(door, call)
    transfer = _transfer(door, call, parts, entry, pull)
    mine, wake = socket.socketpair()
    with mine, wake:
        job = Copy(
            pool=door.pool,
            transfer=transfer,
            entry=entry,
            url=url,
            headers=_forwarded(call.request.headers),
            verify=(call.header("requirechecksumverification") or "true").strip().lower() != "false",
            context=tls.client_context(door.config),
            agent=door.server,
            wake=wake,
        )
        thread = threading.Thread(target=job.run, name="third-party copy", daemon=True)
        thread.start()
        try:
            return _tell(door, call, job, mine)
        finally:
            if job.outcome is None:
                job.cancel()
            thread.join()


def _checked(url: str, which: str) -> SplitResult:
    """The parts of a URL whose scheme is known and whose host has an address. Raises Refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused(Response(400, reason="Bad Request")) from None
    if parts.scheme not in _SCHEMES:
        text = f"URI contains unsupported scheme {parts.scheme}. Supported schemes are {', '.join(_SCHEMES)}"
        raise Refused(Response(400, reason=text))
    if parts.scheme == "gsiftp":
        raise Refused(Response(501, reason="this emulator has no GridFTP"))
    try:
        socket.getaddrinfo(parts.hostname, port or 443)
    except (OSError, UnicodeError):
        raise Refused(Response(400, reason=f"Unknown {which} hostname")) from None
    return parts


def _check_credential(door: Door, call: Call) -> None:
    method = call.subject.method
    usual = {"token": "oidc", "x509": "gridsite"}.get(method, "none")
    given = call.header("credential")
    wanted = usual if given is None else given.strip()
    if wanted not in _CREDENTIALS:
        text = f"HTTP header 'Credential' has unknown value \"{wanted}\".  Valid values are: {','.join(_CREDENTIALS)}"
        raise Refused(Response(400, reason=text))
    if wanted == "gridsite":
        if method != "x509":
            raise Refused(door.access.login_needed("user must present valid X.509 certificate"))
        raise Refused(door.access.login_needed("client failed to delegate X.509 credential"))
    if wanted == "oidc":
        if method != "token":
            raise Refused(door.access.login_needed("User must authenticate with OpenID for OpenID delegation"))
        raise Refused(Response(500, reason="Internal problem with server"))


def _target(door: Door, call: Call) -> Entry:
    """The new file of a pull. Raises Refused."""
    subject, path = call.subject, call.path
    try:
        allowed = door.access.writable_parent(subject, path, "UPLOAD")
    except (NotFound, NotADirectory) as error:
        raise Refused(Response(400, reason=f"No such directory: {error.path}")) from None
    if not allowed:
        raise Refused(door.access.login_needed("Permission denied"))
    try:
        old = door.namespace.get(path)
    except NotFound:
        pass
    else:
        if old.is_dir or (call.header("overwrite") or "T").strip().upper() == "F":
            raise Refused(Response(500, reason="Internal problem with server"))
        if not subject.may("DELETE", path):
            raise Refused(door.access.login_needed("Permission denied"))
        door.namespace.remove(path)
    try:
        return door.namespace.create(path, uid=subject.uid, gid=subject.gid)
    except AlreadyExists:
        raise Refused(Response(500, reason="Internal problem with server")) from None


def _origin(door: Door, call: Call) -> Entry:
    """The file of a push. Raises Refused."""
    try:
        entry = door.namespace.get(call.path)
    except NamespaceError:
        raise Refused(Response(404, reason="no such file")) from None
    if entry.is_dir or entry.size is None:
        raise Refused(Response(404, reason="no such file"))
    line = door.namespace.line(call.path)
    readable = permits(call.subject, entry, READ) and all(permits(call.subject, above, 1) for above in line[:-1])
    if not readable or not call.subject.may("DOWNLOAD", call.path):
        raise Refused(door.access.login_needed("Permission denied"))
    return entry if entry.pools else door.stage(call, entry)


def _transfer(door: Door, call: Call, parts: SplitResult, entry: Entry, pull: bool) -> Transfer:
    secure = parts.scheme == "https"
    tag = call.header("scitag") or call.header("transferheaderscitag") or ""
    transfer = Transfer(
        door=_CELL,
        domain=door.config.domain,
        session=cell_session("door", _CELL, door.config.domain),
        subject=call.subject,
        path=call.path,
        client=parts.hostname or "",
        is_write=pull,
        protocol="RemoteHttpsDataTransfer" if secure else "RemoteHttpDataTransfer",
        entry=entry,
        host=_address(parts.hostname or ""),
        port=parts.port or (443 if secure else 80),
        tag=tag if tag.isdigit() else "",
    )
    door.pool.begin(transfer, door.config.pool.name if pull else entry.pools[0])
    if not pull:
        where = f"{parts.scheme}://{parts.netloc}{parts.path}"
        door.billing.hit(entry, transfer.pool, f"{transfer.protocol}-1.1:{where}")
    return transfer


def _address(host: str) -> str:
    """The address of a host that is known to have one."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in sorted(found, key=lambda each: each[0] != socket.AF_INET)]
    return addresses[0]


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """`TransferHeaderX: v` as `X: v`."""
    prefix = "transferheader"
    names = {name: name.removeprefix(prefix) for name in headers if name.startswith(prefix) and name != prefix}
    return {"SciTag" if new == "scitag" else new.title(): headers[old] for old, new in names.items()}


def _tell(door: Door, call: Call, job: Copy, ended: socket.socket) -> bool:
    """Markers while the copy runs, and how it ended. Raises ConnectionLost when the client goes away."""
    connection = call.request.connection
    open_ = connection.keep_alive
    headers = [("Content-Type", "text/perf-marker-stream")]
    if open_:
        headers.append(("Transfer-Encoding", "chunked"))
    connection.send(head(call.request, Response(202, headers=headers), door.server, open_=open_))

    def send(text: str) -> None:
        data = text.encode()
        connection.send(b"%x\r\n%s\r\n" % (len(data), data) if open_ else data)

    due = time.monotonic() + door.config.webdav.marker_period
    while job.outcome is None:
        ready, _, _ = select.select([connection.socket, ended], [], [], max(0.0, due - time.monotonic()))
        if ended in ready:
            ended.recv(16)
        elif connection.socket in ready:
            if connection.gone():
                job.cancel()
                raise ConnectionLost("the client of a copy went away")
        elif time.monotonic() >= due:
            send(_marker(job))
            due += door.config.webdav.marker_period
    send(f"failure: {job.outcome}\n" if job.outcome else "success: Created\n")
    if open_:
        connection.send(b"0\r\n\r\n")
    return open_


def _marker(job: Copy) -> str:
    now, begun = int(time.time()), int(job.started)
    last = int(job.last or job.started)
    lines = [
        "Perf Marker",
        f"    Timestamp: {now}",
        "    State: Running",
        "    State description: Mover created",
        "    Stripe Index: 0",
        f"    Stripe Start Time: {begun}",
        f"    Stripe Last Transferred: {last}",
        f"    Stripe Transfer Time: {max(0, last - begun)}",
        f"    Stripe Bytes Transferred: {job.transfer.moved}",
        "    Stripe Status: RUNNING",
        "    Total Stripe Count: 1",
    ]
    if job.peer.remote is not None:
        lines.append("    RemoteConnections: tcp:{}:{}".format(*job.peer.remote))
    return "\n".join([*lines, "End", ""])
