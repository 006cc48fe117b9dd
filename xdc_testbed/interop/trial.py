"""What a case is handed: where it works, with what, and where it notes what it sees."""

from __future__ import annotations

import hashlib
import time

from pydantic import JsonValue

from xdc_testbed.errors import DeadlineExceeded
from xdc_testbed.interop.doors import Door
from xdc_testbed.interop.matrix import Cell
from xdc_testbed.interop.place import Folder
from xdc_testbed.interop.registry import KIB


class Trial:
    """One run of a case on one cell.

    source, destination: the case's own folders; ends: epoch of the monotonic clock at which the case has to
    be done.
    """

    def __init__(self, cell: Cell, source: Folder, destination: Folder | None, public: str) -> None:
        self.cell = cell
        self.source = source
        self.evidence: dict[str, JsonValue] = {}
        self.clients: set[str] = set()
        self.public = public
        self._destination = destination
        self._ends = time.monotonic() + cell.case.deadline

    @property
    def destination(self) -> Folder:
        """The folder at the destination of a pair."""
        if self._destination is None:
            raise TypeError(f"{self.cell.case.id} is asked of single endpoints")
        return self._destination

    @property
    def folders(self) -> tuple[Folder, ...]:
        """All folders of the case."""
        return (self.source,) if self._destination is None else (self.source, self._destination)

    @property
    def active(self) -> Folder:
        """The side of a third-party copy that the client speaks to."""
        return self.source if self.cell.direction == "push" else self.destination

    @property
    def passive(self) -> Folder:
        """The side of a third-party copy that the active side speaks to."""
        return self.destination if self.cell.direction == "push" else self.source

    @property
    def size(self) -> int:
        """The size of this cell, bytes; 64 KiB and a bit for cases that do not vary it."""
        return 64 * KIB + 7 if self.cell.size is None else self.cell.size

    def note(self, name: str, value: JsonValue) -> None:
        """Keep what was seen. Never a credential."""
        self.evidence[name] = value

    def left(self) -> float:
        """Seconds until the deadline. Raises DeadlineExceeded."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{self.cell.name} did not end within {self.cell.case.deadline:g} s")
        return left

    def content(self, size: int | None = None, seed: str = "") -> bytes:
        """Bytes that are the same in every run, and differ by case and seed. size: that of the cell by
        default.
        """
        return hashlib.shake_128(f"{self.cell.case.id}/{seed}".encode()).digest(self.size if size is None else size)

    def door(self, folder: Folder, protocol: str | None = None, credential: str | None = None) -> Door:
        """The cell's door at a folder's endpoint, or one of another protocol or credential."""
        door = folder.place.door(protocol or self.cell.protocol, credential or self.cell.credential, folder.path)
        self.clients.add(door.client)
        return door
