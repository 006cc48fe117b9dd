"""Stopped services: down until the fault is cleared, whoever asks for them, and then as they were.

A drop-in asserts that the fault's record is not there, so systemd itself refuses to start the unit, and
says why. (`systemctl mask --runtime` does not do: a unit file in /etc goes before the mask in /run.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xdc_testbed.faults.model import How, Stop
from xdc_testbed.faults.shell import Run

RUNTIME = Path("/run/systemd/system")


def drop_in(fault_id: str, record: Path) -> str:
    """The text that holds a unit down as long as the record exists."""
    return f"# undone by: xdc-testbed fault clear {fault_id}\n[Unit]\nAssertPathExists=!{record}\n"


def active(run: Run, units: Sequence[str]) -> tuple[str, ...]:
    """Those of the units that run, or are about to."""
    states = {unit: run("systemctl", "is-active", unit, check=False).text for unit in units}
    return tuple(unit for unit, state in states.items() if state in {"active", "activating", "reloading"})


def add(run: Run, fault_id: str, fault: Stop, record: Path, runtime: Path) -> None:
    """Take the units down and hold them down; a frozen unit stays `active` for systemd."""
    if fault.how is How.FREEZE:
        run("systemctl", "kill", "--signal=SIGSTOP", *fault.units)
        return
    for unit in fault.units:
        path = drop_in_path(runtime, unit, fault_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(drop_in(fault_id, record))
    run("systemctl", "daemon-reload")
    if fault.how is How.KILL:
        run("systemctl", "kill", "--signal=SIGKILL", *fault.units, check=False)  # fails when it is dead already
    run("systemctl", "stop", *fault.units)  # also ends a waiting restart


def present(run: Run, fault_id: str, fault: Stop, runtime: Path) -> bool:
    """Whether the units are down and held, or frozen."""
    if fault.how is How.FREEZE:
        return all(
            _is_stopped_process(run("systemctl", "show", "--property=MainPID", "--value", unit).text)
            for unit in fault.units
        )
    return all(drop_in_path(runtime, unit, fault_id).is_file() for unit in fault.units) and not active(run, fault.units)


def remove(run: Run, fault_id: str, fault: Stop, was_active: Sequence[str], runtime: Path) -> None:
    """Let the units start again, and start those that ran before the fault."""
    if fault.how is How.FREEZE:
        run("systemctl", "kill", "--signal=SIGCONT", *fault.units, check=False)  # fails when it has ended meanwhile
        return
    for unit in fault.units:
        remove_drop_in(drop_in_path(runtime, unit, fault_id))
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", *fault.units, check=False)  # fails for a unit that was never loaded
    if was_active:
        run("systemctl", "start", *was_active)


def drop_in_path(runtime: Path, unit: str, fault_id: str) -> Path:
    """The file through which a fault changes a unit, until the next boot at most."""
    return runtime / f"{unit}.d" / f"50-{fault_id}.conf"


def remove_drop_in(path: Path) -> None:
    """Take a drop-in away, and its folder with the last one."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _is_stopped_process(pid: str) -> bool:
    stat = Path("/proc") / pid / "stat"
    if not pid.isdigit() or int(pid) == 0 or not stat.is_file():
        return False
    return stat.read_text().rsplit(")", 1)[1].split()[0] == "T"
