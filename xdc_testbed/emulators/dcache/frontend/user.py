"""GET /user: who one is to the storage."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import pretty
from .context import context_of, subject_of


async def show(request: Request) -> Response:
    """GET /user"""
    subject = subject_of(request)
    if subject.anonymous:
        return pretty({"status": "ANONYMOUS"})
    found: dict[str, Any] = {"status": "AUTHENTICATED", "uid": subject.uid, "gids": list(subject.gids)}
    if subject.roles:
        found["roles"] = sorted(subject.roles)
    user = context_of(request).identity.user(subject.username)
    home = user.home if user is not None else "/"
    return pretty({**found, "username": subject.username, "homeDirectory": home, "rootDirectory": "/"})


def routes(top: str) -> list[Route]:
    """The route; top: `/api/v1`."""
    return [Route(f"{top}/user", show, methods=["GET"])]
