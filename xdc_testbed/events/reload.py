"""Follow the rules file: a new one is taken once it is found right; a wrong one changes nothing, and is said."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import rules as rules_file
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.rules import Rules

log = logging.getLogger(__name__)

_Mark = tuple[int, int, int]


class RulesFile:
    """The rules as they are now. check: raises WrongUsage for rules that this service cannot follow."""

    def __init__(self, path: Path, counters: Counters, check: Callable[[Rules], None] = lambda _: None) -> None:
        self._path = path
        self._counters = counters
        self._check = check
        self._mark = self._look()
        self.rules = self._read()
        self._note()

    def poll(self) -> bool:
        """Look once; whether other rules have been taken."""
        mark = self._look()
        if mark == self._mark:
            return False
        self._mark = mark
        try:
            fresh = self._read()
        except WrongUsage as error:
            self._counters.add("rules_refused")
            self._counters.set("rules_stale", 1)
            log.error("%s; still routing by rules %s", error.message, self.rules.version)  # noqa: TRY400 - one line
            return False
        self._counters.set("rules_stale", 0)
        if fresh.version == self.rules.version:
            return False
        log.info("rules %s take the place of %s", fresh.version, self.rules.version)
        self.rules = fresh
        self._counters.add("rules_reloads")
        self._note()
        return True

    def follow(self, stop: threading.Event, *, every: float = 1.0) -> threading.Thread:
        """Look every so many seconds, in a thread, until `stop` is set."""

        def run() -> None:
            while not stop.wait(every):
                self.poll()

        thread = threading.Thread(target=run, name="rules", daemon=True)
        thread.start()
        return thread

    def _read(self) -> Rules:
        rules = rules_file.load(self._path)
        self._check(rules)
        return rules

    def _look(self) -> _Mark | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _note(self) -> None:
        self._counters.note("rules", self.rules.version)
        log.info("routing by %d rules and %d runs, version %s", *self._counts(), self.rules.version)

    def _counts(self) -> tuple[int, int]:
        return len(self.rules.rule), len(self.rules.run)
