"""Who may give a file another storage class or policy, and what happens then."""

from __future__ import annotations

from typing import Any

from ..entries import Entry
from ..subject import Subject
from ..transitions import Unsupported
from .answers import Problem, internal
from .context import Context


def allowed(subject: Subject, entry: Entry) -> bool:
    """Administrators, owners with the role qos-user, and primary groups with the role qos-group."""
    roles = subject.roles
    return subject.may("UPDATE_METADATA", entry.path) and (
        "admin" in roles
        or ("qos-user" in roles and subject.uid == entry.uid)
        or ("qos-group" in roles and subject.gid == entry.gid)
    )


def change(context: Context, subject: Subject, entry: Entry, document: dict[str, Any]) -> None:
    """Carry out the action `qos`. document: its target, or its policy and state. Raises Problem."""
    if not allowed(subject, entry):
        raise Problem(403)
    policy = document.get("policy")
    if policy is not None:
        context.policies.apply(entry, str(policy), _state(document.get("state", 0)))
        return
    try:
        target = document.get("target")
        if not isinstance(target, str):
            raise internal("java.lang.IllegalArgumentException", "no target qos given.")
        context.transitions.change(entry, target)
    except Unsupported as error:
        raise Problem(400, f"org.dcache.qos.QoSException: {error}") from None


def _state(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Problem(400, 'JSONObject["state"] is not a int.') from None
