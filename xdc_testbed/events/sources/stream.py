"""Read a stream of notices in a thread of its own, so that reading never waits for what the notices lead to."""

from __future__ import annotations

import queue
import threading
import time
from typing import TypeAlias

from xdc_testbed.clients.dcache_events import EventChannels, Notice
from xdc_testbed.errors import XdcError

OPENED = "opened"
ENDED = "ended"
_WAITING = 20_000  # notices that may wait; the frontend buffers further ones

Item: TypeAlias = Notice | Exception | str


class Stream:
    """One connection. Gives OPENED, notices, and at last ENDED or the error that ended it."""

    def __init__(self, channels: EventChannels, channel: str, last: int | None, silence: float) -> None:
        self._channels = channels
        self._channel = channel
        self._last = last
        self._silence = silence
        self._items: queue.Queue[Item] = queue.Queue(_WAITING)
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def get(self, timeout: float) -> Item | None:
        """The next item, None after timeout seconds."""
        try:
            return self._items.get(timeout=timeout)
        except queue.Empty:
            return None

    def batch(self, timeout: float, most: int) -> list[Item]:
        """What is there, at most so many, waiting up to timeout seconds for the first."""
        found = [] if (first := self.get(timeout) if timeout > 0 else self._now()) is None else [first]
        while found and len(found) < most and (item := self._now()) is not None:
            found.append(item)
        return found

    def close(self) -> None:
        """Take no more; the thread ends with the next byte or the silence, whichever comes first."""
        self._stop.set()

    def _now(self) -> Item | None:
        try:
            return self._items.get_nowait()
        except queue.Empty:
            return None

    def _run(self) -> None:
        try:
            with self._channels.stream(self._channel, self._last, silence=self._silence) as notices:
                self._put(OPENED)
                for notice in notices:
                    self._put(notice)
                    if self._stop.is_set():
                        return
        except XdcError as error:
            self._put(error)
        else:
            self._put(ENDED)

    def _put(self, item: Item) -> None:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=0.5)
            except queue.Full:
                time.sleep(0.05)
            else:
                return
