"""The node's memory of its faults: a JSON file each, there from before the first change to after the last."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xdc_testbed.faults.model import Record

DIRECTORY = Path("/var/lib/xdc-testbed/faults")


class Records:
    """The records of one node."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory

    def path(self, fault_id: str) -> Path:
        """The file of one fault; it is there as long as the fault, or anything of it, may be."""
        return self._directory / f"{fault_id}.json"

    def all(self) -> list[Record]:
        """Every record, oldest first."""
        found = [Record.model_validate_json(path.read_bytes()) for path in self._directory.glob("*.json")]
        return sorted(found, key=lambda record: (record.applied_at, record.id))

    def get(self, fault_id: str) -> Record | None:
        """The record of one fault, or None."""
        path = self.path(fault_id)
        return Record.model_validate_json(path.read_bytes()) if path.is_file() else None

    def write(self, record: Record) -> None:
        """Keep a record; after this returns it outlives a crash of the agent."""
        self._directory.mkdir(parents=True, exist_ok=True)
        fresh = self.path(record.id).with_suffix(".new")
        with fresh.open("w") as file:
            file.write(record.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path(record.id))

    def remove(self, fault_id: str) -> None:
        """Forget a fault."""
        self.path(fault_id).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one agent works on a node at a time; the others wait for it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
