"""Follow a file that another program appends lines to, by byte position, waking within a fraction of a
millisecond.

Knows files and inotify; knows nothing of what the lines mean. A half line waits for its end. A file that
became shorter (truncated) begins a new generation at position 0. A file that was rotated away (`journal.1`, the
older `journal.2`, ...) is read to its end, then the next younger one, also when that happened while nobody read.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import select
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_IN_MODIFY = 0x2
_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80
_IN_CLOEXEC = 0o2000000
_IN_NONBLOCK = 0o4000
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Place:
    """A position in a journal: file identity (inode), generation of its content, and the byte position of a
    line start.
    """

    inode: int = 0
    generation: int = 0
    position: int = 0


@dataclass(frozen=True)
class Line:
    """One complete line without its end, where it begins, and where to go on after it."""

    text: bytes
    start: Place
    resume: Place


class Journal:
    """The lines of one file from a place on. Use as a context manager; not for several threads.

    path: need not exist yet, its folder must; place: where an earlier reader stopped.
    """

    def __init__(self, path: Path, place: Place = Place()) -> None:
        self._path = path
        self._place = place
        self._file: int | None = None
        self._rest = b""
        self._watch = _Watch(path.parent)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
        if self._file is not None:
            os.close(self._file)

    def lines(self, timeout: float) -> Iterator[Line]:
        """The complete lines that are there, else those that come within timeout seconds; possibly none."""
        found = False
        for line in self._available():
            found = True
            yield line
        if not found:
            self._watch.wait(timeout)
            yield from self._available()

    def _available(self) -> Iterator[Line]:
        if self._file is None and not self._open(self._start()):
            return
        while True:
            younger = self._younger()  # asked first: what came into this file before it was rotated is read below
            while chunk := self._read():
                yield from self._split(chunk)
            if younger is None or not self._open(younger):
                return

    def _start(self) -> Path:
        """The file of the known place; the oldest one when that is gone or there was none."""
        files = self._files()
        known = [path for path, inode in files if inode == self._place.inode]
        return known[0] if known else files[0][0] if files else self._path

    def _open(self, path: Path) -> bool:
        """Open a file at the known place or, when it is another one, at its beginning; False when it is not there."""
        try:
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if self._file is not None:
            os.close(self._file)
        self._file = opened
        self._rest = b""
        if (inode := os.fstat(opened).st_ino) != self._place.inode:
            self._place = Place(inode, self._place.generation, 0)
        return True

    def _read(self) -> bytes:
        assert self._file is not None  # noqa: S101 - _open() came first
        at = self._place.position + len(self._rest)
        if os.fstat(self._file).st_size < at:
            self._place = Place(self._place.inode, self._place.generation + 1, 0)
            self._rest = b""
            at = 0
        return os.pread(self._file, _CHUNK, at)

    def _split(self, chunk: bytes) -> Iterator[Line]:
        *complete, rest = (self._rest + chunk).split(b"\n")
        position = self._place.position
        for text in complete:
            start = self._at(position)
            position += len(text) + 1
            self._place = self._at(position)
            yield Line(text, start, self._place)
        self._rest = rest

    def _at(self, position: int) -> Place:
        return Place(self._place.inode, self._place.generation, position)

    def _younger(self) -> Path | None:
        """The file that came after the open one; None while that has the name itself."""
        try:
            if self._path.stat().st_ino == self._place.inode:
                return None
        except FileNotFoundError:
            return None
        files = self._files()
        inodes = [inode for _, inode in files]
        after = inodes.index(self._place.inode) + 1 if self._place.inode in inodes else 0
        return files[after][0] if after < len(files) else None

    def _files(self) -> list[tuple[Path, int]]:
        """The file and those that were rotated away, with their inodes, the oldest first."""
        numbered = [
            (int(path.suffix[1:]), path)
            for path in self._path.parent.glob(f"{self._path.name}.*")
            if path.suffix[1:].isdigit()
        ]
        found = []
        for path in [*(path for _, path in sorted(numbered, reverse=True)), self._path]:
            with suppress(FileNotFoundError):
                found.append((path, path.stat().st_ino))
        return found


class _Watch:
    """inotify on a folder: wakes on any change of a file in it (inotify(7))."""

    def __init__(self, folder: Path) -> None:
        library = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
        self._fd = library.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
        mask = _IN_MODIFY | _IN_CREATE | _IN_MOVED_TO
        if self._fd < 0 or library.inotify_add_watch(self._fd, os.fsencode(folder), mask) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def wait(self, timeout: float) -> None:
        """Return at a change of a file in the folder, or after timeout seconds."""
        if self._poll.poll(timeout * 1000):
            os.read(self._fd, 64 * 1024)  # notices only wake; their content does not matter

    def close(self) -> None:
        os.close(self._fd)
