"""The namespace over REST: metadata, listings, and what is done to files and directories."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..entries import AlreadyExists, BadName, Entry, NamespaceError, NotADirectory, NotEmpty, NotFound
from ..subject import Subject, permits
from . import storage_class
from .answers import Problem, done, internal, pretty
from .attributes import Wanted, attributes
from .bodies import integer, org_json, string, wanted
from .context import EXECUTE, READ, WRITE, Context, context_of, may, subject_of, user_of

UNITS = {
    "NANOSECONDS": 1e-9, "MICROSECONDS": 1e-6, "MILLISECONDS": 1e-3, "SECONDS": 1.0, "MINUTES": 60.0, "HOURS": 3600.0,
    "DAYS": 86400.0,
}  # fmt: skip
_PIN = "qos"
_LONGEST_LISTING = 1 << 31
Action = Callable[[Context, Subject, Entry, dict[str, Any]], None]


async def show(request: Request) -> Response:
    """GET /namespace/{path}"""
    context, subject = context_of(request), subject_of(request)
    chosen = Wanted.of(request)
    first, count = _range(request) if chosen.children else (0, 0)
    return pretty(
        await asyncio.to_thread(
            _show, context, subject, f"/{request.path_params['path'].strip('/')}", chosen, first, count
        )
    )


async def act(request: Request) -> Response:
    """POST /namespace/{path}"""
    document = await org_json(request)
    path = f"/{request.path_params['path'].strip('/')}"
    await asyncio.to_thread(_act, context_of(request), user_of(request), path, document)
    return done()


async def delete(request: Request) -> Response:
    """DELETE /namespace/{path}"""
    path = f"/{request.path_params['path'].strip('/')}"
    await asyncio.to_thread(remove, context_of(request), user_of(request), path)
    return done(200)


async def show_id(request: Request) -> Response:
    """GET /id/{pnfsid}: for administrators."""
    context = context_of(request)
    if "admin" not in user_of(request).roles:
        raise Problem(403)
    try:
        entry = await asyncio.to_thread(context.namespace.by_id, request.path_params["pnfsid"])
    except NotFound:
        raise Problem(404) from None
    everything = Wanted(locality=True, locations=True, qos=True, xattr=True, checksum=True, optional=True)
    return pretty({"path": entry.path, **attributes(context.namespace, entry, everything)})


async def labelled(request: Request) -> Response:
    """GET /labels/{label}: the files that have it, as the children of a virtual directory."""
    context, subject = context_of(request), subject_of(request)
    first, count = _range(request)
    chosen = Wanted.of(request)
    entries = await asyncio.to_thread(context.namespace.labelled, request.path_params["label"])
    entries = [entry for entry in entries if subject.may("READ_METADATA", entry.path)][first : first + count]
    children = [
        {**attributes(context.namespace, entry, chosen, child=True), "sourcePath": entry.path} for entry in entries
    ]
    return pretty({"children": children})


def routes(top: str) -> list[Route]:
    """All routes of the namespace; top: `/api/v1`."""
    found = []
    for path in (f"{top}/namespace", f"{top}/namespace/{{path:path}}"):
        found += [
            Route(path, _rooted(show), methods=["GET"]),
            Route(path, _rooted(act), methods=["POST"]),
            Route(path, _rooted(delete), methods=["DELETE"]),
        ]
    return [
        *found,
        Route(f"{top}/id/{{pnfsid}}", show_id, methods=["GET"]),
        Route(f"{top}/labels/{{label:path}}", labelled, methods=["GET"]),
    ]


def find(context: Context, subject: Subject, path: str, absent: str) -> Entry:
    """The entry of a path that the subject may look at. Raises Problem 403, or 404 with the text of absent."""
    try:
        line = context.namespace.line(path)
    except BadName:
        raise Problem(404, absent) from None
    if not subject.may("READ_METADATA", path):
        raise Problem(403)
    complete = line[-1].path == path
    above = line[:-1] if complete else line
    if not all(entry.is_dir for entry in above):
        raise Problem(404, absent)
    if not all(permits(subject, entry, EXECUTE) for entry in above):
        raise Problem(403)
    if not complete:
        raise Problem(404, absent)
    return line[-1]


def remove(context: Context, subject: Subject, path: str) -> None:
    """Remove a file or an empty directory. Raises Problem."""
    entry = find(context, subject, path, f"No such file or directory: {path}")
    if entry.parent is None or not subject.may("DELETE", path):
        raise Problem(403)
    if not permits(subject, context.namespace.by_id(entry.parent), WRITE | EXECUTE):
        raise Problem(403)
    if entry.is_dir:
        context.namespace.tell(entry, "IN_OPEN", "IN_CLOSE_NOWRITE")
    try:
        context.namespace.remove(path)
    except NotEmpty:
        raise Problem(400, f"Directory is not empty: {path}") from None
    except NotFound:
        raise Problem(404, f"No such file or directory: {path}") from None


def _rooted(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """The handler, with an empty path for a URL that has none."""

    async def handle(request: Request) -> Response:
        request.path_params.setdefault("path", "")
        answer: Response = await handler(request)
        return answer

    return handle


def _show(context: Context, subject: Subject, path: str, chosen: Wanted, first: int, count: int) -> dict[str, Any]:
    entry = find(context, subject, path, f"No such file or directory {path}")
    namespace = context.namespace
    found = attributes(namespace, entry, chosen)
    if not (chosen.children and entry.is_dir):
        return found
    if not may(subject, "LIST", entry, READ):
        raise Problem(403)
    namespace.tell(entry, "IN_OPEN", "IN_CLOSE_NOWRITE")
    children = namespace.children(path)[first : first + count]
    listing = [attributes(namespace, child, chosen, child=True) for child in children]
    media = found.pop("fileMimeType")
    return {"fileMimeType": media, "children": listing, **found}


def _act(context: Context, subject: Subject, path: str, document: dict[str, Any]) -> None:
    action = string(document, "action")
    if action not in _ACTIONS:
        raise Problem(400, f"No such action {action}")
    absent = "No such file or directory: null" if action == "mv" else f"No such file or directory {path}"
    entry = find(context, subject, path, absent)
    try:
        _ACTIONS[action](context, subject, entry, document)
    except NotFound as error:
        raise Problem(404, f"No such file or directory {error.path}") from None
    except AlreadyExists as error:
        raise Problem(400, f"File exists: {error.path}") from None
    except NamespaceError as error:
        raise Problem(400, f"Not a directory: {error.path}") from None


def _mkdir(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    name = string(document, "name")
    if not name or "/" in name or name in (".", ".."):
        raise Problem(400, f"Bad name: {name}")
    if not entry.is_dir:
        raise NotADirectory(entry.path)
    path = posixpath.join(entry.path, name)
    if not (subject.may("MANAGE", path) and permits(subject, entry, WRITE | EXECUTE)):
        raise Problem(403)
    context.namespace.mkdir(path, uid=subject.uid, gid=subject.gid)


def _mv(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    target = posixpath.normpath(posixpath.join(entry.path, string(document, "destination")))
    target = "/" + target.lstrip("/")
    above = find(context, subject, posixpath.dirname(target), f"No such file or directory: {posixpath.dirname(target)}")
    if entry.parent is None or not (subject.may("MANAGE", entry.path) and subject.may("MANAGE", target)):
        raise Problem(403)
    if not all(permits(subject, place, WRITE | EXECUTE) for place in (context.namespace.by_id(entry.parent), above)):
        raise Problem(403)
    context.namespace.rename(entry.path, target, overwrite=True)


def _chmod(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    mode = integer(document, "mode")
    _owned(subject, entry)
    context.namespace.update(entry.pnfsid, mode=mode & 0o7777)


def _chgrp(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    gid = integer(document, "gid")
    _owned(subject, entry)
    if subject.uid != 0 and gid not in subject.gids:
        raise Problem(403)
    context.namespace.update(entry.pnfsid, gid=gid)


def _pin(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    lifetime = integer(document, "lifetime") if "lifetime" in document else 0
    unit = str(document.get("lifetime-unit", "SECONDS"))
    if unit not in UNITS:
        raise internal("java.lang.IllegalArgumentException", f"No enum constant java.util.concurrent.TimeUnit.{unit}")
    _readable(subject, entry)
    context.transitions.pin(entry.pnfsid, f"{_PIN}:{subject.uid}", lifetime * UNITS[unit] if lifetime >= 0 else -1)
    context.transitions.stage(entry)


def _unpin(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    del document
    _readable(subject, entry)
    context.transitions.unpin(entry.pnfsid, f"{_PIN}:{subject.uid}")


def _qos(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    storage_class.change(context, subject, entry, document)


def _set_xattr(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    given = wanted(document, "attributes")
    mode = str(document.get("mode", "EITHER")).upper()
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Problem(400, 'JSONObject["attributes"] is not a JSONObject of strings.')
    if mode not in ("CREATE", "MODIFY", "EITHER"):
        raise Problem(400, f"Unknown mode {mode}")
    _writable(subject, entry)
    for name, value in given.items():
        if (mode == "CREATE") == (name in entry.xattrs) and mode != "EITHER":
            raise Problem(400, f"Attribute {name} {'already exists' if mode == 'CREATE' else 'does not exist'}")
        context.namespace.set_xattr(entry.pnfsid, name, value)


def _rm_xattr(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    given = wanted(document, "names")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Problem(400, '"names" is not a String or an array')
    _writable(subject, entry)
    for name in names:
        if name not in entry.xattrs:
            raise Problem(400, f"No such attribute: {name}")
        context.namespace.remove_xattr(entry.pnfsid, name)


def _set_label(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    label = string(document, "label")
    _writable(subject, entry)
    context.namespace.add_label(entry.pnfsid, label)


def _rm_label(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    label = string(document, "label")
    _writable(subject, entry)
    if label not in entry.labels:
        raise Problem(400, f"No such label: {label}")
    context.namespace.remove_label(entry.pnfsid, label)


_ACTIONS: dict[str, Action] = {
    "mkdir": _mkdir,
    "mv": _mv,
    "chmod": _chmod,
    "chgrp": _chgrp,
    "pin": _pin,
    "unpin": _unpin,
    "qos": _qos,
    "set-xattr": _set_xattr,
    "rm-xattr": _rm_xattr,
    "set-label": _set_label,
    "rm-label": _rm_label,
}


def _owned(subject: Subject, entry: Entry) -> None:
    if subject.uid not in (0, entry.uid) or not subject.may("UPDATE_METADATA", entry.path):
        raise Problem(403)


def _writable(subject: Subject, entry: Entry) -> None:
    if not may(subject, "UPDATE_METADATA", entry, WRITE):
        raise Problem(403)


def _readable(subject: Subject, entry: Entry) -> None:
    if not may(subject, "STAGE", entry, READ):
        raise Problem(403)


def _range(request: Request) -> tuple[int, int]:
    """offset and limit. Raises Problem 400."""
    try:
        first = int(request.query_params.get("offset", 0))
        count = int(request.query_params.get("limit", _LONGEST_LISTING))
    except ValueError:
        raise Problem(400, "limit and offset must be an integer value.") from None
    if first < 0 or count < 0:
        raise Problem(400, "limit and offset can not be less than zero.")
    return first, count
