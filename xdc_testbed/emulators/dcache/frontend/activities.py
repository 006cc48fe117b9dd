"""What a bulk request does to one target."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from typing import Any

from ..entries import Entry
from ..subject import Subject
from ..transitions import StageFailed
from . import storage_class
from .answers import Problem
from .context import READ, Context, may
from .durations import BadDuration, seconds_of
from .names import UNITS, find, remove

_log = logging.getLogger(__name__)
ACTIVITIES = ("DELETE", "LOG_TARGET", "PIN", "RELEASE", "STAGE", "UNPIN", "UPDATE_QOS")
_PIN_LIFETIME = 300.0
_STAGE_LIFETIME = 2 * 86400.0
_PATIENCE = 600.0
_ARGUMENTS = {
    "PIN": {"lifetime", "lifetime-unit", "id"},
    "UNPIN": {"id"},
    "RELEASE": {"id"},
    "STAGE": {"diskLifetime", "targetedMetadata"},
    "UPDATE_QOS": {"targetQos", "qosPolicy", "qosState"},
}
_NOT_FOUND, _DENIED = 10001, 10018
Waiting = Callable[[], None]


class Rejected(Exception):
    """The arguments do not fit the activity: all targets are cancelled."""


class TargetFailed(Exception):
    """A target cannot be done; kind: the Java exception that the product names."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Prepared:
    """An activity with its arguments, checked."""

    activity: str
    arguments: dict[str, Any]
    lifetimes: dict[str, float]


def prepare(activity: str, arguments: dict[str, Any]) -> Prepared:
    """Check the arguments. Raises Rejected."""
    if set(arguments) - _ARGUMENTS.get(activity, set(arguments)):
        raise Rejected
    lifetimes: dict[str, float] = {}
    if activity == "STAGE":
        try:
            given = json.loads(str(arguments.get("diskLifetime", "{}")))
            lifetimes = {path: seconds_of(str(text)) for path, text in given.items()}
        except (ValueError, AttributeError, BadDuration):
            raise Rejected from None
    if activity == "UPDATE_QOS" and not ({"targetQos", "qosPolicy"} & set(arguments)):
        raise Rejected
    return Prepared(activity, arguments, lifetimes)


def carry_out(context: Context, owner: Subject, request: str, prepared: Prepared, path: str) -> Waiting:
    """Begin with one target. Returns the function that waits for its end; both raise TargetFailed."""
    try:
        entry = find(context, owner, path, f"No such file or directory {path}")
        return _WORK[prepared.activity](context, owner, request, prepared, entry)
    except Problem as problem:
        raise _failure(problem) from None


def _delete(context: Context, owner: Subject, _request: str, _prepared: Prepared, entry: Entry) -> Waiting:
    remove(context, owner, entry.path)
    return _at_once


def _log_target(_context: Context, _owner: Subject, request: str, _prepared: Prepared, entry: Entry) -> Waiting:
    _log.info("bulk request %s: target %s", request, entry.pnfsid)
    return _at_once


def _pin(context: Context, owner: Subject, request: str, prepared: Prepared, entry: Entry) -> Waiting:
    arguments = prepared.arguments
    unit = str(arguments.get("lifetime-unit", "SECONDS"))
    try:
        lifetime = float(arguments.get("lifetime", _PIN_LIFETIME)) * UNITS[unit]
    except (ValueError, KeyError):
        raise TargetFailed("java.lang.IllegalArgumentException", f"No enum constant {unit}") from None
    return _keep(context, owner, str(arguments.get("id", request)), entry, lifetime)


def _stage(context: Context, owner: Subject, request: str, prepared: Prepared, entry: Entry) -> Waiting:
    return _keep(context, owner, request, entry, prepared.lifetimes.get(entry.path, _STAGE_LIFETIME))


def _unpin(context: Context, owner: Subject, request: str, prepared: Prepared, entry: Entry) -> Waiting:
    if not may(owner, "STAGE", entry, READ):
        raise Problem(403)
    context.transitions.unpin(entry.pnfsid, str(prepared.arguments.get("id", request)))
    return _at_once


def _update_qos(context: Context, owner: Subject, _request: str, prepared: Prepared, entry: Entry) -> Waiting:
    arguments = prepared.arguments
    given = {"target": arguments.get("targetQos"), "policy": arguments.get("qosPolicy")}
    storage_class.change(context, owner, entry, {**given, "state": arguments.get("qosState", 0)})
    until = time.monotonic() + context.config.qos.transition_s
    return lambda: time.sleep(max(0.0, until - time.monotonic()))


_WORK: dict[str, Callable[[Context, Subject, str, Prepared, Entry], Waiting]] = {
    "DELETE": _delete,
    "LOG_TARGET": _log_target,
    "PIN": _pin,
    "RELEASE": _unpin,
    "STAGE": _stage,
    "UNPIN": _unpin,
    "UPDATE_QOS": _update_qos,
}


def _keep(context: Context, owner: Subject, pin: str, entry: Entry, lifetime: float) -> Waiting:
    if entry.is_dir:
        raise TargetFailed("diskCacheV111.util.NotFileCacheException", f"CacheException(rc=10022;msg={entry.path})")
    if not may(owner, "STAGE", entry, READ):
        raise Problem(403)
    context.transitions.pin(entry.pnfsid, pin, lifetime)
    future: Future[Entry] = context.transitions.stage(entry)

    def wait() -> None:
        try:
            future.result(_PATIENCE)
        except TooLate:
            raise TargetFailed("diskCacheV111.util.TimeoutCacheException", "CacheException(rc=10006)") from None
        except StageFailed as error:
            raise TargetFailed("diskCacheV111.util.CacheException", f"CacheException(rc=10011;msg={error})") from None

    return wait


def _failure(problem: Problem) -> TargetFailed:
    if problem.status == 404:
        return TargetFailed(
            "diskCacheV111.util.FileNotFoundCacheException", f"CacheException(rc={_NOT_FOUND};msg={problem})"
        )
    if problem.status == 403:
        return TargetFailed(
            "diskCacheV111.util.PermissionDeniedCacheException", f"CacheException(rc={_DENIED};msg=Access denied)"
        )
    return TargetFailed("diskCacheV111.util.CacheException", str(problem))


def _at_once() -> None:
    """For what has ended when it has begun."""
