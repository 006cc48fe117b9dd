"""The resources below /api/v1/bulk-requests."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import JSON, Problem, compact, empty, pretty
from .bodies import org_json, string
from .bulk import owner_of
from .context import api_url, bulk_of, user_of


async def list_requests(request: Request) -> Response:
    """GET /bulk-requests[?status=&owner=&path=&offset=]"""
    user_of(request)
    query = request.query_params
    statuses = {part.upper() for part in query["status"].split(",")} if query.get("status") else None
    owners = set(query["owner"].split(",")) if query.get("owner") else None
    found = bulk_of(request).matching(statuses, owners, query.get("path"), _number(request, "offset"))
    return compact(
        [
            {
                "id": bulk.number,
                "url": bulk.url,
                "owner": owner_of(bulk),
                "activity": bulk.activity,
                "status": bulk.status,
                "active": sum(target.state == "RUNNING" for target in bulk.targets),
            }
            for bulk in found
        ]
    )


async def submit(request: Request) -> Response:
    """POST /bulk-requests"""
    user = user_of(request)
    if not await request.body():
        raise Problem(400, "empty request payload.")
    made = bulk_of(request).submit(user, f"{api_url(request)}/bulk-requests", await org_json(request))
    return Response(b"", 201, {"request-url": made.url, "Content-Type": JSON})


async def show(request: Request) -> Response:
    """GET /bulk-requests/{id}[?offset=]"""
    user = user_of(request)
    bulk = bulk_of(request).get(request.path_params["id"], user)
    return pretty(bulk.document(_number(request, "offset")))


async def update(request: Request) -> Response:
    """PATCH /bulk-requests/{id}: {"action": "cancel"[, "paths": [...]]}"""
    user = user_of(request)
    document = await org_json(request)
    if "action" not in document:
        raise Problem(400, "no action provided.")
    action = string(document, "action")
    if action.lower() != "cancel":
        raise Problem(400, f"{action} not supported.")
    bulk = bulk_of(request).get(request.path_params["id"], user)
    paths = document.get("paths")
    bulk_of(request).cancel(bulk, None if paths is None else [str(path) for path in paths])
    return empty(200)


async def clear(request: Request) -> Response:
    """DELETE /bulk-requests/{id}[?cancelIfRunning=true]"""
    user = user_of(request)
    bulk = bulk_of(request).get(request.path_params["id"], user)
    bulk_of(request).clear(bulk, cancel=request.query_params.get("cancelIfRunning", "").lower() == "true")
    return empty(204)


def routes(top: str) -> list[Route]:
    """The routes; top: `/api/v1`."""
    base = f"{top}/bulk-requests"
    return [
        Route(base, list_requests, methods=["GET"]),
        Route(base, submit, methods=["POST"]),
        Route(f"{base}/{{id}}", show, methods=["GET"]),
        Route(f"{base}/{{id}}", update, methods=["PATCH"]),
        Route(f"{base}/{{id}}", clear, methods=["DELETE"]),
    ]


def _number(request: Request, name: str) -> int:
    try:
        return int(request.query_params.get(name, 0))
    except ValueError:
        raise Problem(404) from None
