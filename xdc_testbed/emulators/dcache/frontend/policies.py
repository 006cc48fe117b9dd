"""QoS policies: named sequences of states, kept in `policies.json` beside the namespace, and applied when asked for.

A state names its media, and how long it lasts. It is applied by a client (`{"action": "qos", "policy": ..., "state":
...}`); when it has lasted its duration, the next one follows by itself. A number of copies on disk is made on further
pools. As in the product, a state with disk only leaves a file NEARLINE and REPLICA, and one on tape keeps it REPLICA.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..entries import Entry, NotFound
from ..namespace import Namespace
from ..transitions import Transitions
from .answers import Problem, compact, empty, pretty
from .bodies import org_json
from .context import policies_of, user_of
from .durations import BadDuration, seconds_of
from .policy_clock import PolicyClock

_MEDIA = ("DISK", "HSM")
_ABSENT = "org.springframework.dao.EmptyResultDataAccessException: Incorrect result size: expected 1, actual 0"


class Policies:
    """All policies. root: the folder of their file."""

    def __init__(self, root: Path, namespace: Namespace, transitions: Transitions) -> None:
        self._file = root / "policies.json"
        self._namespace = namespace
        self._transitions = transitions
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            self._known = json.loads(self._file.read_text())
        transitions.copies = self._copies
        self._clock = PolicyClock(root / "policies.sqlite", transitions, self._go_on)

    def names(self) -> list[str]:
        """Of all policies, sorted."""
        return sorted(self._known)

    def get(self, name: str) -> dict[str, Any]:
        """A policy. Raises Problem 400 when there is none."""
        found = self._known.get(name)
        if found is None:
            raise Problem(400, _ABSENT)
        return found

    def add(self, document: dict[str, Any]) -> None:
        """Keep a policy for good; it cannot be changed. Raises Problem 400."""
        policy = _checked(document)
        with self._lock:
            if policy["name"] in self._known:
                raise Problem(400, f"CacheException(rc=10017;msg=QoS policy {policy['name']} already exists.)")
            self._save({**self._known, policy["name"]: policy})

    def remove(self, name: str) -> None:
        """Forget a policy. Raises Problem 400 when there is none."""
        with self._lock:
            self.get(name)
            self._save({key: value for key, value in self._known.items() if key != name})

    def apply(self, entry: Entry, name: str, state: int) -> None:
        """Put a file into a state of a policy. Raises Problem 400, transitions.Unsupported."""
        states = self.get(name)["states"]
        if not 0 <= state < len(states):
            raise Problem(400, f"policy {name} has no state {state}")
        media = {medium["storageMedium"] for medium in states[state]["media"]}
        self._transitions.follow(entry, name, state, tape="HSM" in media)
        duration = states[state].get("duration")
        last = state == len(states) - 1
        self._clock.set(entry.pnfsid, None if duration is None or last or entry.is_dir else seconds_of(str(duration)))

    def _go_on(self, pnfsid: str) -> None:
        """Put a file into the next state of its policy; one that has gone, or whose policy has, is left alone."""
        try:
            entry = self._namespace.by_id(pnfsid)
            if entry.policy is not None and entry.policy_state is not None:
                self.apply(entry, entry.policy, entry.policy_state + 1)
        except (NotFound, Problem):
            self._clock.set(pnfsid, None)

    def _copies(self, entry: Entry) -> int:
        """On how many pools a file is to lie."""
        policy = self._known.get(entry.policy or "")
        if policy is None or entry.policy_state is None or entry.policy_state >= len(policy["states"]):
            return 1
        media = policy["states"][entry.policy_state]["media"]
        return max((int(medium["numberOfCopies"]) for medium in media if medium["storageMedium"] == "DISK"), default=1)

    def _save(self, known: dict[str, dict[str, Any]]) -> None:
        beside = self._file.with_suffix(".new")
        with beside.open("w") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(self._file)
        self._known = known


async def list_policies(request: Request) -> Response:
    """GET /qos-policy"""
    user_of(request)
    return compact(policies_of(request).names())


async def show(request: Request) -> Response:
    """GET /qos-policy/{name}"""
    user_of(request)
    return pretty(policies_of(request).get(request.path_params["name"]))


async def add(request: Request) -> Response:
    """POST /qos-policy, for administrators"""
    _administrator(request)
    policies_of(request).add(await org_json(request))
    return empty(200)


async def remove(request: Request) -> Response:
    """DELETE /qos-policy/{name}, for administrators"""
    _administrator(request)
    policies_of(request).remove(request.path_params["name"])
    return empty(200)


def routes(top: str) -> list[Route]:
    """The routes; top: `/api/v1`."""
    base = f"{top}/qos-policy"
    return [
        Route(base, list_policies, methods=["GET"]),
        Route(base, add, methods=["POST"]),
        Route(f"{base}/{{name}}", show, methods=["GET"]),
        Route(f"{base}/{{name}}", remove, methods=["DELETE"]),
    ]


def _administrator(request: Request) -> None:
    if "admin" not in user_of(request).roles:
        raise Problem(403)


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    name, states = document.get("name"), document.get("states")
    if not (isinstance(name, str) and name and isinstance(states, list) and states):
        raise Problem(400, "a policy needs a name and at least one state")
    return {"name": name, "states": [_checked_state(state, number) for number, state in enumerate(states)]}


def _checked_state(state: Any, number: int) -> dict[str, Any]:
    media = state.get("media") if isinstance(state, dict) else None
    if not isinstance(media, list) or not media:
        raise Problem(400, f"state {number} has no media")
    checked = []
    for medium in media:
        kind = medium.get("storageMedium") if isinstance(medium, dict) else None
        if kind not in _MEDIA:
            raise Problem(400, f"state {number}: storageMedium is DISK or HSM")
        copies = medium.get("numberOfCopies", 1 if kind == "HSM" else None)
        if not isinstance(copies, int):
            raise Problem(400, f"state {number}: DISK needs numberOfCopies")
        checked.append({"storageMedium": kind, "numberOfCopies": copies})
    duration = state.get("duration")
    if duration is not None:
        try:
            seconds_of(str(duration))
        except BadDuration:
            raise Problem(400, f"state {number}: {duration} is no duration") from None
    return ({} if duration is None else {"duration": duration}) | {"media": checked}
