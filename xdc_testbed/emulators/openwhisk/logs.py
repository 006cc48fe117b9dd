"""Collect what an action prints: lines with time and stream, up to the mark that the proxy writes after each
run."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from time import time_ns

from . import messages

_END = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
_CHUNK = 1 << 16
_SECOND = 1_000_000_000


def stamp(nanoseconds: int) -> str:
    """Epoch nanoseconds as docker writes them: 2026-11-23T21:59:32.253961518Z."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


class Logs:
    """The stdout and stderr of one container. Reads all the time, so that an action never waits for its
    reader."""

    def __init__(self, stdout: int, stderr: int) -> None:
        self._names = {stdout: "stdout", stderr: "stderr"}
        self._rest = {stdout: b"", stderr: b""}
        self._ended: set[int] = set()
        self._lines: list[str] = []
        self._size = 0
        self._limit = 0
        self._complete: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        for fd in self._names:
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._read, fd)

    def begin(self, limit: int) -> None:
        """Start the logs of one activation; limit in bytes, 0 keeps none."""
        self._lines, self._size, self._limit = [], 0, limit
        self._ended.clear()

    async def finish(self, patience: float) -> list[str]:
        """The lines, once both streams are marked; after `patience` seconds without, what there is."""
        for fd in self._names:
            if fd not in self._ended:
                self._read(fd)
        if len(self._ended) < len(self._names):
            self._complete = self._loop.create_future()
            try:
                async with asyncio.timeout(patience):
                    await self._complete
            except TimeoutError:
                pass
            finally:
                self._complete = None
        return self._lines

    def close(self) -> None:
        """Stop reading, and take what is left."""
        for fd in self._names:
            if fd in self._rest:
                self._read(fd)
                self._stop(fd)
        if self._complete is not None and not self._complete.done():
            self._complete.set_result(None)

    def _stop(self, fd: int) -> None:
        if self._rest.pop(fd, None) is not None:
            self._loop.remove_reader(fd)
            os.close(fd)
        self._ended.add(fd)

    def _read(self, fd: int) -> None:
        if fd not in self._rest:
            return
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._stop(fd)
        elif data == _END and not self._rest[fd]:
            self._ended.add(fd)
        else:
            *lines, self._rest[fd] = (self._rest[fd] + data).split(b"\n")
            for line in lines:
                self._line(fd, line)
            if len(self._rest[fd]) > _CHUNK:
                self._line(fd, self._rest[fd])
                self._rest[fd] = b""
        if self._complete is not None and len(self._ended) == len(self._names) and not self._complete.done():
            self._complete.set_result(None)

    def _line(self, fd: int, line: bytes) -> None:
        if line.endswith(_END[:-1]):
            self._ended.add(fd)
            line = line[: 1 - len(_END)]
            if not line:
                return
        self._size += len(line) + 1
        if self._size <= self._limit:
            text = line.decode("utf-8", "replace")
            self._lines.append(f"{stamp(time_ns())} {self._names[fd]}: {text}")
        elif self._limit and self._size - len(line) - 1 <= self._limit:
            self._lines.append(f"{stamp(time_ns())} stderr: {messages.logs_truncated(self._limit)}")
