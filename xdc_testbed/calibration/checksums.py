"""Adler-32 of a whole file from parts that passed by anyway, in any order; what did not pass is read.

The checksum is exact: that of two parts follows from theirs and the length of the second (RFC 1950). Storages compare
it, so it is the one digest that a file has at both ends of its way; see docs/explanation/decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

_BASE = 65521
_BLOCK = 1 << 20

Read = Callable[[int, int], bytes]
"""Bytes of a file: how many, and from where on. Fewer at its end."""


class Passed:
    """Parts of one file with their checksums, as they were read or written."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.int64], int, npt.NDArray[np.uint32]]] = []

    def add(self, offsets: npt.NDArray[np.int64], size: int, adler: npt.NDArray[np.uint32]) -> None:
        """Parts of `size` bytes each."""
        self._parts.append((offsets, size, adler))

    def overlaps(self, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Of other parts, which have a byte in common with a part that passed."""
        starts, lengths, _ = self._in_order()
        ends = np.append(0, np.maximum.accumulate(starts + lengths))
        found: npt.NDArray[np.bool_] = ends[np.searchsorted(starts, end, "left")] > begin
        return found

    def adler32(self, read: Read, size: int) -> int:
        """Of the file of `size` bytes, all of it. Raises what `read` raises."""
        starts, lengths, values = self._in_order()
        ends = starts + lengths
        if (starts[1:] < ends[:-1]).any() or (ends > size).any():  # a part that passed twice counts for nothing
            starts = lengths = values = ends = np.empty(0, np.int64)
        from_, until = np.append(0, ends), np.append(starts, size)
        gaps = from_ < until
        more = [_read(read, *span) for span in zip(from_[gaps].tolist(), until[gaps].tolist(), strict=True)]
        starts = np.append(starts, from_[gaps])
        order = np.argsort(starts)
        return _together(
            np.append(lengths, (until - from_)[gaps])[order], np.append(values, np.array(more, np.int64))[order]
        )

    def _in_order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where parts begin, their lengths and their checksums."""
        starts = np.concatenate([np.empty(0, np.int64), *(at for at, _, _ in self._parts)])
        lengths = np.concatenate([np.empty(0, np.int64), *(np.full(len(at), n) for at, n, _ in self._parts)])
        values = np.concatenate([np.empty(0, np.int64), *(a.astype(np.int64) for _, _, a in self._parts)])
        order = np.argsort(starts)
        return starts[order], lengths[order], values[order]


class Sum:
    """Adler-32 of bytes that pass in their order."""

    def __init__(self) -> None:
        self.adler32 = 1

    def over(self, parts: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same parts; each is counted when it is given on."""
        for part in parts:
            self.adler32 = isal_zlib.adler32(part, self.adler32)
            yield part


def _together(lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> int:
    """Of parts that follow each other, each with a checksum of its own."""
    ones, twos = values & 0xFFFF, values >> 16
    before = (np.cumsum(ones - 1) - (ones - 1)) % _BASE  # what the first sum has gained when a part begins
    one = (1 + int((ones - 1).sum())) % _BASE
    two = int((twos + lengths % _BASE * before % _BASE).sum()) % _BASE
    return two << 16 | one


def _read(read: Read, at: int, end: int) -> int:
    adler = 1
    while at < end:
        block = read(min(_BLOCK, end - at), at)
        if not block:  # it has become shorter: whoever reads it for more than a checksum notices
            break
        adler, at = isal_zlib.adler32(block, adler), at + len(block)
    return adler
