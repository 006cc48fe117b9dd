"""Runs a playbook and judges it by what happened on each host, not by the exit code alone.

`ansible-playbook` ends with 0 when a play matched no host; this runner knows which hosts must appear.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xdc_testbed
from xdc_testbed import content
from xdc_testbed.errors import RequirementMissing, VerifyFailed, XdcError
from xdc_testbed.processes import follow
from xdc_testbed.progress import Event, Reporter

_PLUGINS = Path(xdc_testbed.__file__).resolve().parent / "ansible_plugins"


@dataclass
class Outcome:
    """What one playbook did.

    changed: host -> number of changed tasks; failures: (host, task, message); unmatched: plays that met no host though
    their group has members; tasks: (seconds, task); diffs: (host, task) of each change; seconds: of the whole run.
    """

    playbook: str
    changed: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    tasks: list[tuple[float, str]] = field(default_factory=list)
    diffs: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: float = 0.0


class PlaybookFailed(XdcError):
    """A playbook did not do what it should on some host."""

    def __init__(self, outcome: Outcome, message: str, log_file: Path) -> None:
        super().__init__(
            message,
            remedy=f"full output: {log_file}; mend the cause and run the same command again, it resumes",
        )
        self.outcome = outcome


def arguments(
    playbook: Path,
    inventory: Path,
    *,
    extra_vars: Sequence[Path],
    check: bool,
    limit: str | None,
) -> list[str]:
    """The command line of one run; pure."""
    args = [sys.executable, "-m", "ansible", "playbook", str(playbook), "-i", str(inventory)]
    for path in extra_vars:
        args += ["-e", f"@{path}"]
    if check:
        args += ["--check", "--diff"]
    if limit:
        args += ["--limit", limit]
    return args


def environment(state_dir: Path, *, strategy: str, forks: int) -> dict[str, str]:
    """The environment of one run: the kit's ansible.cfg and plugins, nothing from the user's own Ansible settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    local = state_dir / "ansible"
    settings = {
        "ANSIBLE_CONFIG": str(content.root() / "ansible.cfg"),
        "ANSIBLE_HOME": str(local),
        "ANSIBLE_LOCAL_TEMP": str(local / "tmp"),
        "ANSIBLE_ROLES_PATH": str(content.root() / "roles"),
        "ANSIBLE_CALLBACK_PLUGINS": str(_PLUGINS / "callback"),
        "ANSIBLE_STDOUT_CALLBACK": "xdc_events",
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_STRATEGY": strategy,
        "XDC_FREE_STRATEGY": strategy.replace("linear", "free"),  # for plays whose nodes need not wait for each other
        "ANSIBLE_ANY_ERRORS_FATAL": "true",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(local / "cp"),
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
    }
    if strategy.startswith("mitogen"):
        found = importlib.util.find_spec("ansible_mitogen")
        if found is None or not found.submodule_search_locations:
            raise RequirementMissing(
                "mitogen is not installed",
                remedy="pip install 'xdc-testbed[provision]', or set strategy = \"linear\" in testbed.toml",
            )
        settings["ANSIBLE_STRATEGY_PLUGINS"] = str(
            Path(next(iter(found.submodule_search_locations))) / "plugins" / "strategy"
        )
    return kept | settings


def run_playbook(
    name: str,
    *,
    inventory: Path,
    state_dir: Path,
    log_dir: Path,
    extra_vars: Sequence[Path],
    expected: Mapping[str, Sequence[str]],
    report: Reporter,
    phase: str | Callable[[str], str],
    strategy: str,
    timeout: float,
    check: bool = False,
    limit: str | None = None,
) -> Outcome:
    """Run playbooks/<name>.yml; the first host that fails ends the run.

    expected: group -> hosts that must be matched when a play names the group; phase: what the events are said to belong
    to, or a function that tells it from the name of the play that begins.
    Raises PlaybookFailed naming host and task, or the play that matched no host though its group has members.
    """
    playbook = content.root() / "playbooks" / f"{name}.yml"
    if importlib.util.find_spec("ansible") is None:
        raise RequirementMissing("ansible-core is not installed", remedy="pip install 'xdc-testbed[provision]'")
    outcome = Outcome(name)
    reader = _Reader(outcome, expected, report, phase)
    log_file = log_dir / f"ansible-{name}.log"
    (state_dir / "ansible" / "tmp").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (log_dir / f"ansible-{name}.jsonl").open("a") as record:

        def line(text: str) -> None:
            record.write(text + "\n")
            reader.line(text)

        done = follow(
            arguments(playbook, inventory, extra_vars=extra_vars, check=check, limit=limit),
            timeout=timeout,
            on_line=line,
            env=environment(state_dir, strategy=strategy, forks=16),
            cwd=content.root(),
            log_file=log_file,
        )
    outcome.seconds = time.monotonic() - started
    if outcome.failures:
        host, task, message = outcome.failures[0]
        raise PlaybookFailed(outcome, f"{host}: '{task}' failed: {_first_lines(message)}", log_file)
    if outcome.unmatched:
        raise PlaybookFailed(
            outcome, f"play '{outcome.unmatched[0]}' matched no host though the group has members", log_file
        )
    missing = set(expected.get("all", ())) - outcome.hosts if limit is None else set()
    if done.returncode != 0 or not outcome.hosts:
        raise PlaybookFailed(outcome, f"playbook {name} ended with {done.returncode}: {done.reason}", log_file)
    if missing:
        raise VerifyFailed(
            f"playbook {name} did nothing on {', '.join(sorted(missing))}", remedy=f"full output: {log_file}"
        )
    return outcome


def _first_lines(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " | ".join(lines[:3])[:600]


class _Reader:
    """Turns the callback's lines into events and an outcome."""

    def __init__(
        self,
        outcome: Outcome,
        expected: Mapping[str, Sequence[str]],
        report: Reporter,
        phase: str | Callable[[str], str],
    ) -> None:
        self._outcome, self._expected, self._report = outcome, expected, report
        self._phase_of: Callable[[str], str] = (lambda _: phase) if isinstance(phase, str) else phase
        self._phase = ""
        self._play = self._pattern = ""
        self._task_started = 0.0
        self._task = ""

    def line(self, text: str) -> None:
        try:
            event: dict[str, Any] = json.loads(text)
        except ValueError:
            return
        match event.get("event"):
            case "play":
                self._play, self._pattern = event["name"], event["pattern"].strip("[]'\"")
                self._close_task()
                self._phase = self._phase_of(self._play)
            case "no-hosts" if self._expected.get(self._pattern):
                self._outcome.unmatched.append(self._play)
            case "task":
                self._close_task()
                self._task, self._task_started = f"{event['role'] or ''}: {event['name']}", time.monotonic()
                self._report(Event("task-start", event["name"], phase=self._phase))
            case "result":
                self._result(event)
            case "stats":
                self._close_task()
                for host, numbers in event["hosts"].items():
                    self._outcome.hosts.add(host)
                    self._outcome.changed[host] = numbers["changed"]

    def _close_task(self) -> None:
        if self._task:
            self._outcome.tasks.append((time.monotonic() - self._task_started, self._task))
            self._task = ""

    def _result(self, event: dict[str, Any]) -> None:
        status = event["status"]
        if status in ("failed", "unreachable"):
            self._outcome.failures.append((event["host"], event["task"], event.get("message") or status))
        if status == "changed":
            self._outcome.diffs.append((self._phase, event["host"], f"{event['role']}: {event['task']}"))
        self._report(
            Event(
                "task-result",
                event["task"],
                phase=self._phase,
                host=event["host"],
                status=status,
                seconds=event.get("seconds"),
                detail=event.get("message"),
            )
        )
