"""Accounts for every file: what the pipeline's messages say became of it, and what is still missing.

Pure: takes records of the broker, answers questions. A raw file is settled when it has ended as a dead
letter, or when every action on its way has ended well: corrected and, where there is a second site, transferred
with its manifest, recorded in the catalogue and, where the first site has a tape, archived.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

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


@dataclass(frozen=True)
class Stage:
    """One action on the way of a file. endpoint, path: of the event that starts it; what: the file, in words."""

    endpoint: str
    path: str
    action: str
    what: str


@dataclass(frozen=True)
class Way:
    """What the rules of the testbed do with a raw file.

    origin: id of the endpoint that takes raw files; remote: of the one that gets corrected ones, None without a
    second site; archived: whether raw data goes to tape when its product is safe there.
    """

    origin: str
    remote: str | None = None
    archived: bool = False

    def stages(self, raw_path: str) -> tuple[Stage, ...]:
        """The actions that have to end, in the order of the way."""
        corrected = corrected_path(raw_path)
        manifest = corrected + MANIFEST
        stages = [Stage(self.origin, raw_path, "calibrate", "raw file")]
        if self.remote is not None:
            stages += [
                Stage(self.origin, corrected, "transfer", "corrected file"),
                Stage(self.origin, manifest, "transfer", "manifest"),
                Stage(self.remote, manifest, "catalogue", "manifest at the other site"),
            ]
            if self.archived:
                stages.append(Stage(self.remote, manifest, "qos", "manifest at the other site"))
        return tuple(stages)


@dataclass
class Account:
    """What is known of one raw file. events: (endpoint, path) of those seen."""

    path: str
    stages: tuple[Stage, ...]
    events: set[tuple[str, str]] = field(default_factory=set)
    works: dict[tuple[str, str, str], Result] = field(default_factory=dict)
    dead_letter: str | None = None

    def work(self, action: str) -> Result | None:
        """What the action did, of two files with the same action for the first one; None when it was not seen."""
        stage = next((stage for stage in self.stages if stage.action == action), None)
        return None if stage is None else self.works.get(_key(stage))

    @property
    def settled(self) -> bool:
        """Whether nothing more will come."""
        if self.dead_letter is not None:
            return True
        return all((work := self.works.get(_key(stage))) and work.status == "ok" for stage in self.stages)

    @property
    def said(self) -> str:
        """What became of the file, or what is missing."""
        if self.dead_letter is not None:
            return f"failed: {self.dead_letter}"
        for stage in self.stages:
            work = self.works.get(_key(stage))
            if work is None:
                seen = (stage.endpoint, stage.path) in self.events
                event = "storage event seen" if seen else "no storage event seen"
                return f"missing: {event} of the {stage.what}, no result of {stage.action}"
            if work.status == "failed":
                return f"missing: a dead letter for the failed {stage.action} of the {stage.what} ({work.reason})"
        done = {stage.action for stage in self.stages}
        words = {"transfer": "transferred", "catalogue": "recorded", "qos": "archived"}
        return " and ".join(["corrected", *(word for action, word in words.items() if action in done)])


@dataclass
class Ledger:
    """The accounts of all raw files of a run. raw_paths: as uploaded; events: ids of the events seen."""

    raw_paths: Iterable[str]
    way: Way
    events: set[str] = field(default_factory=set)
    accounts: dict[str, Account] = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = {path: Account(path, self.way.stages(path)) for path in self.raw_paths}
        self._by_file = {
            (stage.endpoint, stage.path): account for account in self.accounts.values() for stage in account.stages
        }

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
        account.events.add((event.data.endpoint, event.subject))

    def _take_result(self, result: Result) -> None:
        account = self._account(result.subject, result.endpoint)
        if account is None:
            return
        account.events.add((result.endpoint, result.subject))
        key = (result.endpoint, result.subject, _short(result.action))
        account.works[key] = _better(account.works.get(key), result)

    def _take_dead_letter(self, letter: DeadLetter) -> None:
        if letter.result is None:
            return
        account = self._account(letter.result.subject, letter.result.endpoint)
        if account is not None:
            account.dead_letter = letter.reason
            self._take_result(letter.result)

    def _account(self, path: str, endpoint: str) -> Account | None:
        return self._by_file.get((endpoint, path))


def _key(stage: Stage) -> tuple[str, str, str]:
    return stage.endpoint, stage.path, stage.action


def _short(action: str) -> str:
    """`/_/xdc/transfer` is transfer."""
    return action.rpartition("/")[2]


def _better(old: Result | None, new: Result) -> Result:
    """The first success counts: a repetition says only that it was done already."""
    return new if old is None or (old.status == "failed" and new.status == "ok") else old
