"""Watches: which change goes to which channel, in the time of two dictionary look-ups however many watches there are.

A change is told in the thread that made it. What nobody watches ends there; the rest crosses to the event loop in
order, many at a time when they come fast. A watch follows its target when that, or a directory above it, is renamed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable

from ..changes import Change, Changes
from ..entries import Entry
from ..subject import Subject
from .channels import WATCH_QUEUE, Channel
from .selectors import Inotify

_SELF_ONLY = frozenset({"IN_DELETE_SELF", "IN_MOVE_SELF"})
_PARENT_ONLY = frozenset({"IN_CREATE", "IN_DELETE", "IN_MOVED_FROM", "IN_MOVED_TO"})
_IGNORED = '{"mask":["IN_IGNORED"]}'
_OVERFLOW = '{"mask":["IN_Q_OVERFLOW"]}'
_SLICE = 256
"""Changes that are handed out before the streams get their turn to write."""


class Watch:
    """One inotify subscription: a channel and a target."""

    kind = "inotify"

    def __init__(self, channel: Channel, target: Entry, selector: Inotify, end: Callable[[Watch], None]) -> None:
        self.channel = channel
        self.pnfsid = target.pnfsid
        self.path = target.path
        self.is_dir = target.is_dir
        self.sid = selection_id(target.pnfsid)
        self.waiting = 0
        self._subject: Subject = channel.owner
        self._overflown = False
        self._closed = False
        self._end = end
        self._suffix = f',"subscription":{json.dumps(channel.subscription_url(self.kind, self.sid))}}}'
        self._shown = selector
        self._events = selector.events
        self._oneshot = selector.has("IN_ONESHOT")

    def selector(self) -> dict[str, object]:
        """As the client sees it."""
        return self._shown.document()

    def reselect(self, selector: Inotify) -> None:
        """A second subscription on the same target takes the place of the first.

        With IN_MASK_ADD the product shows the flags of both and sends events for the new ones only.
        """
        self._shown = selector.added_to(self._shown) if selector.has("IN_MASK_ADD") else selector
        self._events = selector.events
        self._oneshot = self._shown.has("IN_ONESHOT")

    def offer(self, mask: str, name: str | None, payload: str) -> None:
        """An event of the target (name None) or of what lies in it."""
        if self._closed or mask not in self._events or not self._subject.may("READ_METADATA", self._where(name)):
            return
        if self.waiting >= WATCH_QUEUE:
            self._overflown = True
            return
        self._publish(payload)
        if self._oneshot:
            self.close(target_gone=True)

    def caught_up(self) -> None:
        """The client has taken all that waited: tell it when something was dropped meanwhile."""
        if self._overflown and not self._closed:
            self._overflown = False
            self._publish(_OVERFLOW)

    def cancel(self) -> None:
        """End without a word."""
        self._closed = True
        self._end(self)

    def close(self, *, target_gone: bool = False) -> None:
        """End, and tell the client; target_gone: nothing can follow, which turns the order of both."""
        if self._closed:
            return
        self.cancel()
        if target_gone:
            self.channel.closed_subscription(self)
            self._publish(_IGNORED)
        else:
            self._publish(_IGNORED)
            self.channel.closed_subscription(self)

    def _publish(self, payload: str) -> None:
        self.channel.publish(self.kind, payload, self._suffix, self)

    def _where(self, name: str | None) -> str:
        return self.path if name is None else f"{self.path.rstrip('/')}/{name}"


class Watches:
    """All watches. start: in the event loop that the channels live in."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._targets: dict[str, list[Watch]] = {}
        self._directories: dict[str, list[Watch]] = {}
        self._queue: deque[Change] = deque()
        self._pending = False
        self._moves: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Listen from now on."""
        self._loop = asyncio.get_running_loop()
        self._unlisten = self._changes.listen(self._told)

    def stop(self) -> None:
        """Listen no more."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        self._loop = None

    @property
    def pending(self) -> bool:
        """Whether changes wait to be handed out."""
        return bool(self._queue)

    def watch(self, channel: Channel, target: Entry, selector: Inotify) -> tuple[Watch, bool]:
        """Subscribe a channel to a target. Returns the watch, and whether it is new."""
        known = channel.subscriptions.get((Watch.kind, selection_id(target.pnfsid)))
        if isinstance(known, Watch):
            known.reselect(selector)
            return known, False
        made = Watch(channel, target, selector, self._forget)
        self._targets.setdefault(made.pnfsid, []).append(made)
        if made.is_dir:
            self._directories.setdefault(made.path, []).append(made)
        channel.add(made)
        return made, True

    def _told(self, change: Change) -> None:
        """In the thread that made the change."""
        loop = self._loop
        if loop is None or not self._concerns(change):
            return
        self._queue.append(change)
        if not self._pending:
            self._pending = True
            try:
                loop.call_soon_threadsafe(self._hand_out)
            except RuntimeError:
                self._loop = None

    def _concerns(self, change: Change) -> bool:
        return (
            change.pnfsid in self._targets
            or _split(change.path)[0] in self._directories
            or (change.is_dir and change.cookie is not None)
        )

    def _hand_out(self) -> None:
        self._pending = False
        for _ in range(_SLICE):
            try:
                change = self._queue.popleft()
            except IndexError:
                return
            self._deliver(change)
        if self._loop is not None and not self._pending:
            self._pending = True
            self._loop.call_soon(self._hand_out)

    def _deliver(self, change: Change) -> None:
        mask = change.mask
        parent, name = _split(change.path)
        if change.is_dir and change.cookie is not None:
            self._follow(change)
        if mask not in _SELF_ONLY and name and (watching := self._directories.get(parent)):
            payload = _payload(change, name)
            for watch in tuple(watching):
                watch.offer(mask, name, payload)
        if mask not in _PARENT_ONLY and (watching := self._targets.get(change.pnfsid)):
            payload = _payload(change, None)
            for watch in tuple(watching):
                watch.offer(mask, None, payload)
                if mask == "IN_DELETE_SELF":
                    watch.close(target_gone=True)

    def _follow(self, change: Change) -> None:
        """Find the watches at and below a renamed directory by their new names."""
        assert change.cookie is not None  # noqa: S101  as the caller has seen
        if change.mask == "IN_MOVED_FROM":
            self._moves[change.cookie] = change.path
            return
        if change.mask != "IN_MOVED_TO" or (old := self._moves.pop(change.cookie, None)) is None:
            return
        below = [path for path in self._directories if path == old or path.startswith(old + "/")]
        for path in below:
            watching = self._directories.pop(path)
            for watch in watching:
                watch.path = change.path + path[len(old) :]
            self._directories.setdefault(watching[0].path, []).extend(watching)

    def _forget(self, watch: Watch) -> None:
        for index, key in ((self._targets, watch.pnfsid), (self._directories, watch.path)):
            watching = index.get(key)
            if watching is not None and watch in watching:
                watching.remove(watch)
                if not watching:
                    del index[key]


def selection_id(pnfsid: str) -> str:
    """The id of a watch on a target: the 18 bytes of its number in base64."""
    return base64.b64encode(bytes.fromhex(pnfsid)).decode()


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def _payload(change: Change, name: str | None) -> str:
    parts = []
    if name is not None:
        parts.append(f'"name":{json.dumps(name, ensure_ascii=False)}')
    if name is not None and change.cookie is not None:
        parts.append(f'"cookie":{json.dumps(change.cookie)}')
    directory = ',"IN_ISDIR"' if change.is_dir else ""
    parts.append(f'"mask":["{change.mask}"{directory}]')
    return "{" + ",".join(parts) + "}"
