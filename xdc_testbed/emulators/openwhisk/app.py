"""The ASGI application: who asks, what for, and which function answers."""

from __future__ import annotations

import binascii
import hmac
import logging
import time
from urllib.parse import unquote

from . import about, actions, activations, messages, names, packages, triggers
from .about import API
from .config import Config, User
from .controller import Controller
from .names import BadNameError
from .resolve import FORBIDDEN
from .web import (
    TEXT,
    Gone,
    Receive,
    Refused,
    Reply,
    Request,
    Scope,
    Send,
    TooLarge,
    document,
    refusal,
    send_reply,
    transaction_id,
)

_log = logging.getLogger(__name__)
_CHALLENGE = ((b"www-authenticate", b'Basic realm="OpenWhisk secure realm",charset=UTF-8'),)
_SHORT, _LONG = 1, 2


class App:
    """One emulator behind an ASGI server, which must run its lifespan."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._users = {user.uuid: user for user in config.users}
        self._controller: Controller | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._controller = Controller(self._config)
        await self._controller.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._controller.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.time()
        transaction = ""
        for key, value in scope["headers"]:
            if key == b"x-request-id":
                transaction = value.decode("latin-1")
        transaction = transaction or transaction_id()
        try:
            reply = await self._answer(scope, receive, transaction, started)
        except Refused as refused:
            reply = refusal(refused, transaction)
        except TooLarge:
            reply = Reply(400, b"Request too large", TEXT, ((b"connection", b"close"),), cors=False)
        except Gone:
            return
        except Exception:
            _log.exception("request %s failed inside the emulator", transaction)
            reply = refusal(Refused(500, messages.INTERNAL), transaction)
        await send_reply(send, reply, transaction)

    async def _answer(self, scope: Scope, receive: Receive, transaction: str, started: float) -> Reply:
        path = scope["raw_path"].decode("latin-1")
        method = scope["method"]
        if not path.startswith(f"{API}/namespaces"):
            return self._outside(method, path)
        if method == "OPTIONS":
            return Reply(200, b"OK", TEXT)
        user = self._authenticate(scope)
        request = Request(scope, receive, user, transaction, started)
        parts = path[len(API) + 1 :].split("/")
        reply = await self._route(request, parts)
        if reply is None:
            raise Refused(404, messages.NO_ROUTE, routed=False)
        return reply

    def _authenticate(self, scope: Scope) -> User:
        """The user of an `Authorization: Basic` header. Raises Refused 401."""
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        scheme, _, text = given.partition(b" ")
        if scheme.lower() != b"basic":
            raise Refused(401, messages.NO_AUTH, routed=False, headers=_CHALLENGE)
        try:
            uuid, separator, key = binascii.a2b_base64(text.strip()).partition(b":")
        except binascii.Error:
            separator = b""
        if not separator:
            raise Refused(401, messages.NO_AUTH, routed=False, headers=_CHALLENGE)
        user = self._users.get(uuid.decode("latin-1"))
        if user is None or not hmac.compare_digest(key, user.key.encode()):
            raise Refused(401, messages.BAD_AUTH, routed=False, headers=_CHALLENGE)
        return user

    async def _route(self, request: Request, parts: list[str]) -> Reply | None:
        """Dispatch `namespaces/{ns}/{collection}/...`; None when no route fits."""
        assert self._controller is not None  # noqa: S101 - the server runs the lifespan first
        controller, method = self._controller, request.method
        if parts[-1] == "" and len(parts) > 1:
            parts = parts[:-1]
        try:
            segments = [names.check(unquote(part)) if part != names.DEFAULT else part for part in parts[1:]]
        except BadNameError as error:
            if len(parts) > 3 and parts[2] == "activations":
                segments = [unquote(part) for part in parts[1:]]
            else:
                raise Refused(400, str(error), routed=False) from None
        if not segments:
            return document([request.user.namespace]) if method == "GET" else None
        if len(segments) == 1:
            return None
        namespace, collection, *rest = segments
        if namespace == names.DEFAULT:
            namespace = request.user.namespace
        foreign = namespace != request.user.namespace
        if collection == "limits" and not rest and method == "GET":
            _refuse_if(foreign, namespace)
            return document(about.namespace_limits(self._config.limits))
        if collection == "activations":
            if method != "GET" or len(rest) > _LONG:
                return None
            _refuse_if(foreign, namespace)
            if not rest:
                return activations.list_(controller, request, namespace)
            part = rest[1] if len(rest) > 1 else ""
            return activations.get(controller, namespace, rest[0], part)
        if collection == "actions":
            return await _action(controller, request, namespace, rest, collection_wanted=_is_list(request))
        if len(rest) > 1:
            return None
        name = f"{namespace}/{rest[0]}" if rest else namespace
        if collection == "packages":
            return await _package(controller, request, name, listed=not rest)
        if collection not in {"triggers", "rules"}:
            return None
        if rest or method == "GET":
            _refuse_if(foreign, name)
        route = _trigger if collection == "triggers" else _rule
        return await route(controller, request, name, listed=not rest)

    def _outside(self, method: str, path: str) -> Reply:
        """What lies outside the namespaces, and needs no authentication."""
        if path.rstrip("/") == API:
            return document(about.build()) if method == "GET" else _no_route()
        if path == "/ping" and method == "GET":
            return Reply(200, b"pong", TEXT, cors=False)
        if path == "/invokers" and method == "GET" and self._controller is not None:
            states = {place.name: place.state for place in self._controller.balancer.places}
            return document(states)._replace(cors=False)
        if path == "/" and method == "GET":
            return document(about.information(self._config.limits))._replace(cors=False)
        if path.startswith(API):
            return _no_route()
        text = "HTTP method not allowed, supported methods: OPTIONS"
        raise Refused(405, text, routed=False, headers=((b"allow", b"OPTIONS"),))


def _is_list(request: Request) -> bool:
    return request.method == "GET" and request.scope["raw_path"].endswith(b"/")


def _refuse_if(foreign: bool, name: str) -> None:
    if foreign:
        raise Refused(FORBIDDEN, messages.forbidden(name))


def _no_route() -> Reply:
    raise Refused(404, messages.NO_ROUTE, routed=False)


async def _action(
    controller: Controller, request: Request, namespace: str, rest: list[str], *, collection_wanted: bool
) -> Reply | None:
    foreign, method = namespace != request.user.namespace, request.method
    if not rest or (len(rest) == 1 and collection_wanted):
        if method != "GET":
            return None
        if not rest:
            _refuse_if(foreign, namespace)
        return actions.list_(controller, request, "/".join([namespace, *rest]))
    if len(rest) > _LONG:
        return None
    name = "/".join([namespace, *rest])
    match method:
        case "POST":
            return await actions.invoke(controller, request, name)
        case "GET":
            return await actions.get(controller, request, name)
        case "PUT":
            _refuse_if(foreign, name)
            return await actions.put(controller, request, name)
        case "DELETE":
            _refuse_if(foreign, name)
            return await actions.delete(controller, name)
    return None


async def _package(controller: Controller, request: Request, name: str, *, listed: bool) -> Reply | None:
    foreign = name.partition("/")[0] != request.user.namespace
    match request.method:
        case "GET" if listed:
            return packages.list_(controller, request, name)
        case "GET":
            return packages.get(controller, request, name)
        case "PUT" if not listed:
            _refuse_if(foreign, name)
            return await packages.put(controller, request, name)
        case "DELETE" if not listed:
            _refuse_if(foreign, name)
            return await packages.delete(controller, request, name)
    return None


async def _trigger(controller: Controller, request: Request, name: str, *, listed: bool) -> Reply | None:
    match request.method:
        case "GET" if listed:
            return triggers.list_triggers(controller, request, name)
        case "GET":
            return triggers.get_trigger(controller, name)
        case "PUT" if not listed:
            return await triggers.put_trigger(controller, request, name)
        case "POST" if not listed:
            return await triggers.fire(controller, request, name)
        case "DELETE" if not listed:
            return await triggers.delete_trigger(controller, name)
    return None


async def _rule(controller: Controller, request: Request, name: str, *, listed: bool) -> Reply | None:
    match request.method:
        case "GET" if listed:
            return triggers.list_rules(controller, request, name)
        case "GET":
            return triggers.get_rule(controller, name)
        case "PUT" if not listed:
            return await triggers.put_rule(controller, request, name)
        case "POST" if not listed:
            return await triggers.set_rule_status(controller, request, name)
        case "DELETE" if not listed:
            return await triggers.delete_rule(controller, name)
    return None
