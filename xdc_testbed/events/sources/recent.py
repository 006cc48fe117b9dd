"""The ids told last, so that what two records say is told once. Bounded; a repetition beyond it has the same id."""

from __future__ import annotations

from collections import OrderedDict


class Recent:
    """The last `size` keys that were added."""

    def __init__(self, size: int = 100_000) -> None:
        self._size = size
        self._keys: OrderedDict[str, None] = OrderedDict()

    def add(self, key: str) -> bool:
        """Note a key; whether it was not there."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return True

    def discard(self, key: str) -> None:
        """Forget a key."""
        self._keys.pop(key, None)
