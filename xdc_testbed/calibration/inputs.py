"""Where the bytes of a raw file come from: a file of this machine, or a file elsewhere that is read by ranges.

    with opened(raw) as source:
        source.read_into(at, room)

A file must be the same with the same content until the end, wherever it is; else it is an InputChanged.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from xdc_testbed.calibration.checksums import Passed
from xdc_testbed.calibration.failures import InputChanged, InputInvalid, InputTruncated
from xdc_testbed.calibration.manifest import FileRecord

PAGE = 256 << 10
"""Bytes that are asked for at a time where single values are read."""

PAGES = 64
"""Pages kept."""

BETWEEN = 256 << 10
"""Bytes between two pieces that are read along rather than asked for one after the other."""


class Ranges(Protocol):
    """A file elsewhere. size: bytes; adler32: as its storage says, eight hexadecimal digits or nothing.

    Usable from several threads. Errors of the storage go through the calibration as they are.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def adler32(self) -> str: ...

    def read_into(self, at: int, room: memoryview) -> None:
        """Fill all of the room with the bytes from `at` on."""

    def unchanged(self) -> bool:
        """Whether the file is still the one that it was."""


class Input(Protocol):
    """An open raw file. descriptor: of a local file, else None; size: bytes."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def descriptor(self) -> int | None: ...

    @property
    def hdf5(self) -> Path | BinaryIO:
        """The same as HDF5 opens it."""

    def read_into(self, at: int, room: memoryview) -> None:
        """Fill all of the room with the bytes from `at` on. Raises InputTruncated or InputInvalid."""

    def record(self, passed: Passed) -> FileRecord:
        """What the file is by content, of which these parts passed. Raises InputChanged when it is not what its
        storage says.
        """


@contextmanager
def opened(raw: Path | Ranges) -> Iterator[Input]:
    """A raw file for reading, which must be the same with the same content until the end.

    Raises InputInvalid when it cannot be opened, InputChanged when it was replaced or written meanwhile.
    """
    if isinstance(raw, Path):
        with _local(raw) as source:
            yield source
        return
    remote = _Remote(raw)
    try:
        yield remote
    except Exception as error:
        if remote.file.failure and remote.file.failure is not error:  # HDF5 tells in its own words what went wrong here
            raise remote.file.failure from error
        raise
    if not raw.unchanged():
        raise _changed()


def fetch(
    source: Input, wanted: Sequence[tuple[npt.NDArray[np.int64], int]]
) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.int64]]]:
    """Read pieces of a file, (where they begin, bytes of each), in as few ranges as possible.

    Returns the bytes, and where in them each of the pieces begins.
    """
    starts = np.concatenate([at for at, _ in wanted])
    order = np.argsort(starts)
    first = starts[order]
    last = np.maximum.accumulate((starts + np.repeat([n for _, n in wanted], [len(at) for at, _ in wanted]))[order])
    edges = np.flatnonzero(first[1:] > last[:-1] + BETWEEN) + 1
    begins, ends = first[np.append(0, edges)], last[np.append(edges, first.size) - 1]
    place = np.append(0, np.cumsum(ends - begins))
    memory = np.empty(int(place[-1]), np.uint8)
    for begin, here, after in zip(begins.tolist(), place[:-1].tolist(), place[1:].tolist(), strict=True):
        source.read_into(begin, memory[here:after].data)
    shift = place[:-1] - begins
    return memory, [at + shift[np.searchsorted(begins, at, "right") - 1] for at, _ in wanted]


class PagedFile(io.RawIOBase):
    """A file elsewhere as HDF5 reads it: pages are kept, and what was missing is asked for in one range.

    failure: the first error of the storage, which HDF5 would tell in its own words.
    """

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._at = 0
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._sums: dict[int, int] = {}
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ranges.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, room: Any) -> int:
        view = memoryview(room).cast("B")
        data = self.pread(len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def pread(self, size: int, at: int) -> bytes:
        """As of a file: fewer bytes at its end."""
        end = min(at + size, self._ranges.size)
        if end <= at:
            return b""
        first, last = at // PAGE, (end - 1) // PAGE
        try:
            found = self._load(first, last)
        except Exception as error:
            self.failure = self.failure or error
            raise
        return b"".join(found)[at - first * PAGE : end - first * PAGE]

    def sums(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """Of all pages that were read: where they begin and end, and their checksums."""
        numbers = np.array(sorted(self._sums), np.int64)
        values = np.array([self._sums[number] for number in numbers.tolist()], np.uint32)
        return numbers * PAGE, np.minimum((numbers + 1) * PAGE, self._ranges.size), values

    def _load(self, first: int, last: int) -> list[bytes]:
        found: dict[int, bytes] = {}
        missing = []
        for page in range(first, last + 1):
            if page in self._pages:
                self._pages.move_to_end(page)
                found[page] = self._pages[page]
            else:
                missing.append(page)
        if missing:
            begin, end = missing[0] * PAGE, min((missing[-1] + 1) * PAGE, self._ranges.size)
            data = memoryview(bytearray(end - begin))
            self._ranges.read_into(begin, data)
            for page in missing:
                found[page] = bytes(data[page * PAGE - begin : (page + 1) * PAGE - begin])
                self._pages[page] = found[page]
                self._sums.setdefault(page, isal_zlib.adler32(found[page]))
        while len(self._pages) > PAGES:
            self._pages.popitem(last=False)
        return [found[page] for page in range(first, last + 1)]


class _Local:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.name, self.hdf5, self.file, self.descriptor = path.name, path, file, file.fileno()
        self.size = os.fstat(self.descriptor).st_size

    def read_into(self, at: int, room: memoryview) -> None:
        while room:
            try:
                got = os.preadv(self.descriptor, [room], at)
            except OSError as error:
                raise InputInvalid(f"input cannot be read at byte {at}: {error.strerror}") from error
            if not got:
                raise InputTruncated(f"input ends at byte {at}, in a frame")
            room, at = room[got:], at + got

    def record(self, passed: Passed) -> FileRecord:
        return FileRecord.of_open(self.file, self.name, passed)


class _Remote:
    descriptor = None

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self.name, self.size, self.file = ranges.name, ranges.size, PagedFile(ranges)

    @property
    def hdf5(self) -> BinaryIO:
        return cast(BinaryIO, self.file)

    def read_into(self, at: int, room: memoryview) -> None:
        if at + len(room) > self.size:
            raise InputTruncated(f"input ends at byte {self.size}, in a frame")
        self._ranges.read_into(at, room)

    def record(self, passed: Passed) -> FileRecord:
        begin, end, sums = self.file.sums()
        apart = ~passed.overlaps(begin, end)
        for at, size, adler in zip(begin[apart], (end - begin)[apart].tolist(), sums[apart], strict=True):
            passed.add(np.array([at]), size, np.array([adler]))
        adler32 = f"{passed.adler32(self.file.pread, self.size):08x}"
        if self._ranges.adler32 not in ("", adler32):
            raise InputChanged(
                f"adler32 of input as read is {adler32}, the storage says {self._ranges.adler32}",
                remedy="correct it again",
            )
        return FileRecord(name=self.name, size=self.size, adler32=adler32)


@contextmanager
def _local(path: Path) -> Iterator[Input]:
    try:
        file = cast(BinaryIO, path.open("rb", buffering=0))
    except OSError as error:
        raise InputInvalid(f"input cannot be opened: {error.strerror}") from error
    with file:
        before = os.fstat(file.fileno())
        yield _Local(path, file)
        now = path.stat() if path.exists() else None
        same = ("st_ino", "st_size", "st_mtime_ns")
        if now is None or any(getattr(before, name) != getattr(now, name) for name in same):
            raise _changed()


def _changed() -> InputChanged:
    return InputChanged("input was replaced or written while it was read", remedy="correct it again")
