"""Answers that a test makes up, served over real HTTP on loopback, for clients that have no stand-in transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
from aiohttp import web
from aiohttp.test_utils import TestServer

Respond = Callable[[httpx2.Request], httpx2.Response]


@asynccontextmanager
async def served(respond: Respond) -> AsyncIterator[str]:
    """URL of a server that answers so; when `respond` raises ConnectionResetError it hangs up without a word."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = httpx2.Request(
            request.method, str(request.url), headers=dict(request.headers), content=await request.read()
        )
        try:
            answer = respond(asked)
        except ConnectionResetError:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        kept = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return web.Response(status=answer.status_code, headers=kept, body=answer.content)

    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(application) as server:
        yield str(server.make_url(""))
