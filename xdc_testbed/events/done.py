"""Which work items have ended, so that one that is delivered again is not run again.

The truth is the topic `activation-results`. This set holds the part of it from a moment on, reads further
back when asked about something older, and forgets the oldest when it grows too large.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable

from xdc_testbed.events.feed import Entry

log = logging.getLogger(__name__)

History = Callable[[float], Iterable[Entry]]


class DoneSet:
    """Ids of ended work items.

    history: gives the result records from a moment (epoch seconds) to now; slack: seconds by which the
    clocks of the nodes may differ; capacity: ids kept in memory.
    """

    def __init__(self, history: History, *, slack: float = 10.0, capacity: int = 200_000) -> None:
        self._history = history
        self._slack = slack
        self._capacity = capacity
        self._ids: OrderedDict[str, float] = OrderedDict()
        self._since: float | None = None

    def __contains__(self, work_id: str) -> bool:
        return work_id in self._ids

    def add(self, work_id: str, ended: float) -> None:
        """Note an item as ended at that time (epoch seconds)."""
        self._ids[work_id] = ended
        if len(self._ids) > self._capacity:
            _, oldest = self._ids.popitem(last=False)
            if self._since is not None:
                self._since = max(self._since, oldest)

    def cover(self, moment: float) -> None:
        """Make sure that everything that ended since the moment is known, reading the topic if it is not."""
        wanted = moment - self._slack
        if self._since is not None and self._since <= wanted:
            return
        count = 0
        for entry in self._history(wanted):
            count += 1
            self._read(entry)
        self._since = wanted
        log.info("read %d results since %.0f", count, wanted)

    def forget_coverage(self) -> None:
        """Others may have ended items from now on (a partition came to us): read again before the next
        answer.
        """
        self._since = None

    def _read(self, entry: Entry) -> None:
        try:
            work_id = json.loads(entry.value)["id"]
        except (ValueError, KeyError, TypeError):
            log.warning("record %d:%d of the results is unreadable", entry.partition, entry.offset)
            return
        self.add(work_id, entry.timestamp)
