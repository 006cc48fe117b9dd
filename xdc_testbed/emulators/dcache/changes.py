"""What happens to names and files, one fact at a time, in the order in which it happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One inotify-like fact. mask: one of the IN_* names without IN_ISDIR; path: of the object itself, and for
    IN_MOVED_FROM its former one; cookie: joins the two sides of a rename."""

    mask: str
    pnfsid: str
    path: str
    is_dir: bool
    cookie: str | None = None


Listener = Callable[[Change], None]


class Changes:
    """Hands every change to its listeners, in the thread that made it: a listener is quick and thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call listener for every change from now on. Returns the function that ends it."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe

    def tell(self, change: Change) -> None:
        """Hand over one change."""
        for listener in self._listeners:
            listener(change)
