"""The way into the REST interface: rate limit, login, and the headers that every answer has."""

from __future__ import annotations

import asyncio
import dataclasses

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..http1 import http_date
from ..identity import LoginFailed
from ..subject import Subject
from ..web import server_name
from .answers import Problem, problem
from .context import Context

_OPEN = "/.well-known/"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Entrance:
    """Middleware that puts the subject into the scope, or answers in place of the application."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context
        self._server = server_name(context.config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]

        async def finish(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["Date"] = http_date()
                headers["Server"] = self._server
                if message["status"] == 401 and "WWW-Authenticate" not in headers:
                    for name, value in self._context.identity.challenge.items():
                        headers[name] = value
                if message["status"] in (401, 403):
                    self._context.limiter.failed(address)
            await send(message)

        refusal = self._context.limiter.refusal(address) or await self._login(scope, address)
        await (refusal or self._app)(scope, receive, finish)

    async def _login(self, scope: Scope, address: str) -> Response | None:
        """Put the subject into the scope; the answer when that is not to be."""
        identity = self._context.identity
        headers = Headers(scope=scope)
        try:
            subject = await asyncio.to_thread(
                identity.login,
                dict(headers),
                client_certificate=scope.get("client_certificate"),
                origin=address,
                bearer=Request(scope).query_params.get("authz"),
                secure=scope["scheme"] == "https",
            )
        except LoginFailed as failed:
            return Response(b"", failed.status, failed.headers)
        scope["subject"] = self._with_roles(subject, headers.get("roles"))
        if not subject.anonymous or scope["path"].startswith(_OPEN):
            return None
        allowed = self._context.config.frontend.anonymous
        if allowed == "NONE":
            return Response(b"", 401, identity.challenge)
        if allowed == "READONLY" and scope["method"] not in _READING:
            return problem(Problem(401))
        return None

    def _with_roles(self, subject: Subject, asked: str | None) -> Subject:
        """The roles that the header `Roles` asks for and the user has, beside those that it has anyway."""
        user = self._context.identity.user(subject.username)
        if asked is None or user is None:
            return subject
        wanted = {role.strip() for role in asked.split(",")}
        return dataclasses.replace(subject, roles=subject.roles | (user.roles & wanted))
