"""Applies, lists and clears faults on the node it runs on. It chooses the means, others know the tools.

The record is written first and removed last: an agent that dies in between leaves a fault that is listed
and can be cleared. Every step asks what is there before it changes it, so that applying twice is applying
once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Literal

from xdc_testbed.errors import WrongUsage
from xdc_testbed.faults import full_disk, issuer_clock, killing, netem, rules, units
from xdc_testbed.faults.model import (
    ClockSkew,
    Delay,
    DiskFull,
    Fault,
    Kill,
    Means,
    Order,
    Partition,
    Record,
    Status,
    Stop,
)
from xdc_testbed.faults.records import Records
from xdc_testbed.faults.shell import Run, here

_FIRST_QUEUE = 7001
_FIRST_CLASS = 1


class Agent:
    """The faults of one node."""

    def __init__(self, records: Records | None = None, run: Run = here, runtime: Path = units.RUNTIME) -> None:
        self._records = records or Records()
        self._run = run
        self._runtime = runtime

    def apply(self, order: Order) -> Status:
        """Make a fault; when it is there already, see to it that it is in force.

        Raises WrongUsage for an id that means another fault, and what the tools raise; nothing is left then.
        """
        with self._records.locked():
            record = self._records.get(order.id)
            if record is not None and record.fault != order.fault:
                raise WrongUsage(
                    f"fault {order.id} is there and means something else: {record.fault}",
                    remedy=f"clear it first: xdc-testbed fault clear {order.id}",
                )
            if record is not None and self._in_force(record):
                return self._status(record, "already")
            if record is None:
                record = Record(
                    id=order.id,
                    node=order.node,
                    fault=order.fault,
                    applied_at=time.time(),
                    means=self._means(order.fault),
                )
                self._records.write(record)
            began = time.monotonic()
            try:
                self._make(record)
            except BaseException:
                self._undo(record)
                self._records.remove(record.id)
                raise
            if isinstance(record.fault, Kill):  # it is over: what was killed runs again
                self._records.remove(record.id)
                return self._status(record, "applied", back_after=round(time.monotonic() - began, 2))
            return self._status(record, "applied")

    def listing(self) -> list[Status]:
        """Every fault that the node remembers, and whether it is in force."""
        with self._records.locked():
            return [self._status(record, "listed") for record in self._records.all()]

    def clear(self, fault_id: str | None = None) -> list[Status]:
        """Undo one fault, or all, the newest first; an unknown id clears nothing and is no error."""
        with self._records.locked():
            chosen = [record for record in reversed(self._records.all()) if fault_id in (None, record.id)]
            cleared = []
            for record in chosen:
                self._undo(record)
                self._records.remove(record.id)
                cleared.append(self._status(record, "cleared"))
            return cleared

    def _means(self, fault: Fault) -> Means:
        """How this fault is made on this node, with what has to be known to undo it."""
        match fault:
            case Delay():
                if netem.available(self._run):
                    devices = netem.devices(self._run, fault.peers)
                    return Means(method="netem", number=self._free("netem", _FIRST_CLASS), devices=devices)
                return Means(method="queue", number=self._free("queue", _FIRST_QUEUE))
            case Partition():
                return Means(method="iptables")
            case Stop():
                return Means(method="systemd", active=units.active(self._run, fault.units))
            case DiskFull():
                self._check_not_nested(fault)
                return Means(method="overlay")
            case Kill():
                return Means(method="signal", active=units.active(self._run, fault.units))
            case ClockSkew():
                self._check_one_clock(fault)
                return Means(method="systemd", active=units.active(self._run, [fault.unit]))

    def _make(self, record: Record) -> None:
        match record.fault, record.means:
            case Delay() as fault, Means(method="netem") as means:
                netem.add(self._run, means.devices, means.number, fault.peers, fault.milliseconds)
            case Delay() as fault, means:
                self._start_queue(record.id, means.number, fault.milliseconds)
                rules.add(self._run, "mangle", rules.queue_rules(record.id, fault.peers, means.number))
            case Partition() as fault, _:
                rules.add(self._run, "filter", rules.partition_rules(record.id, fault.peers, fault.ssh_port))
            case Stop() as fault, _:
                units.add(self._run, record.id, fault, self._records.path(record.id), self._runtime)
            case DiskFull() as fault, _:
                full_disk.add(self._run, record.id, Path(fault.path), fault.leave_kib)
            case Kill() as fault, means:
                killing.kill(self._run, fault, means.active)
            case ClockSkew() as fault, means:
                issuer_clock.add(self._run, record.id, fault, means.active, self._runtime)

    def _undo(self, record: Record) -> None:
        match record.fault, record.means:
            case Delay(), Means(method="netem") as means:
                netem.remove(self._run, means.devices, means.number)
            case Delay(), _:
                rules.remove(self._run, "mangle", record.id)
                # Both fail when the unit is gone already, which is what they are for.
                self._run("systemctl", "stop", _queue_unit(record.id), check=False)
                self._run("systemctl", "reset-failed", _queue_unit(record.id), check=False)
            case Partition(), _:
                rules.remove(self._run, "filter", record.id)
            case Stop() as fault, means:
                units.remove(self._run, record.id, fault, means.active, self._runtime)
            case DiskFull() as fault, _:
                full_disk.remove(self._run, record.id, Path(fault.path))
            case Kill(), means:
                killing.start(self._run, means.active)
            case ClockSkew() as fault, means:
                issuer_clock.remove(self._run, record.id, fault, means.active, self._runtime)

    def _in_force(self, record: Record) -> bool:
        match record.fault, record.means:
            case Delay(), Means(method="netem") as means:
                return netem.present(self._run, means.devices, means.number)
            case Delay(), _:
                serving = self._run("systemctl", "is-active", _queue_unit(record.id), check=False).returncode == 0
                return serving and rules.present(self._run, "mangle", record.id)
            case Partition(), _:
                return rules.present(self._run, "filter", record.id)
            case Stop() as fault, _:
                return units.present(self._run, record.id, fault, self._runtime)
            case DiskFull() as fault, _:
                return full_disk.present(record.id, Path(fault.path))
            case Kill(), means:
                return set(units.active(self._run, means.active)) != set(means.active)
            case ClockSkew() as fault, _:
                return issuer_clock.present(record.id, fault, self._runtime)
        return False

    def _start_queue(self, fault_id: str, queue: int, milliseconds: float) -> None:
        """Run the delay as a service; `Type=notify` makes systemd-run wait until it reads the queue."""
        unit = _queue_unit(fault_id)
        if self._run("systemctl", "is-active", unit, check=False).returncode == 0:
            return
        self._run("systemctl", "reset-failed", unit, check=False)  # fails when there is none
        properties = ("Type=notify", "Restart=on-failure", "RestartSec=1", "Nice=-5")
        self._run(
            "systemd-run",
            f"--unit={unit}",
            f"--description=Fault {fault_id}: {milliseconds:g} ms",
            "--collect",
            "--quiet",
            *(f"--property={item}" for item in properties),
            sys.executable,
            "-m",
            "xdc_testbed.faults.queue_delay",
            str(queue),
            f"{milliseconds:g}",
        )

    def _free(self, method: str, first: int) -> int:
        taken = {record.means.number for record in self._records.all() if record.means.method == method}
        return next(number for number in range(first, first + len(taken) + 1) if number not in taken)

    def _check_not_nested(self, fault: DiskFull) -> None:
        for record in self._records.all():
            if isinstance(record.fault, DiskFull) and (
                fault.path.is_relative_to(record.fault.path) or record.fault.path.is_relative_to(fault.path)
            ):
                raise WrongUsage(
                    f"{record.fault.path} is full already (fault {record.id})",
                    remedy=f"clear it first: xdc-testbed fault clear {record.id}",
                )

    def _check_one_clock(self, fault: ClockSkew) -> None:
        for record in self._records.all():
            if isinstance(record.fault, ClockSkew) and record.fault.unit == fault.unit:
                raise WrongUsage(
                    f"the clock of {fault.unit} is off already (fault {record.id})",
                    remedy=f"clear it first: xdc-testbed fault clear {record.id}",
                )

    def _status(
        self,
        record: Record,
        outcome: Literal["applied", "already", "listed", "cleared"],
        *,
        back_after: float | None = None,
    ) -> Status:
        return Status(
            id=record.id,
            node=record.node,
            fault=record.fault,
            applied_at=record.applied_at,
            method=record.means.method,
            in_force=outcome != "cleared" and self._in_force(record),
            outcome=outcome,
            back_after=back_after,
        )


def _queue_unit(fault_id: str) -> str:
    return f"xdc-fault-{fault_id}.service"
