"""The WLCG tape REST interface, on top of bulk requests. Source: WLCG Tape REST API v1; true answers of 12.0.1."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..subject import Subject
from ..transitions import locality
from .answers import Problem, compact, empty, pretty
from .bulk_request import Bulk
from .context import Context, api_url, bulk_of, context_of, user_of
from .durations import BadDuration, seconds_of
from .names import find

_STATES = {"CREATED": "SUBMITTED", "READY": "SUBMITTED", "RUNNING": "STARTED", "SKIPPED": "COMPLETED"}
_LOCALITIES = {"ONLINE": "DISK", "NEARLINE": "TAPE", "ONLINE_AND_NEARLINE": "DISK_AND_TAPE", "NONE": "NONE"}
_PARSED = "org.json.JSONException"
_DURATION = (
    "Duration '{}' cannot be parsed. Accepted duration is a text string such as 'PnDTnHnMn.nS' based on the ISO-8601 "
    "duration format. E.g. 'P30DT2H30M15.5S' for 30 days, 2 hours, 30 minutes, 15.5 seconds."
)
_HTML = """<html>
<head>
<meta http-equiv="Content-Type" content="text/html;charset=ISO-8859-1"/>
<title>Error 400 Bad Request</title>
</head>
<body><h2>HTTP ERROR 400 Bad Request</h2>
<table>
<tr><th>URI:</th><td>{path}</td></tr>
<tr><th>STATUS:</th><td>400</td></tr>
<tr><th>MESSAGE:</th><td>Bad Request</td></tr>
<tr><th>SERVLET:</th><td>rest</td></tr>
</table>

</body>
</html>
"""


async def stage(request: Request) -> Response:
    """POST /tape/stage"""
    user = user_of(request)
    payload, document = await _document(request)
    files = document.get("files")
    if files is None:
        raise _malformed(payload, _PARSED, 'JSONObject["files"] not found.')
    if not isinstance(files, list):
        raise _malformed(payload, _PARSED, 'JSONObject["files"] is not a JSONArray.')
    if not files:
        raise Problem(400, "request contains no files.")
    if rest := [key for key in document if key != "files"]:
        raise Problem(400, f"unrecognized payload element(s): {json.dumps(rest, separators=(',', ':'))}")
    lifetimes: dict[str, str] = {}
    paths = []
    for index, file in enumerate(files):
        if not isinstance(file, dict):
            raise _malformed(payload, _PARSED, f"JSONArray[{index}] is not a JSONObject.")
        if "path" not in file:
            raise Problem(400, f"file object {index} has no path.")
        paths.append(str(file["path"]))
        if "diskLifetime" in file:
            text = str(file["diskLifetime"])
            try:
                seconds_of(text)
            except BadDuration:
                raise _malformed(payload, "java.lang.IllegalArgumentException", _DURATION.format(text)) from None
            lifetimes[paths[-1]] = text
    given = {"activity": "STAGE", "target": paths, "arguments": {"diskLifetime": json.dumps(lifetimes)}}
    made = bulk_of(request).submit(user, f"{api_url(request)}/tape/stage", given)
    answer = pretty({"requestId": made.uid}, 201)
    answer.headers["Location"] = made.url
    return answer


async def stage_status(request: Request) -> Response:
    """GET /tape/stage/{id}"""
    bulk = _stage_request(request)
    found: dict[str, Any] = {"id": bulk.uid, "createdAt": bulk.arrived}
    if bulk.started is not None:
        found["startedAt"] = bulk.started
    if bulk.final:
        found["completedAt"] = bulk.modified
    files = []
    for target in bulk.targets:
        file: dict[str, Any] = {"path": target.path}
        file |= {"finishedAt": target.finished} if target.finished is not None else {}
        file |= {"startedAt": target.started} if target.started is not None else {}
        file |= {"error": target.error} if target.error is not None else {}
        files.append({**file, "state": _STATES.get(target.state, target.state)})
    return pretty({**found, "files": files})


async def cancel(request: Request) -> Response:
    """POST /tape/stage/{id}/cancel"""
    payload, document = await _document(request)
    paths = document.get("paths")
    if not isinstance(paths, list):
        raise _malformed(payload, _PARSED, 'JSONObject["paths"] not found.')
    bulk = _stage_request(request)
    try:
        bulk_of(request).cancel(bulk, [str(path) for path in paths])
    except Problem:
        headers = {
            "detail": "HTTP 400 Bad Request",
            "title": "File missing from stage request",
            "Cache-Control": "must-revalidate,no-cache,no-store",
            "Content-Type": "text/html;charset=iso-8859-1",
        }
        return Response(_HTML.format(path=request.url.path), 400, headers)
    return empty(200)


async def clear(request: Request) -> Response:
    """DELETE /tape/stage/{id}"""
    bulk_of(request).clear(_stage_request(request), cancel=True)
    return empty(200)


async def release(request: Request) -> Response:
    """POST /tape/release/{id}: always succeeds, whatever the paths are."""
    user = user_of(request)
    payload, document = await _document(request)
    paths = document.get("paths")
    if not isinstance(paths, list):
        raise Problem(400, f'badly formed json object ({payload}): {_PARSED}: JSONObject["paths"] not found..')
    given = {
        "activity": "RELEASE",
        "target": [str(path) for path in paths],
        "arguments": {"id": request.path_params["id"]},
        "clear_on_success": True,
        "clear_on_failure": True,
    }
    bulk_of(request).submit(user, f"{api_url(request)}/tape/release", given)
    return empty(200)


async def archive_info(request: Request) -> Response:
    """POST /tape/archiveinfo"""
    user = user_of(request)
    _, document = await _document(request)
    paths = document.get("paths")
    if not isinstance(paths, list) or not paths:
        raise Problem(400, "request had no paths.")
    context = context_of(request)
    return compact(await asyncio.to_thread(lambda: [_archived(context, user, str(path)) for path in paths]))


async def well_known(request: Request) -> Response:
    """GET /.well-known/wlcg-tape-rest-api"""
    config = context_of(request).config
    document = {
        "endpoints": [{"metadata": {}, "uri": f"{api_url(request)}/tape", "version": "v1"}],
        "sitename": config.name,
        "description": f"This is the dCache WLCG TAPE REST API endpoint for {config.host}",
    }
    return Response(json.dumps(document, indent=4), 200, {"Content-Type": "application/json;charset=utf-8"})


def routes(top: str) -> list[Route]:
    """The routes; top: `/api/v1`."""
    base = f"{top}/tape"
    return [
        Route(f"{base}/stage", stage, methods=["POST"]),
        Route(f"{base}/stage/{{id}}", stage_status, methods=["GET"]),
        Route(f"{base}/stage/{{id}}", clear, methods=["DELETE"]),
        Route(f"{base}/stage/{{id}}/cancel", cancel, methods=["POST"]),
        Route(f"{base}/release/{{id}}", release, methods=["POST"]),
        Route(f"{base}/archiveinfo", archive_info, methods=["POST"]),
        Route("/.well-known/wlcg-tape-rest-api", well_known, methods=["GET"]),
    ]


def _stage_request(request: Request) -> Bulk:
    return bulk_of(request).get(request.path_params["id"], user_of(request))


def _archived(context: Context, user: Subject, path: str) -> dict[str, str]:
    shown = "/" + path.strip("/")
    try:
        entry = find(context, user, shown, f"No such file or directory {shown}")
    except Problem as problem:
        return {"path": path, "error": "Permission denied" if problem.status == 403 else str(problem)}
    return {"path": path, "locality": "NONE" if entry.is_dir else _LOCALITIES[locality(entry)]}


async def _document(request: Request) -> tuple[str, dict[str, Any]]:
    payload = (await request.body()).decode("utf-8", "replace")
    if not payload:
        raise Problem(400, "empty request payload.")
    try:
        document = json.loads(payload)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _malformed(payload, _PARSED, "A JSONObject text must begin with '{' at 1 [character 2 line 1]")
    return payload, document


def _malformed(payload: str, exception: str, message: str) -> Problem:
    return Problem(400, f"badly formed json object '{payload}': {exception}: {message}")
