"""The ASGI application of the REST interface."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from ..config import Config
from ..identity import Identity
from ..namespace import Namespace
from ..transitions import Transitions
from . import events, names, policies, qos, requests, tape, user
from .answers import Problem, problem
from .bulk import Requests
from .context import Context
from .entrance import Entrance

_log = logging.getLogger(__name__)
_API = "/api/v1"


def build(config: Config, namespace: Namespace, identity: Identity, transitions: Transitions) -> Starlette:
    """The application; its lifespan must be run, and `shutdown` be called before its server stops."""
    context = Context(config, namespace, identity, transitions, policies.Policies(config.root, namespace, transitions))
    bulk = Requests(context)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        context.watches.start()
        bulk.start()
        yield
        context.watches.stop()
        bulk.close()

    app = Starlette(
        routes=[
            *events.routes(_API),
            *user.routes(_API),
            *qos.routes(_API),
            *policies.routes(_API),
            *requests.routes(_API),
            *tape.routes(_API),
            *names.routes(_API),
        ],
        middleware=[Middleware(Entrance, context=context)],
        exception_handlers={Problem: _problem, HTTPException: _refused, Exception: _failed},
        lifespan=lifespan,
    )
    app.state.context = context
    app.state.bulk = bulk
    return app


def shutdown(app: Starlette) -> None:
    """Tell the clients of all streams that the server stops, and end the streams. In the event loop."""
    context: Context = app.state.context
    context.registrar.shutdown()


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101  it is registered for those
    return problem(error)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  it is registered for those
    return problem(Problem(error.status_code))


async def _failed(_request: Request, error: Exception) -> Response:
    return problem(Problem(500, f"Internal error: {type(error).__name__}"))
