"""Adler-32 of a whole file from parts that passed by anyway, in any order; what did not pass is read.

The checksum is exact: that of two parts follows from theirs and the length of the second (RFC 1950). Storages compare
it, so it is the one digest that a file has at both ends of its way; see docs/explanation/decisions.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

_BASE = 65521
_BLOCK = 1 << 20


class Passed:
    """Parts of one file with their checksums, as they were read or written."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.int64], int, npt.NDArray[np.uint32]]] = []

    def add(self, offsets: npt.NDArray[np.int64], size: int, adler: npt.NDArray[np.uint32]) -> None:
        """Parts of `size` bytes each."""
        self._parts.append((offsets, size, adler))

    def adler32(self, descriptor: int, size: int) -> int:
        """Of the file of `size` bytes, all of it. Raises OSError."""
        starts = np.concatenate([np.empty(0, np.int64), *(at for at, _, _ in self._parts)])
        lengths = np.concatenate([np.empty(0, np.int64), *(np.full(len(at), n) for at, n, _ in self._parts)])
        values = np.concatenate([np.empty(0, np.int64), *(a.astype(np.int64) for _, _, a in self._parts)])
        order = np.argsort(starts)
        starts, lengths, values = starts[order], lengths[order], values[order]
        ends = starts + lengths
        if (starts[1:] < ends[:-1]).any() or (ends > size).any():  # a part that passed twice counts for nothing
            starts = lengths = values = ends = np.empty(0, np.int64)
        from_, until = np.append(0, ends), np.append(starts, size)
        gaps = from_ < until
        read = [_read(descriptor, *span) for span in zip(from_[gaps].tolist(), until[gaps].tolist(), strict=True)]
        starts = np.append(starts, from_[gaps])
        order = np.argsort(starts)
        return _together(
            np.append(lengths, (until - from_)[gaps])[order], np.append(values, np.array(read, np.int64))[order]
        )


def _together(lengths: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> int:
    """Of parts that follow each other, each with a checksum of its own."""
    ones, twos = values & 0xFFFF, values >> 16
    before = (np.cumsum(ones - 1) - (ones - 1)) % _BASE  # what the first sum has gained when a part begins
    one = (1 + int((ones - 1).sum())) % _BASE
    two = int((twos + lengths % _BASE * before % _BASE).sum()) % _BASE
    return two << 16 | one


def _read(descriptor: int, at: int, end: int) -> int:
    adler = 1
    while at < end:
        block = os.pread(descriptor, min(_BLOCK, end - at), at)
        if not block:  # it has become shorter: whoever reads it for more than a checksum notices
            break
        adler, at = isal_zlib.adler32(block, adler), at + len(block)
    return adler
