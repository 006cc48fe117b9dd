"""The folders that are watched on one channel of dCache's frontend. Each is subscribed to first and listed then."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Event
from urllib.parse import unquote

from xdc_testbed.clients.dcache import Dcache, FileInfo
from xdc_testbed.clients.dcache_events import EventChannels
from xdc_testbed.clients.errors import NotFound, StorageError
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.sources.tree import Tree
from xdc_testbed.events.sources.watching import FLAGS

log = logging.getLogger(__name__)

_ROOTS = 5.0  # seconds between two looks for a folder to watch that is not there


@dataclass(frozen=True)
class Entered:
    """A folder that is watched now, and what was in it thereafter."""

    path: str
    subscription: str
    children: list[FileInfo]


class Watches:
    """Raises what the client raises. `open` begins with a channel; threads: for listings side by side."""

    def __init__(
        self, tree: Tree, dcache: Dcache, counters: Counters, threads: Executor, roots: tuple[str, ...]
    ) -> None:
        self._tree = tree
        self._dcache = dcache
        self._channels = EventChannels(dcache)
        self._counters = counters
        self._threads = threads
        self.roots = roots
        self._channel = ""
        self._next_look = 0.0

    def open(self, channel: str) -> None:
        """Watch on this channel from now on."""
        self._channel = channel

    def path(self, subscription: str) -> str | None:
        """The folder that a notice is of. Product and library do not quote a subscription's name alike."""
        return self._tree.watched(unquote(subscription))

    def closed(self, subscription: str) -> str | None:
        """The frontend has ended a subscription; the folder that was watched by it."""
        path = self.path(subscription)
        if path is not None:
            self._tree.unwatch(path)
        return path

    def intact(self) -> bool:
        """Whether the channel still has every subscription: they outlive the connection."""
        there = {unquote(each) for each in self._channels.watched(self._channel)}
        return {unquote(each) for each in self._tree.folders().values()} <= there

    def root_is_missing(self) -> bool:
        """Whether it is time to look again for a folder that could not be watched."""
        if time.monotonic() < self._next_look or all(self._tree.folders(root).get(root) for root in self.roots):
            return False
        self._next_look = time.monotonic() + _ROOTS
        return True

    def walk(self, stop: Event) -> dict[str, FileInfo]:
        """Watch and list everything below the roots, anew; the files that are there, by path."""
        for path in self._tree.folders():
            self._tree.unwatch(path)
        found: dict[str, FileInfo] = {}
        level = list(self.roots)
        while level and not stop.is_set():
            entered = [each for each in self._threads.map(self._enter, level) if each is not None]
            level = []
            for each in entered:
                self._tree.watch(each.path, unquote(each.subscription), each.subscription)
                level += [info.path for info in each.children if info.is_directory]
                found.update({info.path: info for info in each.children if not info.is_directory})
        return found

    def enter(self, path: str) -> Entered | None:
        """Watch and list one folder; None when it is not there, or may not be watched."""
        entered = self._enter(path)
        if entered is not None:
            self._tree.watch(path, unquote(entered.subscription), entered.subscription)
        return entered

    def leave(self, path: str) -> None:
        """Watch a folder no more."""
        subscription = self._tree.folders(path).get(path)
        self._tree.unwatch(path)
        if subscription is not None:
            try:
                self._channels.unsubscribe(subscription)
            except NotFound:
                log.debug("%s was not watched any more", path)

    def _enter(self, path: str) -> Entered | None:
        """What comes between subscription and listing is seen twice, never missed."""
        try:
            subscription = self._channels.subscribe(self._channel, path, FLAGS)
        except StorageError as error:
            if error.status != 400:
                raise
            log.warning("not watched: %s", error.message)  # it is gone, or this user may not list it
            self._counters.add("unwatched")
            return None
        try:
            return Entered(path, subscription, self._dcache.list(path, checksum=True, qos=True))
        except NotFound:
            return None
