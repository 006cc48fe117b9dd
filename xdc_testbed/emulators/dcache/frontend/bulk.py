"""Bulk requests: one activity on many targets, carried out in the background, and what became of each.

They are kept in a database, as in the product: after a restart a request that had not ended is carried out again, but
for the targets that had. Source: dCache user guide, bulk; true answers of 12.0.1.
"""

from __future__ import annotations

import logging
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..subject import Subject
from . import activities
from .activities import ACTIVITIES, Rejected, TargetFailed
from .answers import Problem, internal
from .bulk_database import BulkDatabase
from .bulk_request import FINAL, Bulk, Target, now
from .context import Context
from .names import find

_log = logging.getLogger(__name__)
_LARGEST_FLAT = 500
_LARGEST_EXPANDED = 10
_AT_ONCE = 8


class Requests:
    """All bulk requests."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.RLock()
        self._database = BulkDatabase(context.config.root / "bulk.sqlite")
        self._requests = {bulk.uid: bulk for bulk in self._database.load()}
        self._workers = ThreadPoolExecutor(_AT_ONCE, "bulk")

    def start(self) -> None:
        """Go on with what had not ended when the process did."""
        for bulk in list(self._requests.values()):
            if bulk.final:
                continue
            for target in bulk.targets:
                if target.state not in FINAL:
                    target.state, target.started = "CREATED", None
            self._workers.submit(self._carry_out, bulk)

    def close(self) -> None:
        """Begin nothing more, and keep what is under way for the next start."""
        self._database.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def submit(self, owner: Subject, base: str, document: dict[str, Any]) -> Bulk:
        """Accept a request; base: the URL of the collection. Raises Problem."""
        options = dict(document)
        arguments = options.pop("arguments", None) or {}
        paths = _targets(options.pop("target", None))
        activity = _option(options, "activity")
        prefix = _option(options, "target_prefix") or "/"
        depth = str(_option(options, "expand_directories") or "NONE").upper()
        cancel_on_failure, clear_on_success, clear_on_failure = (
            _flag(_option(options, name)) for name in ("cancel_on_failure", "clear_on_success", "clear_on_failure")
        )
        _option(options, "pre_store")
        if options:
            raise Problem(400, f"unsupported arguments: [{', '.join(options)}]")
        if paths is None:
            message = 'Cannot invoke "java.util.List.stream()" because "target" is null'
            raise internal("java.lang.NullPointerException", message)
        if str(activity) not in ACTIVITIES:
            raise Problem(400, f"{activity} is not a recognized activity.")
        if depth == "ALL" or len(paths) > (_LARGEST_FLAT if depth == "NONE" else _LARGEST_EXPANDED):
            raise Problem(413)
        arrived, uid = now(), str(uuid.uuid4())
        made = Bulk(
            number=0,
            uid=uid,
            url=f"{base}/{uid}",
            owner=owner,
            activity=str(activity),
            prefix=str(prefix),
            arguments=arguments,
            expand=depth == "TARGETS",
            paths=list(dict.fromkeys(paths)),
            arrived=arrived,
            modified=arrived,
            cancel_on_failure=cancel_on_failure,
            clear_on_success=clear_on_success,
            clear_on_failure=clear_on_failure,
        )
        made.targets = [Target(0, _absolute(made.prefix, path), arrived) for path in made.paths]
        with self._lock:
            self._database.add(made)
            self._requests[uid] = made
        self._workers.submit(self._carry_out, made)
        return made

    def get(self, uid: str, user: Subject) -> Bulk:
        """A request of the user, or any for an administrator. Raises Problem 404 or 403."""
        with self._lock:
            found = self._requests.get(uid)
        if found is None:
            raise Problem(404, f"request {uid} not found")
        if found.owner.uid != user.uid and "admin" not in user.roles:
            raise Problem(403)
        return found

    def matching(self, statuses: set[str] | None, owners: set[str] | None, path: str | None, offset: int) -> list[Bulk]:
        """The requests that match, the oldest first."""
        with self._lock:
            found = list(self._requests.values())
        return [
            bulk
            for bulk in found
            if bulk.number >= offset
            and (statuses is None or bulk.status in statuses)
            and (owners is None or owner_of(bulk) in owners)
            and (path is None or any((target.path + "/").startswith(path.rstrip("/") + "/") for target in bulk.targets))
        ]

    def cancel(self, bulk: Bulk, paths: list[str] | None) -> None:
        """Begin no more targets: all, or those of paths. Raises Problem 400 for a path that is no target."""
        with self._lock:
            known = {target.path: target for target in bulk.targets}
            wanted = list(known) if paths is None else [_absolute(bulk.prefix, path) for path in paths]
            strangers = [path for path in wanted if path not in known]
            if strangers:
                raise Problem(400)
            for path in wanted:
                if known[path].state not in FINAL:
                    known[path].end("CANCELLED")
            if paths is None and not bulk.final:
                bulk.status, bulk.modified = "CANCELLED", now()
            self._database.save(bulk, *(known[path] for path in wanted))

    def clear(self, bulk: Bulk, *, cancel: bool) -> None:
        """Forget a request. cancel: end it first; without it, Problem 400 for one that is not finished."""
        if not bulk.final:
            if not cancel:
                raise Problem(400, f"request {bulk.uid} is not in a terminal state; please cancel it first.")
            self.cancel(bulk, None)
        self._forget(bulk)

    def _carry_out(self, bulk: Bulk) -> None:
        try:
            prepared = activities.prepare(bulk.activity, bulk.arguments)
        except Rejected:
            with self._lock:
                for target in bulk.targets:
                    target.end("CANCELLED")
            self._finish(bulk)
            return
        with self._lock:
            if bulk.final:
                return
            bulk.status, bulk.started = "STARTED", now()
            self._database.expand(bulk, self._expanded(bulk))
            targets = list(bulk.targets)
        waiting = []
        for target in targets:
            if not self._begin(bulk, target):
                continue
            try:
                done = activities.carry_out(self._context, bulk.owner, bulk.uid, prepared, target.path)
            except TargetFailed as error:
                self._ended(bulk, target, "FAILED", error)
            except Exception:
                _log.exception("a bulk target failed inside the emulator")
                self._ended(bulk, target, "FAILED", TargetFailed("java.lang.Exception", "internal error"))
            else:
                waiting.append((target, done))
        for target, done in waiting:
            try:
                done()
            except TargetFailed as error:
                self._ended(bulk, target, "FAILED", error)
            else:
                self._ended(bulk, target, "COMPLETED")
        self._finish(bulk)

    def _expanded(self, bulk: Bulk) -> list[Target]:
        """The files of the directories among the targets, once for each request."""
        more: list[Target] = []
        if not bulk.expand or bulk.expanded:
            return more
        for target in bulk.targets:
            try:
                entry = find(self._context, bulk.owner, target.path, "")
            except Problem:
                continue
            if entry.is_dir:
                children = self._context.namespace.children(entry.path)
                more += [Target(0, child.path, now()) for child in children if not child.is_dir]
        bulk.targets += more
        bulk.expanded = True
        return more

    def _begin(self, bulk: Bulk, target: Target) -> bool:
        with self._lock:
            if target.state in FINAL or bulk.final:
                return False
            target.state, target.started = "RUNNING", now()
            self._database.save(bulk, target)
            return True

    def _ended(self, bulk: Bulk, target: Target, state: str, error: TargetFailed | None = None) -> None:
        with self._lock:
            if target.state in FINAL:
                return
            target.end(state, error)
            bulk.modified = now()
            if error is not None and bulk.cancel_on_failure:
                cancelled = [other for other in bulk.targets if other.state not in FINAL]
                for other in cancelled:
                    other.end("CANCELLED")
                self._database.save(bulk, *cancelled)
            self._database.save(bulk, target)

    def _finish(self, bulk: Bulk) -> None:
        with self._lock:
            bulk.modified = now()
            if not bulk.final:
                bulk.status = "COMPLETED"
            failed = any(target.state == "FAILED" for target in bulk.targets)
            if bulk.clear_on_failure if failed else bulk.clear_on_success:
                self._forget(bulk)
            else:
                self._database.save(bulk, *bulk.targets)

    def _forget(self, bulk: Bulk) -> None:
        with self._lock:
            self._requests.pop(bulk.uid, None)
            self._database.remove(bulk)


def owner_of(bulk: Bulk) -> str:
    """`uid:gid`."""
    return f"{bulk.owner.uid}:{bulk.owner.gid}"


def _absolute(prefix: str, path: str) -> str:
    if prefix != "/" and not (path + "/").startswith(prefix.rstrip("/") + "/"):
        path = f"{prefix.rstrip('/')}/{path.lstrip('/')}"
    return "/" + path.strip("/")


def _targets(value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        inner = value.replace('"', "").strip().removeprefix("[").removesuffix("]")
        return [part.strip() for part in inner.split(",") if part.strip()]
    return [str(part) for part in value]


def _option(options: dict[str, Any], name: str) -> Any:
    """An option in any of its three spellings. Raises Problem 400 when it is there twice."""
    first, *rest = name.split("_")
    camel = first + "".join(part.capitalize() for part in rest)
    found = None
    for spelling in dict.fromkeys((name, name.replace("_", "-"), camel, "prestore" if name == "pre_store" else name)):
        value = options.pop(spelling, None)
        if value is not None and found is not None:
            raise Problem(400, f"value for {spelling} defined more than once.")
        found = value if value is not None else found
    return found


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() == "true"
