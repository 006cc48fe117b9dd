"""`/namespaces/{ns}/actions`: create, read, delete, list and invoke actions."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from . import bodies, jsontext, messages, queries
from .controller import Controller
from .entities import FIRST_VERSION, Action, Exec, Package, Parameter, merge, next_version
from .lives import Activation
from .names import split
from .resolve import FORBIDDEN
from .responses import SUCCESS, WHISK_ERROR
from .store import Change
from .web import JSON, Refused, Reply, Request, document

_FAILED = 502
_ACCEPTED = 202
_IN_PACKAGE = 3


def list_(controller: Controller, request: Request, path: str) -> Reply:
    """GET of a collection: of a namespace with its packages, or of one package."""
    page = queries.page(request, "actions")
    if "/" in path:
        path = controller.resolver.package(request.user, path)[1].full_name
    actions = controller.catalogue.listed(Action, path)
    return page.cut([action.summary() for action in actions], "actions")


async def get(controller: Controller, request: Request, name: str) -> Reply:
    """GET of one action, with its package's parameters merged in; `code=false` hides the code."""
    with_code = request.query.get("code", "true") != "false"
    runnable = controller.resolver.runnable(request.user, name)
    code = await controller.catalogue.code(runnable.action) if with_code else None
    return document(runnable.action.document(code, runnable.parameters))


async def put(controller: Controller, request: Request, name: str) -> Reply:
    """PUT: create, or with `overwrite=true` change an action."""
    overwrite = request.flag("overwrite")
    config, catalogue, user = controller.config, controller.catalogue, request.user
    said = bodies.action(await request.json(config.limits.body), config, user.namespace)
    async with catalogue.changing:
        _check_package(controller, name)
        old = catalogue.find(Action, name)
        if old is not None and not overwrite:
            raise Refused(409, messages.EXISTS)
        spec = said.exec or (old.exec if old else None)
        if spec is None:
            raise Refused(400, messages.EXEC_UNDEFINED)
        if said.exec is not None and spec.kind == "sequence":
            _check_sequence(controller, request, name, spec)
        path, own_name = split(name)
        parameters = said.parameters if said.parameters is not None else old.parameters if old else ()
        if spec.kind == "sequence":
            components = Parameter("_actions", [f"/{component}" for component in spec.components])
            parameters = merge(parameters, (components,))
        action = Action(
            path=path,
            name=own_name,
            annotations=_annotations(said, old, spec),
            publish=said.publish if said.publish is not None else bool(old and old.publish),
            version=next_version(old.version) if old else FIRST_VERSION,
            updated=int(time.time() * 1000),
            exec=spec,
            parameters=parameters,
            limits=bodies.limits(said.limits, old.limits if old else None, config.limits),
        )
        code = said.code if said.code is not None or old is None else await catalogue.code(old)
        await catalogue.apply(Change(name, action, said.code))
    return document(action.document(code or ""))


async def delete(controller: Controller, name: str) -> Reply:
    """DELETE; rules that name the action stay, and fail when fired."""
    catalogue = controller.catalogue
    async with catalogue.changing:
        _check_package(controller, name)
        action = catalogue.get(Action, name)
        shown = action.document(await catalogue.code(action))
        await catalogue.apply(Change(name, None))
    return document(shown)


async def invoke(controller: Controller, request: Request, name: str) -> Reply:
    """POST: run the action; with `blocking=true` wait for it, and answer 202 when it takes longer."""
    limits = controller.config.limits
    query = request.query
    blocking = bool(query) and request.flag("blocking")
    result_only = bool(query) and request.flag("result")
    wait = _wait(query.get("timeout"), limits.blocking_wait)
    if (length := request.content_length()) > limits.payload:
        raise Refused(413, messages.request_too_large(length, limits.payload))
    controller.throttle.invoke(request.user.namespace)
    payload = await request.payload(limits.payload)
    runnable = controller.resolver.runnable(request.user, name)
    arguments = runnable.arguments | payload if runnable.arguments else payload
    activation = Activation(request.user, request.transaction, request.started, runnable, arguments)
    answered = controller.lives.start(activation)
    if not blocking:
        return _accepted(activation)
    loop = asyncio.get_running_loop()
    expiry = loop.call_later(wait / 1000, _expire, answered)
    try:
        await answered
    finally:
        expiry.cancel()
    return _answer(activation, result_only=result_only)


def _expire(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)


def _accepted(activation: Activation) -> Reply:
    body = b'{"activationId":"%s"}' % activation.id.encode()
    return Reply(_ACCEPTED, body, JSON, _id_header(activation))


def _answer(activation: Activation, *, result_only: bool) -> Reply:
    response = activation.response
    if response is None:
        return _accepted(activation)
    status = 200 if response.code == SUCCESS else 500 if response.code == WHISK_ERROR else _FAILED
    bare = result_only or isinstance(response.result, list)
    body: Any = response.result if bare else activation.record
    return Reply(status, jsontext.dumps(body), JSON, _id_header(activation))


def _id_header(activation: Activation) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"x-openwhisk-activation-id", activation.id.encode()),)


def _wait(text: str | None, most: int) -> int:
    """The `timeout` parameter in ms. Raises Refused 400."""
    if text is None:
        return most
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    detail = f"Timeout must be number of milliseconds up to {most}."
    raise Refused(400, messages.malformed_query("timeout", detail), routed=False)


def _check_package(controller: Controller, name: str) -> None:
    """Raises Refused when the package of an action is not there, or is a binding."""
    path, _ = split(name)
    if name.count("/") + 1 < _IN_PACKAGE:
        return
    package = controller.catalogue.get(Package, path)
    if package.binding:
        raise Refused(400, messages.NOT_ON_BINDING)


def _check_sequence(controller: Controller, request: Request, name: str, spec: Exec) -> None:
    """Raises Refused 400 for a sequence that could not run."""
    if not spec.components:
        raise Refused(400, messages.SEQUENCE_EMPTY)
    if len(spec.components) > controller.config.limits.sequence_length:
        raise Refused(400, messages.SEQUENCE_LONG)
    pending, seen = list(spec.components), set[str]()
    while pending:
        component = pending.pop()
        if component == name:
            raise Refused(400, messages.SEQUENCE_CYCLE)
        if component in seen:
            continue
        seen.add(component)
        try:
            action = controller.resolver.runnable(request.user, component).action
        except Refused as refused:
            if refused.status == FORBIDDEN:
                raise
            raise Refused(400, messages.SEQUENCE_COMPONENT) from None
        pending.extend(action.exec.components)


def _annotations(said: bodies.ActionPut, old: Action | None, spec: Exec) -> tuple[Parameter, ...]:
    """Annotations are merged on update; `exec` follows the kind, `provide-api-key` is false unless said."""
    kind = Parameter("exec", spec.kind)
    if old is None:
        return merge((Parameter("provide-api-key", value=False),), said.annotations or (), (kind,))
    kept = [note for note in old.annotations if note.key not in said.removed_annotations]
    return merge(kept, said.annotations or (), (kind,))
