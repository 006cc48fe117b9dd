"""The bodies of PUT requests: what a client may say about an entity, checked as OpenWhisk checks it.

Everything is optional; None means "not said", which on an update keeps what there is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from . import jsontext, messages, names
from .config import Config, Limits
from .entities import ActionLimits, Exec, Parameter, Parameters
from .names import BadNameError
from .web import Refused

KINDS = ("python:3.10", "python:3.11")
DEFAULT_KIND = "python:3.10"
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)")
_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class ActionPut:
    """PUT of an action."""

    exec: Exec | None
    code: str | None
    parameters: Parameters | None
    annotations: Parameters | None
    removed_annotations: tuple[str, ...]
    limits: dict[str, int]
    publish: bool | None


@dataclass(frozen=True, slots=True)
class PackagePut:
    """PUT of a package. binding: full name parts of the bound package, () for an explicitly empty one."""

    binding: tuple[str, ...] | None
    parameters: Parameters | None
    annotations: Parameters | None
    publish: bool | None


@dataclass(frozen=True, slots=True)
class TriggerPut:
    """PUT of a trigger."""

    parameters: Parameters | None
    annotations: Parameters | None
    publish: bool | None


@dataclass(frozen=True, slots=True)
class RulePut:
    """PUT of a rule; trigger and action are full names."""

    trigger: str | None
    action: str | None
    annotations: Parameters | None
    publish: bool | None


def malformed(detail: str) -> Refused:
    """A body that cannot be read."""
    return Refused(400, messages.malformed(detail), routed=False)


def action(body: Any, config: Config, namespace: str) -> ActionPut:
    """Read the body of a PUT of an action. Raises Refused 400 or 413."""
    _object(body, "exec")
    spec, code = _exec(body.get("exec"), config, namespace)
    removed = body.get("delAnnotations") or []
    return ActionPut(
        exec=spec,
        code=code,
        parameters=_parameters(body, "parameters", config),
        annotations=_parameters(body, "annotations", config),
        removed_annotations=tuple(str(key) for key in removed),
        limits=_limits(body.get("limits") or {}),
        publish=_publish(body),
    )


def package(body: Any, config: Config, namespace: str) -> PackagePut:
    """Read the body of a PUT of a package. Raises Refused 400 or 413."""
    _object(body, "binding")
    binding: tuple[str, ...] | None = None
    if isinstance(given := body.get("binding"), dict):
        binding = ()
        if given:
            try:
                bound = names.qualified(f"/{given['namespace']}/{given['name']}", namespace)
            except (KeyError, BadNameError) as error:
                raise malformed(str(error)) from None
            binding = tuple(bound.split("/"))
    return PackagePut(
        binding,
        _parameters(body, "parameters", config),
        _parameters(body, "annotations", config),
        _publish(body),
    )


def trigger(body: Any, config: Config) -> TriggerPut:
    """Read the body of a PUT of a trigger. Raises Refused 400 or 413."""
    _object(body, "parameters")
    return TriggerPut(_parameters(body, "parameters", config), _parameters(body, "annotations", config), _publish(body))


def rule(body: Any, config: Config, namespace: str) -> RulePut:
    """Read the body of a PUT of a rule; its `status` counts for nothing. Raises Refused 400 or 413."""
    _object(body, "trigger")
    return RulePut(
        _reference(body.get("trigger"), namespace),
        _reference(body.get("action"), namespace),
        _parameters(body, "annotations", config),
        _publish(body),
    )


def rule_status(body: Any) -> bool:
    """Read the body of a POST to a rule: whether it is to be active. Raises Refused 400."""
    if not isinstance(body, dict):
        raise malformed(messages.OBJECT_EXPECTED)
    if "status" not in body:
        raise malformed("key not found: status")
    if body["status"] not in {"active", "inactive"}:
        raise malformed(f"requirement failed: {body['status']} is not a recognized rule state")
    return bool(body["status"] == "active")


def limits(given: dict[str, int], old: ActionLimits | None, bounds: Limits) -> ActionLimits:
    """Limits of an action: those said, else the old ones, else the standard. Raises Refused 400 out of
    bounds."""
    start = old or ActionLimits(bounds.std_timeout, bounds.std_memory, bounds.max_logs)
    new = ActionLimits(
        timeout=given.get("timeout", start.timeout),
        memory=given.get("memory", start.memory),
        logs=given.get("logs", start.logs),
        concurrency=given.get("concurrency", start.concurrency),
        instances=given.get("instances", start.instances),
    )
    _within("duration", new.timeout, "milliseconds", bounds.min_timeout, bounds.max_timeout)
    _within("memory size", new.memory, "MB", bounds.min_memory, bounds.max_memory)
    _within("log size", new.logs, "MB", 0, bounds.max_logs)
    _within("concurrency", new.concurrency, "", 1, 1)
    return new


def is_binary(code: str) -> bool:
    """Whether code is taken for a base64 archive, which OpenWhisk decides by looking at it."""
    text = code.strip()
    return bool(text) and len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None


def _within(what: str, value: int, unit: str, least: int, most: int) -> None:
    amount, low, high = (f"{number} {unit}".strip() for number in (value, least, most))
    if value < least:
        raise Refused(400, f"requirement failed: {what} {amount} below allowed threshold of {low}")
    if value > most:
        raise Refused(400, f"requirement failed: {what} {amount} exceeds allowed threshold of {high}")


def _object(body: Any, first_field: str) -> None:
    if not isinstance(body, dict):
        raise malformed(f"Object expected in field '{first_field}'")


def _exec(given: Any, config: Config, namespace: str) -> tuple[Exec | None, str | None]:
    if given is None:
        return None, None
    if not isinstance(given, dict) or not isinstance(given.get("kind"), str):
        raise malformed("'kind' must be a string defined in 'exec'")
    kind, code = given["kind"], given.get("code")
    if kind == "sequence":
        components = given.get("components")
        if not isinstance(components, list):
            raise malformed("'components' must be defined for sequence kind")
        try:
            named = tuple(names.qualified(str(component), namespace) for component in components)
        except BadNameError as error:
            raise malformed(str(error)) from None
        return Exec(kind, components=named), None
    image: str | None = None
    if kind == "blackbox":
        image = given.get("image")
        if not isinstance(image, str):
            raise malformed("'image' must be a string defined in 'exec' for 'blackbox' actions")
        code = code or ""
    else:
        kind = DEFAULT_KIND if kind == "python:default" else kind
        if kind not in KINDS:
            valid = ", ".join(f"'{known}'" for known in ("blackbox", *KINDS, "sequence"))
            raise malformed(
                f"The specified runtime '{kind}' is not supported by this platform. Valid values are: {valid}."
            )
    if not isinstance(code, str):
        raise malformed(f"'code' must be a string or attachment object defined in 'exec' for '{kind}' actions")
    if len(code) > config.limits.code:
        raise Refused(_TOO_LARGE, messages.entity_too_large("exec", len(code), config.limits.code))
    main = given.get("main")
    return Exec(kind, is_binary(code), str(main) if main is not None else None, image), code


def _parameters(body: dict[str, Any], name: str, config: Config) -> Parameters | None:
    given = body.get(name)
    if given is None:
        return None
    try:
        found = tuple(Parameter(entry["key"], entry.get("value"), entry.get("init") is True) for entry in given)
        well_formed = isinstance(given, list) and all(isinstance(parameter.key, str) for parameter in found)
    except (KeyError, TypeError, AttributeError):
        well_formed = False
    if not well_formed:
        raise malformed("parameters malformed!")
    size = sum(len(parameter.key.encode()) + len(jsontext.dumps(parameter.value)) for parameter in found)
    if size > config.limits.parameters:
        raise Refused(_TOO_LARGE, messages.entity_too_large(name, size, config.limits.parameters))
    return tuple({parameter.key: parameter for parameter in found}.values())


def _limits(given: Any) -> dict[str, int]:
    if not isinstance(given, dict):
        raise malformed("limits malformed")
    words = {
        "timeout": "time",
        "memory": "memory",
        "logs": "log",
        "concurrency": "concurrency",
        "instances": "instances",
    }
    found = {key: given[key] for key in words if given.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise malformed(f"{words[key]} limit malformed")
    return found


def _publish(body: dict[str, Any]) -> bool | None:
    given = body.get("publish")
    if given is None or isinstance(given, bool):
        return given
    raise malformed(f"Expected JsTrue or JsFalse, but got {given}")


def _reference(given: Any, namespace: str) -> str | None:
    if given is None:
        return None
    try:
        return names.qualified(str(given), namespace)
    except BadNameError as error:
        raise malformed(str(error)) from None
