"""Counts what became of every file, by the step of the plan during which it came. Pure: takes facts, answers questions.

files in = results + dead letters, each with its reason; nothing twice. A file is in when the storage has said so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from xdc_testbed.soak.facts import Began, Copy, Dead, Ended, Fact, In, Problem, Ready, Refused, Residue
from xdc_testbed.soak.outcome import Line, Span

ACTIONS = {False: "noop", True: "transfer"}
SLOW = 5.0  # seconds after which a file counts as held up
_NAMED = 8  # files that a line names one by one


@dataclass
class Account:
    """One file. began, ended: seconds by the clock of whoever gives the facts; taken: None before the storage says so.

    results: of actions that went well, by action; dead: reasons of dead letters.
    """

    number: int
    transferred: bool
    step: int | None
    began: float
    taken: In | None = None
    refusals: list[str] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    dead: list[str] = field(default_factory=list)
    ended: float | None = None

    @property
    def settled(self) -> bool:
        """Whether it is in and has an end."""
        return self.taken is not None and self.ended is not None

    @property
    def repeated(self) -> int:
        """Ends that it has beyond the one that it should have."""
        return max(0, self.results.total() + len(self.dead) - 1)


@dataclass
class Ledger:
    """All files of a soak. Facts come in any order that the streams of the testbed allow."""

    accounts: dict[int, Account] = field(default_factory=dict)
    residue: tuple[str, ...] = ()
    ready: Ready | None = None
    problem: Problem | None = None
    _open: int | None = None
    _by_path: dict[str, Account] = field(default_factory=dict)
    _early: dict[str, list[tuple[float, Ended | Dead]]] = field(default_factory=dict)
    _copies: dict[tuple[str, str], Copy] = field(default_factory=dict)

    def open(self, step: int) -> None:
        """Files that begin from now on belong to this step."""
        self._open = step

    def close(self) -> None:
        """Files that begin from now on belong to no step."""
        self._open = None

    def take(self, fact: Fact, now: float) -> None:
        """Take one fact. now: seconds, on any clock that only goes forward."""
        match fact:
            case Ready():
                self.ready = fact
            case Problem():
                self.problem = fact
            case Began():
                self.accounts[fact.file] = Account(fact.file, fact.transferred, self._open, now)
            case Refused():
                self.accounts[fact.file].refusals.append(fact.reason)
            case In():
                account = self.accounts[fact.file]
                account.taken = fact
                self._by_path[fact.path] = account
                for at, early in self._early.pop(fact.path, []):
                    self._end(account, early, at)
            case Ended() | Dead():
                known = self._by_path.get(fact.path)
                if known is None:  # not acknowledged yet, or never
                    self._early.setdefault(fact.path, []).append((now, fact))
                else:
                    self._end(known, fact, now)
            case Copy():
                self._copies[fact.path, fact.endpoint] = fact
            case Residue():
                self.residue = fact.names

    def waiting(self, step: int | None) -> list[Account]:
        """Files of a step that are not in yet or have no end."""
        return [account for account in self.of(step) if not account.settled]

    def of(self, step: int | None) -> list[Account]:
        """Files of a step; of none: those from between the steps."""
        return [account for account in self.accounts.values() if account.step == step]

    def says(self, step: int | None, text: str) -> bool:
        """Whether a dead letter of the step has this in its reason."""
        return any(text in reason for account in self.of(step) for reason in account.dead)

    def held_up(self, now: float) -> int:
        """How many files have been waiting for their end for longer than they should."""
        return sum(not account.settled and now - account.began > SLOW for account in self.accounts.values())

    @property
    def unsettled(self) -> int:
        """How many files of all are not in yet or have no end."""
        return sum(not account.settled for account in self.accounts.values())

    def recovered(self, over: float) -> float:
        """Seconds from the end of a fault until the last file that it held up had ended; 0 when it held up none."""
        held = [
            account.ended - over
            for account in self.accounts.values()
            if account.ended is not None
            and account.began < over + SLOW
            and account.ended > over
            and account.ended - account.began > SLOW
        ]
        return max(held, default=0.0)

    def backlog(self, seconds: Iterable[float]) -> list[int]:
        """How many files waited for their end at each of these moments."""
        spans = [(one.began, one.ended) for one in self.accounts.values()]
        return [sum(began <= at and (ended is None or ended > at) for began, ended in spans) for at in seconds]

    def line(self, step: int | None, span: Span, problems: Iterable[str] = ()) -> Line:
        """What came of a step's files. problems: what is wrong beside the files."""
        accounts = self.of(step)
        taken = [account for account in accounts if account.taken is not None]
        unended = [_name(account) for account in taken if account.ended is None]
        never = sum(account.taken is None for account in accounts)
        wrong = [said for account in taken if (said := self._wrong(account)) is not None]
        reasons = Counter(_short(reason) for account in taken for reason in account.dead)
        repeated = sum(account.repeated for account in taken)
        found = [
            *problems,
            *([] if taken or not span.faults else ["no file came in, so this proves nothing"]),
            *([f"{len(unended)} files have no end: {_some(unended)}"] if unended else []),
            *([f"{never} files were never taken by the storage"] if never else []),
            *([f"{reasons['']} dead letters without a reason"] if reasons[""] else []),
            *([f"{repeated} ends too many"] if repeated else []),
            *([f"{len(wrong)} copies are not what was sent: {_some(wrong)}"] if wrong else []),
            *(
                [f"no dead letter says '{span.must_say}'"]
                if span.must_say and not self.says(step, span.must_say)
                else []
            ),
        ]
        return Line(
            span=span,
            files_in=len(taken),
            transferred=sum(account.transferred for account in taken),
            results=sum(account.results.total() > 0 for account in taken),
            dead_letters=sum(bool(account.dead) and not account.results for account in taken),
            reasons=dict(reasons.most_common()),
            refused=dict(Counter(_short(reason) for one in accounts for reason in one.refusals).most_common()),
            repeated=repeated,
            problems=tuple(found),
        )

    def _end(self, account: Account, fact: Ended | Dead, at: float) -> None:
        """A failed result is no end: the dead letter that goes with it is."""
        match fact:
            case Ended(status="failed"):
                return
            case Ended():
                account.results[fact.action] += 1
            case Dead():
                account.dead.append(fact.reason)
        account.ended = at if account.ended is None else account.ended

    def _wrong(self, account: Account) -> str | None:
        """How a file differs from what was sent, where it has to be; None when it does not, or was not looked at."""
        sent = account.taken
        if sent is None or self.ready is None:
            return None
        places = [(self.ready.origin, True)]
        if account.transferred and self.ready.remote is not None:
            places.append((self.ready.remote, account.results["transfer"] > 0))
        for endpoint, must in places:
            copy = self._copies.get((sent.path, endpoint))
            if copy is None or (copy.size is None and not must):
                continue
            if (copy.size, copy.adler32) != (sent.size, sent.adler32):
                return f"{sent.path} at {endpoint}: " + ("missing" if copy.size is None else f"{copy.size} bytes")
        return None


def _name(account: Account) -> str:
    return account.taken.path if account.taken is not None else f"file {account.number}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_VARYING = (
    (re.compile(r"/data/(?:proc|bench)/soak-[0-9a-f]+/[\w.-]+"), "/…"),
    (re.compile(r"\b\d\d:\d\d:\d\d UTC"), "…"),
    (re.compile(r"\b\d+(?:\.\d+)? s\b"), "… s"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "…"),
)


def _short(reason: str) -> str:
    """A reason without what differs from file to file, so that the same ones are counted together."""
    for pattern, said in _VARYING:
        reason = pattern.sub(said, reason)
    return reason
