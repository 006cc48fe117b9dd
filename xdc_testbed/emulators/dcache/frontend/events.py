"""The resources of the events API below /api/v1/events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..entries import BadName, Entry, NotADirectory, NotFound
from ..subject import permits
from . import schemas, selectors
from .answers import Problem, compact, empty, pretty
from .bodies import jackson
from .channels import Channel, Stream
from .context import EXECUTE, READ, Context, api_url, context_of, user_of
from .metronome import Beat
from .watches import Watch

_SHORTEST_TIMEOUT = 1
_LONGEST_CLIENT_ID = 256
_SSE = "text/event-stream"


class Streaming(Response):
    """An answer that lasts as long as the stream does."""

    def __init__(self, channel: Channel, last_id: str | None) -> None:
        super().__init__(status_code=200, media_type=_SSE)
        self._channel, self._last_id = channel, last_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write events until the stream ends, or the client does."""
        del scope
        stream = self._channel.connect(self._last_id)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", _SSE.encode())]})
        gone = asyncio.create_task(_wait_for_end(receive, stream))
        try:
            while (batch := await stream.take()) is not None:
                await send({"type": "http.response.body", "body": batch, "more_body": True})
            if not stream.cut and not stream.gone:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            stream.vanish()
            stream.abandon()


async def _wait_for_end(receive: Receive, stream: Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.vanish()


async def about(request: Request) -> Response:
    """GET /events"""
    limits = context_of(request).config.frontend
    lifetime = {
        "default": limits.disconnect_default,
        "maximum": limits.disconnect_maximum,
        "minimum": _SHORTEST_TIMEOUT,
    }
    channels = {"lifetimeWhenDisconnected": lifetime, "maximumPerUser": limits.channels_per_user}
    return pretty({"channels": channels})


async def event_types(request: Request) -> Response:
    """GET /events/eventTypes"""
    user_of(request)
    return compact(list(schemas.DESCRIPTIONS))


async def event_type(request: Request) -> Response:
    """GET /events/eventTypes/{type}[/selector|/event]"""
    user_of(request)
    kind, part = request.path_params["type"], request.path_params.get("part")
    if kind not in schemas.DESCRIPTIONS or part not in (None, "selector", "event"):
        raise Problem(404, "No such event type")
    if part is None:
        return pretty({"description": schemas.DESCRIPTIONS[kind]})
    return pretty((schemas.SELECTORS if part == "selector" else schemas.PAYLOADS)[kind])


async def create_channel(request: Request) -> Response:
    """POST /events/channels"""
    user = user_of(request)
    client = None
    document = _fields(await jackson(request), ("client-id",))
    if document.get("client-id"):
        client = str(document["client-id"])[:_LONGEST_CLIENT_ID]
    channel = context_of(request).registrar.open(f"{api_url(request)}/events/channels", user, client)
    return empty(201, Location=channel.url)


async def list_channels(request: Request) -> Response:
    """GET /events/channels[?client-id=...]"""
    channels = context_of(request).registrar.of(user_of(request))
    client = request.query_params.get("client-id")
    if client is not None:
        wanted = client[:_LONGEST_CLIENT_ID] or None
        channels = [channel for channel in channels if channel.client == wanted]
    base = f"{api_url(request)}/events/channels"
    return compact([f"{base}/{channel.id}" for channel in channels])


async def read_channel(request: Request) -> Response:
    """GET /events/channels/{id}: the stream for who accepts that, else what the channel is."""
    if _SSE in request.headers.get("accept", ""):
        return Streaming(_channel(request, media=_SSE), request.headers.get("last-event-id"))
    return pretty({"timeout": _channel(request).timeout})


async def modify_channel(request: Request) -> Response:
    """PATCH /events/channels/{id}"""
    document = _fields(await jackson(request), ("timeout",))
    value = document.get("timeout", 0)
    if isinstance(value, str):
        raise Problem(
            400,
            "Unable to interpret JSON: Cannot deserialize value of type `long` from String "
            f'"{value}": not a valid `long` value',
        )
    channel = _channel(request)
    if not isinstance(value, int) or value < _SHORTEST_TIMEOUT:
        raise Problem(400, "Timeout shorter than minimum allowed")
    if value > context_of(request).config.frontend.disconnect_maximum:
        raise Problem(400, "Timeout longer than maximum allowed")
    channel.set_timeout(value)
    return empty(204)


async def delete_channel(request: Request) -> Response:
    """DELETE /events/channels/{id}"""
    _channel(request).close()
    return empty(204)


async def list_subscriptions(request: Request) -> Response:
    """GET /events/channels/{id}/subscriptions"""
    channel = _channel(request)
    return compact([channel.subscription_url(*key) for key in channel.subscriptions])


async def subscribe(request: Request) -> Response:
    """POST /events/channels/{id}/subscriptions/{type}"""
    user_of(request)
    selector = await jackson(request)
    if selector is None:
        raise Problem(400, "Missing JSON entity in POST request")
    channel = _channel(request)
    kind = request.path_params["type"]
    if kind == Beat.kind:
        beat = Beat(channel, selectors.metronome(selector))
        return empty(201, Location=channel.subscription_url(kind, beat.sid))
    if kind != Watch.kind:
        raise Problem(400, f"Unknown event type: {kind}")
    chosen = selectors.inotify(selector)
    context = context_of(request)
    target = _target(context, channel, chosen)
    watch, new = context.watches.watch(channel, target, chosen)
    return empty(201 if new else 303, Location=channel.subscription_url(kind, watch.sid))


async def read_subscription(request: Request) -> Response:
    """GET /events/channels/{id}/subscriptions/{type}/{sid}"""
    found = _channel(request).subscriptions.get(_subscription_key(request))
    if found is None:
        raise Problem(404, "No such subscription")
    return pretty(found.selector())


async def delete_subscription(request: Request) -> Response:
    """DELETE /events/channels/{id}/subscriptions/{type}/{sid}"""
    found = _channel(request).subscriptions.get(_subscription_key(request))
    if isinstance(found, Watch | Beat):
        found.close()
        return empty(204)
    raise Problem(404, "Subscription not found")


def routes(top: str) -> list[Route]:
    """All routes of the events API; top: `/api/v1`."""
    base = f"{top}/events"
    one = f"{base}/channels/{{id}}"
    selection = f"{one}/subscriptions/{{type}}/{{sid:path}}"
    return [
        Route(base, about, methods=["GET"]),
        Route(f"{base}/eventTypes", event_types, methods=["GET"]),
        Route(f"{base}/eventTypes/{{type}}", event_type, methods=["GET"]),
        Route(f"{base}/eventTypes/{{type}}/{{part}}", event_type, methods=["GET"]),
        Route(f"{base}/channels", create_channel, methods=["POST"]),
        Route(f"{base}/channels", list_channels, methods=["GET"]),
        Route(one, read_channel, methods=["GET"]),
        Route(one, modify_channel, methods=["PATCH"]),
        Route(one, delete_channel, methods=["DELETE"]),
        Route(f"{one}/subscriptions", list_subscriptions, methods=["GET"]),
        Route(f"{one}/subscriptions/{{type}}", subscribe, methods=["POST"]),
        Route(selection, read_subscription, methods=["GET"]),
        Route(selection, delete_subscription, methods=["DELETE"]),
    ]


def _channel(request: Request, *, media: str = "application/json") -> Channel:
    user = user_of(request, media=media)
    return context_of(request).registrar.get(request.path_params["id"], user, media=media)


def _subscription_key(request: Request) -> tuple[str, str]:
    return request.path_params["type"], request.path_params["sid"]


def _fields(document: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Problem(400, "Unable to interpret JSON: Cannot deserialize value from this JSON")
    for key in document:
        if key not in known:
            raise Problem(400, f"'{key}' is an unrecognized field.")
    return document


def _target(context: Context, channel: Channel, selector: selectors.Inotify) -> Entry:
    """The entry that a selector names. Raises Problem 400 for all that is wrong with it."""
    path = f"/{selector.path}" if not selector.path.startswith("/") else selector.path
    try:
        line = context.namespace.line(path)
        entry = context.namespace.get(path)
    except (NotFound, NotADirectory, BadName):
        shown = "/" + selector.path.strip("/")
        raise Problem(400, f"Not found: Problem with path: No such file or directory {shown}") from None
    subject = channel.owner
    if not entry.is_dir and selector.has("IN_ONLYDIR"):
        raise Problem(400, "Failed condition: IN_ONLYDIR with REGULAR target")
    activity = "LIST" if entry.is_dir else "DOWNLOAD"
    passable = all(permits(subject, above, EXECUTE) for above in line[:-1])
    if not (passable and permits(subject, entry, READ) and subject.may(activity, entry.path)):
        raise Problem(400, "Permission denied: Not allowed.")
    return entry
