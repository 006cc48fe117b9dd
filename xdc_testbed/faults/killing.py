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

_LOOK = 0.1


def kill(run: Run, fault: Kill, active: Sequence[str]) -> None:
    """Kill, and wait until systemd has brought back what died.

    Raises WrongUsage for a unit that does not run or has no such process, DeadlineExceeded when one stays away.
    """
    if idle := [unit for unit in fault.units if unit not in active]:
        raise WrongUsage(f"{', '.join(idle)} does not run, so it cannot be killed", remedy="see: xdc-testbed status")
    if fault.processes is not None:
        found = [pid for unit in fault.units for pid in _processes(run, unit, fault.processes)]
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


def _processes(run: Run, unit: str, text: str) -> list[int]:
    """Processes of a unit whose command line has the text: those in the control group of its main process.

    By what /proc says of both, as the group's own path is another one inside a container.
    """
    main = run("systemctl", "show", "--property=MainPID", "--value", unit).text
    group = _read(main, "cgroup")
    pids = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    same = [pid for pid in pids if group and _read(pid, "cgroup") == group]
    return [int(pid) for pid in same if text in _read(pid, "cmdline").replace("\0", " ")]


def _read(pid: str, name: str) -> str:
    try:
        return Path("/proc", pid, name).read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
