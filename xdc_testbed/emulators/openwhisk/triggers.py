"""`/namespaces/{ns}/triggers` and `/rules`: event channels, and which actions they start.

A fire is answered before its rules run; what they said is in the `logs` of the trigger's activation record
only.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from typing import Any

from . import bodies, messages, queries
from .controller import Controller
from .entities import FIRST_VERSION, Link, Rule, Trigger, next_version
from .lives import Activation
from .names import split
from .store import Change
from .web import JSON, TEXT, Refused, Reply, Request, document

_firing: set[asyncio.Task[None]] = set()
_ENTITY_HEADERS = {b"content-type", b"content-length", b"timeout-access"}


def list_triggers(controller: Controller, request: Request, namespace: str) -> Reply:
    """GET of the collection."""
    page = queries.page(request, "triggers")
    return page.cut([one.summary() for one in controller.catalogue.listed(Trigger, namespace)], "triggers")


def get_trigger(controller: Controller, name: str) -> Reply:
    """GET of one trigger with its rules."""
    return document(controller.catalogue.get(Trigger, name).document())


async def put_trigger(controller: Controller, request: Request, name: str) -> Reply:
    """PUT: create, or with `overwrite=true` change a trigger."""
    overwrite = request.flag("overwrite")
    catalogue = controller.catalogue
    said = bodies.trigger(await request.json(controller.config.limits.body), controller.config)
    path, own_name = split(name)
    async with catalogue.changing:
        old = catalogue.find(Trigger, name)
        if old is not None and not overwrite:
            raise Refused(409, messages.EXISTS)
        trigger = Trigger(
            path=path,
            name=own_name,
            annotations=said.annotations if said.annotations is not None else old.annotations if old else (),
            publish=said.publish if said.publish is not None else bool(old and old.publish),
            version=next_version(old.version) if old else FIRST_VERSION,
            updated=int(time.time() * 1000),
            parameters=said.parameters if said.parameters is not None else old.parameters if old else (),
            links=old.links if old else (),
        )
        await catalogue.apply(Change(name, trigger))
    return document(trigger.document())


async def delete_trigger(controller: Controller, name: str) -> Reply:
    """DELETE; its rules stay, inactive."""
    catalogue = controller.catalogue
    async with catalogue.changing:
        trigger = catalogue.get(Trigger, name)
        await catalogue.apply(Change(name, None))
    return document(dataclasses.replace(trigger, links=()).document())


async def fire(controller: Controller, request: Request, name: str) -> Reply:
    """POST: start the actions of all active rules; 204 when there is none."""
    limits = controller.config.limits
    if (length := request.content_length()) > limits.payload:
        raise Refused(413, messages.request_too_large(length, limits.payload))
    controller.throttle.fire(request.user.namespace)
    payload = await request.payload(limits.payload)
    trigger = controller.catalogue.get(Trigger, name)
    if not any(link.active for link in trigger.links):
        return Reply(204)
    activation = os.urandom(16).hex()
    task = asyncio.get_running_loop().create_task(_fire(controller, request, trigger, payload, activation))
    _firing.add(task)
    task.add_done_callback(_firing.discard)
    header = ((b"x-openwhisk-activation-id", activation.encode()),)
    return Reply(202, b'{"activationId":"%s"}' % activation.encode(), JSON, header)


async def _fire(
    controller: Controller, request: Request, trigger: Trigger, payload: dict[str, Any], activation: str
) -> None:
    start = int(time.time() * 1000)
    headers = {
        key.decode("latin-1"): value.decode("latin-1")
        for key, value in request.headers.items()
        if key not in _ENTITY_HEADERS
    }
    arguments = {parameter.key: parameter.value for parameter in trigger.parameters} | payload
    arguments["__ow_headers"] = headers
    logs = [_activate(controller, request, link, arguments) for link in trigger.links]
    controller.records.add(
        {
            "activationId": activation,
            "annotations": [],
            "logs": [json.dumps(entry, separators=(",", ":")) for entry in logs],
            "name": trigger.name,
            "namespace": request.user.namespace,
            "publish": False,
            "response": {"result": payload, "status": "success", "success": True},
            "start": start,
            "subject": request.user.namespace,
            "version": trigger.version,
        }
    )


def _activate(controller: Controller, request: Request, link: Link, payload: dict[str, Any]) -> dict[str, Any]:
    """Start one rule's action; returns the entry of the trigger's record: accepted, or why not."""
    failed: dict[str, Any] = {"statusCode": 1, "success": False, "rule": link.rule}
    if not link.active:
        return failed | {"error": messages.inactive_rule(link.rule, link.action), "action": link.action}
    try:
        controller.throttle.invoke(request.user.namespace)
        runnable = controller.resolver.runnable(request.user, link.action)
    except Refused as refused:
        return failed | {"error": refused.text, "action": link.action}
    activation = Activation(request.user, request.transaction, time.time(), runnable, runnable.arguments | payload)
    controller.lives.start(activation)
    accepted = {"statusCode": 0, "success": True, "activationId": activation.id}
    return accepted | {"rule": link.rule, "action": link.action}


def list_rules(controller: Controller, request: Request, namespace: str) -> Reply:
    """GET of the collection, without the rules' status."""
    page = queries.page(request, "rules")
    return page.cut([one.document(None) for one in controller.catalogue.listed(Rule, namespace)], "rules")


def get_rule(controller: Controller, name: str) -> Reply:
    """GET of one rule."""
    rule = controller.catalogue.get(Rule, name)
    return document(rule.document(_is_active(controller, rule)))


async def put_rule(controller: Controller, request: Request, name: str) -> Reply:
    """PUT: create an active rule, or with `overwrite=true` change one."""
    overwrite = request.flag("overwrite")
    catalogue, namespace = controller.catalogue, request.user.namespace
    said = bodies.rule(await request.json(controller.config.limits.body), controller.config, namespace)
    path, own_name = split(name)
    async with catalogue.changing:
        old = catalogue.find(Rule, name)
        if old is not None and not overwrite:
            raise Refused(409, messages.EXISTS)
        trigger_name = said.trigger or (old.trigger if old else None)
        action_name = said.action or (old.action if old else None)
        if trigger_name is None or action_name is None:
            raise Refused(400, "rule requires a valid trigger and a valid action")
        trigger = _existing_trigger(controller, trigger_name)
        action_name = _existing_action(controller, request, action_name)
        active = old is None or _is_active(controller, old)
        rule = Rule(
            path=path,
            name=own_name,
            annotations=said.annotations if said.annotations is not None else old.annotations if old else (),
            publish=said.publish if said.publish is not None else bool(old and old.publish),
            version=next_version(old.version) if old else FIRST_VERSION,
            updated=int(time.time() * 1000),
            trigger=trigger_name,
            action=action_name,
        )
        changes = [
            Change(name, rule),
            Change(trigger_name, trigger.with_link(Link(name, action_name, active))),
        ]
        if old is not None and old.trigger != trigger_name:
            left = catalogue.find(Trigger, old.trigger)
            if left is not None:
                changes.append(Change(old.trigger, left.without(name)))
        await catalogue.apply(*changes)
    return document(rule.document(active))


async def set_rule_status(controller: Controller, request: Request, name: str) -> Reply:
    """POST: switch a rule on or off; answered with the bare text OK."""
    active = bodies.rule_status(await request.json(controller.config.limits.payload))
    catalogue = controller.catalogue
    async with catalogue.changing:
        rule = catalogue.get(Rule, name)
        trigger = catalogue.find(Trigger, rule.trigger)
        if trigger is None or trigger.link(name) is None:
            if active and trigger is None:
                raise Refused(404, messages.RULE_WITHOUT_TRIGGER)
            if not active:
                return Reply(200, b"OK", TEXT)
        if trigger is not None and _is_active(controller, rule) != active:
            await catalogue.apply(Change(rule.trigger, trigger.with_link(Link(name, rule.action, active))))
    return Reply(200, b"OK", TEXT)


async def delete_rule(controller: Controller, name: str) -> Reply:
    """DELETE, active or not; the answer says inactive."""
    catalogue = controller.catalogue
    async with catalogue.changing:
        rule = catalogue.get(Rule, name)
        trigger = catalogue.find(Trigger, rule.trigger)
        changes = [Change(name, None)]
        if trigger is not None:
            changes.append(Change(rule.trigger, trigger.without(name)))
        await catalogue.apply(*changes)
    return document(rule.document(active=False))


def _is_active(controller: Controller, rule: Rule) -> bool:
    trigger = controller.catalogue.find(Trigger, rule.trigger)
    link = trigger.link(rule.full_name) if trigger else None
    return link is not None and link.active


def _existing_trigger(controller: Controller, name: str) -> Trigger:
    trigger = controller.catalogue.find(Trigger, name)
    if trigger is None:
        raise Refused(400, f"trigger /{name} does not exist")
    return trigger


def _existing_action(controller: Controller, request: Request, name: str) -> str:
    """The action's full name. Raises Refused 400 when it is not there."""
    try:
        controller.resolver.runnable(request.user, name)
    except Refused:
        raise Refused(400, f"action /{name} does not exist") from None
    return name
