"""A node that exists only in memory: enough of iptables and systemctl to see what the agent leaves behind."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import pytest

from xdc_testbed.processes import CommandFailed, Completed


@dataclass
class FakeNode:
    """Runs commands on tables of its own. has_netem: whether its kernel knows netem and htb."""

    has_netem: bool = False
    active: set[str] = field(default_factory=set)
    chains: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    said: list[tuple[str, ...]] = field(default_factory=list)
    fail_on: str | None = None
    restarts: bool = True  # whether systemd starts a killed unit again
    starts: int = 0
    main_pid: int = 0

    def __post_init__(self) -> None:
        for table, chain in (("filter", "INPUT"), ("filter", "OUTPUT"), ("mangle", "PREROUTING")):
            self.chains[table, chain] = []

    def __call__(self, *words: str, check: bool = True) -> Completed:
        self.said.append(words)
        answer = (1, "broken") if self.fail_on in words else self._answer(words)
        completed = Completed(words, answer[0], answer[1].encode(), b"", 0.0)
        if check and completed.returncode != 0:
            raise CommandFailed(completed)
        return completed

    def changes(self) -> list[tuple[str, ...]]:
        """The commands that changed something, since the last call."""
        asking = {"-C", "-S", "is-active", "show", "get"}
        changing = [words for words in self.said if not asking & set(words)]
        self.said.clear()
        return changing

    def _answer(self, words: tuple[str, ...]) -> tuple[int, str]:
        match words[0]:
            case "iptables":
                return self._iptables(words[4], *words[5:])
            case "systemctl":
                return self._systemctl(*words[1:])
            case "systemd-run":
                self.active.add(words[1].removeprefix("--unit="))
                return 0, ""
            case "tc" if not self.has_netem:
                return 2, "Error: Specified qdisc kind is unknown."
            case "ip":
                return 0, f"{words[-1]} dev eth0 src 10.0.0.1"
            case _:
                return 0, ""

    def _iptables(self, table: str, verb: str, chain: str, *rule: str) -> tuple[int, str]:
        rules = self.chains.get((table, chain))
        match verb:
            case "-N":
                self.chains[table, chain] = []
                return 0, ""
            case "-S" if rules is not None:
                return 0, "\n".join([f"-N {chain}", *(f"-A {chain} {text}" for text in rules)])
            case "-X" if rules == []:
                del self.chains[table, chain]
                return 0, ""
        text = shlex.join(rule[1:] if verb == "-I" else rule)
        match verb:
            case "-A" | "-I" if rules is not None:
                rules.append(text)
                return 0, ""
            case "-C" if rules is not None and text in rules:
                return 0, ""
            case "-D" if rules is not None and text in rules:
                rules.remove(text)
                return 0, ""
        return 1, f"iptables: no such rule or chain: {verb} {chain}"

    def _systemctl(self, verb: str, *rest: str) -> tuple[int, str]:
        units = [word for word in rest if not word.startswith("--")]
        match verb:
            case "is-active":
                running = units[0] in self.active
                return (0, "active") if running else (3, "inactive")
            case "show":
                return 0, f"{self.main_pid}" if "--property=MainPID" in rest else f"start-{self.starts}"
            case "kill" if "--signal=SIGKILL" in rest:
                self.starts += 1
                self.active -= set() if self.restarts else set(units)
            case "stop":
                self.active -= set(units)
            case "start" | "restart":
                self.starts += 1
                self.active |= set(units)
        return 0, ""


@pytest.fixture
def node() -> FakeNode:
    """A node whose kernel has no netem."""
    return FakeNode()
