"""Where every frame of a raw file lies, and how its bytes get into a buffer.

Unfiltered datasets, contiguous or chunked, are read past HDF5 at their file offsets: several threads at once, nothing
copied twice. Everything else that HDF5 can read (filters, chunks that cut frames) goes through HDF5, one thread at a
time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.damage import reading
from xdc_testbed.calibration.failures import InputInvalid
from xdc_testbed.calibration.inputs import Input

_HDF5 = threading.Lock()  # h5py has a lock of its own; this one keeps blocks together, so that a chunk is decoded once

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Place:
    """Frames of a raw file by row of the dataset and position in the row, in the order of the corrected file."""

    row: Indices
    position: Indices

    def __len__(self) -> int:
        return int(self.row.size)


class Frames:
    """Frames of one dataset. unit: shape of one frame as stored; several may be in one row."""

    def __init__(self, dataset: h5py.Dataset, unit: tuple[int, ...], source: Input) -> None:
        self._dataset, self._unit, self._source = dataset, unit, source
        with reading(InputInvalid):
            self._offsets = _offsets(dataset, unit)
        self._bytes = int(np.prod(unit)) * int(dataset.dtype.itemsize)

    @property
    def direct(self) -> bool:
        """Whether frames are read at their offsets."""
        return self._offsets is not None

    @property
    def size(self) -> int:
        """Bytes of one frame."""
        return self._bytes

    def offsets(self, place: Place, which: Indices) -> npt.NDArray[np.int64]:
        """Where in the file the frames `which` begin; only of frames that are read at their offsets."""
        if self._offsets is None:
            raise ValueError("HDF5 has to read these frames")
        found: npt.NDArray[np.int64] = self._offsets[place.row[which], place.position[which]]
        return found

    def buffer(self, frames: int) -> npt.NDArray[Any]:
        """Room for so many frames."""
        return np.empty((frames, *self._unit), self._dataset.dtype.newbyteorder("="))

    def read(self, place: Place, which: Indices, out: npt.NDArray[Any]) -> None:
        """Fill `out` with the frames `which`. Raises InputTruncated or InputInvalid."""
        if self._offsets is None:
            self._read_through_hdf5(place.row[which], place.position[which], out)
            return
        offsets = self.offsets(place, which)
        view = out[: which.size].reshape(-1).view(np.uint8).data
        for first, last in runs(offsets, self._bytes):
            self._source.read_into(int(offsets[first]), view[first * self._bytes : last * self._bytes])

    def _read_through_hdf5(self, rows: Indices, positions: Indices, out: npt.NDArray[Any]) -> None:
        several = len(self._dataset.shape) > len(self._unit) + 1
        with _HDF5:
            for i, (row, position) in enumerate(zip(rows.tolist(), positions.tolist(), strict=True)):
                try:
                    self._dataset.read_direct(out, np.s_[row, position] if several else np.s_[row], np.s_[i])
                except (OSError, RuntimeError) as error:
                    raise InputInvalid(
                        f"row {row} of {self._dataset.name} cannot be read: {str(error).splitlines()[0]}",
                        remedy="transfer the file again from where it was written",
                    ) from error


def runs(offsets: npt.NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Bounds of stretches that lie one after the other in the file."""
    edges = [0, *(np.flatnonzero(np.diff(offsets) != size) + 1).tolist(), offsets.size]
    yield from pairwise(edges)


def _offsets(dataset: h5py.Dataset, unit: tuple[int, ...]) -> npt.NDArray[np.int64] | None:
    """File offset of every frame, [row, position]; None where HDF5 has to read."""
    shape = dataset.shape
    rows, per_row = shape[0], int(np.prod(shape[1 : len(shape) - len(unit)], dtype=np.int64))
    size = int(np.prod(unit)) * dataset.dtype.itemsize
    plain = dataset.id.get_create_plist().get_nfilters() == 0 and not dataset.external and not dataset.is_virtual
    if not plain or not dataset.dtype.isnative or dataset.file.userblock_size or not rows:
        return None
    if dataset.chunks is None:
        start = dataset.id.get_offset()
        if start is None:
            return None
        whole: npt.NDArray[np.int64] = start + size * np.arange(rows * per_row, dtype=np.int64)
        return whole.reshape(rows, per_row)
    if dataset.chunks[len(shape) - len(unit) :] != unit:
        return None
    table = np.full((rows, per_row), -1, np.int64)
    deep, wide = dataset.chunks[0], int(np.prod(dataset.chunks[1 : len(shape) - len(unit)], dtype=np.int64))
    steps = size * np.arange(deep * wide, dtype=np.int64).reshape(deep, wide)

    def remember(chunk: Any) -> None:
        row, column = chunk.chunk_offset[0], chunk.chunk_offset[1] if per_row > 1 else 0
        part = table[row : row + deep, column : column + wide]
        part[...] = (chunk.byte_offset + steps)[: part.shape[0], : part.shape[1]]

    dataset.id.chunk_iter(remember)
    return None if (table < 0).any() else table
