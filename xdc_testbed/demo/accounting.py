"""Accounts for every file: what the pipeline's messages say became of it, and what is still missing.

Pure: takes records of the broker, answers questions. A raw file is settled when it has ended as a dead
letter, or when it is corrected and, where there is a second site, corrected file and manifest have been transferred.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from xdc_testbed.demo.facts import Work
from xdc_testbed.events.model import DeadLetter, Result, StorageEvent

EVENTS, RESULTS, DEAD_LETTERS = "storage-events", "activation-results", "dead-letter"
TOPICS = (EVENTS, RESULTS, DEAD_LETTERS)
MANIFEST = ".manifest.json"


def corrected_path(raw_path: str) -> str:
    """Where the corrected file of a raw one lies: RAW in `raw` becomes CORR in `proc`.

    >>> corrected_path("/data/raw/r0001/RAW-R0001-JNGFR01-S00000.h5")
    '/data/proc/r0001/CORR-R0001-JNGFR01-S00000.h5'
    """
    folder, name = raw_path.rsplit("/", 1)
    return f"{folder.replace('/raw/', '/proc/', 1)}/{name.replace('RAW-', 'CORR-', 1)}"


@dataclass
class Account:
    """What is known of one raw file."""

    path: str
    shipped: bool
    events: set[str] = field(default_factory=set)
    works: dict[str, Work] = field(default_factory=dict)
    dead_letter: str | None = None

    @property
    def calibrate(self) -> Work | None:
        """What corrected the raw file."""
        return self.works.get(self.path)

    @property
    def transfer(self) -> Work | None:
        """What brought the corrected file to the second site."""
        return self.works.get(corrected_path(self.path))

    @property
    def settled(self) -> bool:
        """Whether nothing more will come."""
        if self.dead_letter is not None:
            return True
        return all(path in self.works and self.works[path].status == "ok" for path, _, _ in self._stages())

    @property
    def said(self) -> str:
        """What became of the file, or what is missing."""
        if self.dead_letter is not None:
            return f"failed: {self.dead_letter}"
        for path, what, action in self._stages():
            work = self.works.get(path)
            if work is None:
                seen = "storage event seen" if path in self.events else "no storage event seen"
                return f"missing: {seen} of the {what}, no result of {action}"
            if work.status == "failed":
                return f"missing: a dead letter for the failed {action} of the {what} ({work.reason})"
        return "corrected and transferred" if self.shipped else "corrected"

    def _stages(self) -> list[tuple[str, str, str]]:
        """(path, what it is, the action that has to end) in the order of the way."""
        corrected = corrected_path(self.path)
        shipping = [(corrected, "corrected file", "transfer"), (corrected + MANIFEST, "manifest", "transfer")]
        return [(self.path, "raw file", "calibrate"), *(shipping if self.shipped else [])]


@dataclass
class Ledger:
    """The accounts of all raw files of a run.

    raw_paths: as uploaded; origin: id of the endpoint that has them; shipped: whether a second site gets the
    corrected files. events: ids of the events seen.
    """

    raw_paths: Iterable[str]
    origin: str
    shipped: bool
    events: set[str] = field(default_factory=set)
    accounts: dict[str, Account] = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = {path: Account(path, self.shipped) for path in self.raw_paths}
        self._by_path = dict(self.accounts)
        for path, account in self.accounts.items():
            self._by_path[corrected_path(path)] = self._by_path[corrected_path(path) + MANIFEST] = account

    @property
    def settled(self) -> bool:
        """Whether every file is accounted for."""
        return all(account.settled for account in self.accounts.values())

    @property
    def count(self) -> int:
        """How many files are accounted for."""
        return sum(account.settled for account in self.accounts.values())

    def missing(self) -> list[str]:
        """A line for each file that is not accounted for."""
        return [
            f"{path.rsplit('/', 1)[-1]}: {account.said}"
            for path, account in self.accounts.items()
            if not account.settled
        ]

    def take(self, topic: str, value: bytes) -> None:
        """Take one record; one of another file, or that is no record of this topic, changes nothing."""
        try:
            match topic:
                case "storage-events":
                    self._take_event(StorageEvent.model_validate_json(value))
                case "activation-results":
                    self._take_result(Result.model_validate_json(value))
                case _:
                    self._take_dead_letter(DeadLetter.model_validate_json(value))
        except ValidationError:
            return

    def _take_event(self, event: StorageEvent) -> None:
        account = self._account(event.subject, event.data.endpoint)
        if account is None:
            return
        self.events.add(event.id)
        account.events.add(event.subject)

    def _take_result(self, result: Result) -> None:
        account = self._account(result.subject, result.endpoint)
        if account is None:
            return
        account.events.add(result.subject)
        account.works[result.subject] = _better(account.works.get(result.subject), _work(result))

    def _take_dead_letter(self, letter: DeadLetter) -> None:
        if letter.result is None:
            return
        account = self._account(letter.result.subject, letter.result.endpoint)
        if account is not None:
            account.dead_letter = letter.reason
            self._take_result(letter.result)

    def _account(self, path: str, endpoint: str) -> Account | None:
        return self._by_path.get(path) if endpoint == self.origin else None


def _better(old: Work | None, new: Work) -> Work:
    """The first success counts: a repetition says only that it was done already."""
    return new if old is None or (old.status == "failed" and new.status == "ok") else old


def _work(result: Result) -> Work:
    outcome = result.result.get("status")
    return Work(
        rule=result.rule,
        action=result.action,
        status=result.status,
        outcome=outcome if isinstance(outcome, str) else None,
        reason=result.reason,
        attempts=result.attempts,
        activation_id=result.activation_id,
        **result.times.model_dump(),
    )
