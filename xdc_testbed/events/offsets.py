"""Which offset may be committed when things end out of order: the end of the unbroken row of ended ones.
Pure.
"""

from __future__ import annotations

import heapq


class OffsetTracker:
    """Follows started and ended positions of one ordered stream (a partition, a journal).

    Positions are started in growing order, may have gaps (compaction, transaction markers), and end in any
    order. `committable` is the position to resume from: everything before it has ended. It never goes back.
    """

    def __init__(self) -> None:
        self._started: list[tuple[int, int]] = []  # heap of (position, resume position)
        self._ended: set[int] = set()
        self._committable: int | None = None
        self._highest = -1

    def start(self, position: int, resume: int | None = None) -> None:
        """Note a position as started; resume: where to go on after it (default: the next position).

        Raises ValueError when positions do not grow.
        """
        if position <= self._highest:
            raise ValueError(f"position {position} comes after {self._highest}")
        self._highest = position
        heapq.heappush(self._started, (position, position + 1 if resume is None else resume))

    def end(self, position: int) -> int | None:
        """Note a position as ended; the new committable position if it moved, else None."""
        self._ended.add(position)
        moved = None
        while self._started and self._started[0][0] in self._ended:
            first, resume = heapq.heappop(self._started)
            self._ended.discard(first)
            moved = self._committable = resume
        return moved

    @property
    def committable(self) -> int | None:
        """Everything before this position has ended; None until the first did."""
        return self._committable

    @property
    def outstanding(self) -> int:
        """How many positions were started and have not ended."""
        return len(self._started) - len(self._ended)

    @property
    def span(self) -> int:
        """How many positions wait in the row, ended ones behind a gap included."""
        return len(self._started)
