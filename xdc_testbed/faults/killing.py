"""Services that die by SIGKILL, and come back because systemd starts them again: one blow, nothing held down."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xdc_testbed.errors import DeadlineExceeded, WrongUsage
from xdc_testbed.faults.model import Kill
from xdc_testbed.faults.shell import Run

CGROUPS = Path("/sys/fs/cgroup")
_LOOK = 0.1


def kill(run: Run, fault: Kill, active: Sequence[str], cgroups: Path = CGROUPS) -> None:
    """Kill, and wait until systemd has brought back what died.

    Raises WrongUsage for a unit that does not run or has no such process, DeadlineExceeded when one stays away.
    """
    if idle := [unit for unit in fault.units if unit not in active]:
        raise WrongUsage(f"{', '.join(idle)} does not run, so it cannot be killed", remedy="see: xdc-testbed status")
    if fault.processes is not None:
        found = [pid for unit in fault.units for pid in _processes(run, unit, fault.processes, cgroups)]
        if not found:
            raise WrongUsage(
                f"no process of {', '.join(fault.units)} has '{fault.processes}' in its command line",
                remedy="is one of them at work? see: systemctl status on the node",
            )
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return
    before = {unit: _started(run, unit) for unit in fault.units}
    run("systemctl", "kill", "--signal=SIGKILL", *fault.units)
    _await(run, before, fault.within)


def start(run: Run, units: Sequence[str]) -> None:
    """Start what systemd did not bring back."""
    if units:
        run("systemctl", "reset-failed", *units, check=False)  # fails for a unit that was never loaded
        run("systemctl", "start", *units)


def _await(run: Run, before: dict[str, str], within: float) -> None:
    until = time.monotonic() + within
    waiting = dict(before)
    while waiting:
        waiting = {unit: start for unit, start in waiting.items() if not _is_back(run, unit, start)}
        if waiting and time.monotonic() > until:
            raise DeadlineExceeded(
                f"{', '.join(waiting)} did not come back within {within:g} s",
                remedy="look at its journal: xdc-testbed logs",
            )
        if waiting:
            time.sleep(_LOOK)


def _is_back(run: Run, unit: str, before: str) -> bool:
    return run("systemctl", "is-active", unit, check=False).text == "active" and _started(run, unit) != before


def _started(run: Run, unit: str) -> str:
    """What changes with every start of a unit."""
    return run("systemctl", "show", "--property=InvocationID", "--value", unit).text


def _processes(run: Run, unit: str, text: str, cgroups: Path) -> list[int]:
    """Processes of a unit, whatever group below its own they are in, whose command line has the text."""
    group = run("systemctl", "show", "--property=ControlGroup", "--value", unit).text
    folder = cgroups / group.strip("/")
    pids = [int(line) for file in folder.rglob("cgroup.procs") for line in file.read_text().split()]
    return [pid for pid in pids if text in _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
