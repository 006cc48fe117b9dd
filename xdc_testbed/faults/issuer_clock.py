"""A token issuer whose clock is off: real tokens with wrong dates, for whoever asks while the fault is in force.

A drop-in gives the issuer's unit the offset, so that it keeps it over restarts. Only the issuer believes in the wrong
time: the node's clock, its certificates and its log are right. Tokens from before the fault stay good.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xdc_testbed.faults import units
from xdc_testbed.faults.model import ClockSkew
from xdc_testbed.faults.shell import Run

OFFSET = "XDC_ISSUER_CLOCK_OFFSET"
LIFETIME = "XDC_ISSUER_LONGEST_LIFETIME"


def drop_in(fault_id: str, fault: ClockSkew) -> str:
    """The text that sets the issuer's clock wrong."""
    lines = [
        f"# undone by: xdc-testbed fault clear {fault_id}",
        "[Service]",
        f"Environment={OFFSET}={fault.seconds:g}",
        *([f"Environment={LIFETIME}={fault.lifetime}"] if fault.lifetime is not None else []),
    ]
    return "\n".join(lines) + "\n"


def add(run: Run, fault_id: str, fault: ClockSkew, was_active: Sequence[str], runtime: Path) -> None:
    """Set the clock wrong, and start the issuer anew when it ran."""
    path = units.drop_in_path(runtime, fault.unit, fault_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(drop_in(fault_id, fault))
    _restart(run, was_active)


def present(fault_id: str, fault: ClockSkew, runtime: Path) -> bool:
    """Whether the issuer is told the wrong time."""
    return units.drop_in_path(runtime, fault.unit, fault_id).is_file()


def remove(run: Run, fault_id: str, fault: ClockSkew, was_active: Sequence[str], runtime: Path) -> None:
    """Set the clock right."""
    units.remove_drop_in(units.drop_in_path(runtime, fault.unit, fault_id))
    _restart(run, was_active)


def _restart(run: Run, was_active: Sequence[str]) -> None:
    run("systemctl", "daemon-reload")
    if was_active:
        run("systemctl", "restart", *was_active)
