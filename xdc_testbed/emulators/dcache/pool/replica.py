"""One file being written in the pool, with its checksums."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..checksums import Running


class PoolFull(Exception):
    """The pool's disk takes no more."""


class TooLarge(Exception):
    """More bytes than one file may have."""


class Replica:
    """Bytes on their way to the disk. size: bytes so far; busy: seconds spent in writing them."""

    def __init__(self, path: Path, algorithms: Iterable[str], largest: int) -> None:
        self.path = path
        self.size = 0
        self.busy = 0.0
        self.last = time.time()
        self._largest = largest
        self._sums = Running(algorithms)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def write(self, data: bytes) -> None:
        """Append. Raises PoolFull, TooLarge."""
        if self.size + len(data) > self._largest:
            raise TooLarge
        begun = time.perf_counter()
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise PoolFull(error.strerror) from error
        self._sums.add(data)
        self.size += len(data)
        self.last = time.time()
        self.busy += time.perf_counter() - begun

    def close(self) -> dict[str, str]:
        """End, and give the checksums of what was written."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        return self._sums.values()

    def discard(self) -> None:
        """End, and leave nothing."""
        self.close()
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, algorithms: Iterable[str], largest: int) -> Iterator[Replica]:
    """A replica whose file is closed at the end, whatever happens."""
    replica = Replica(path, algorithms, largest)
    try:
        yield replica
    finally:
        replica.close()
