"""Turn one stored constant, axes (fast, slow, cell, gain), into planes [cell, gain, slow, fast].

The stored rows of one pixel column are megabytes apart, by a power of two: turned as a whole, every value is a miss in
all caches. So strips of a few slow rows are read, cast into rows of an odd length, and turned there. Plain datasets are
read past HDF5, by several threads; what has filters is read whole by HDF5 first.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128

from xdc_testbed.calibration.damage import values
from xdc_testbed.calibration.failures import ConstantsInvalid

_STRIP_BYTES = 8 << 20
_BLOCK = 1 << 20
_THREADS = 4
_ODD = 16
"""Values between rows, so that a column of a strip is not all in one set of the cache."""


class Stored:
    """A constant in its file. At most four axes; the last one, gain, may be missing."""

    def __init__(self, dataset: h5py.Dataset, descriptor: int) -> None:
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype
        self._descriptor, self._name = descriptor, str(dataset.name)
        plain = dataset.chunks is None and not dataset.external and not dataset.is_virtual and dataset.dtype.isnative
        offset = dataset.id.get_offset() if plain and not dataset.file.userblock_size else None
        self._offset = 0 if offset is None else int(offset)
        try:
            self._values: npt.NDArray[Any] | None = values(dataset, ConstantsInvalid) if offset is None else None
        except (OSError, RuntimeError) as error:
            raise self._unreadable(str(error).splitlines()[0]) from error

    def digest(self) -> str:
        """XXH3-128 of the values in file order."""
        if self._values is not None:
            return xxh3_128(np.ascontiguousarray(self._values).reshape(-1).view(np.uint8).data).hexdigest()
        found, block = xxh3_128(), memoryview(bytearray(_BLOCK))
        size = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        for at in range(0, size, _BLOCK):
            part = block[: min(_BLOCK, size - at)]
            self._fill(part, at)
            found.update(part)
        return found.hexdigest()

    def turned(self, stages: int | None, kind: type[np.float32] | type[np.uint32]) -> npt.NDArray[Any]:
        """[cell, stage, slow, fast], the first `stages` of the gain axis; one stage for None, no such axis."""
        fast, slow, cells = self.shape[:3]
        gains = self.shape[3] if stages is not None else 1
        kept = stages if stages is not None else 1
        planes: npt.NDArray[Any] = np.empty((cells, kept, slow, fast), kind)
        row = cells * gains
        deep = max(1, min(slow, _STRIP_BYTES // max(1, fast * row * self.dtype.itemsize)))
        rooms = threading.local()

        def strip(first: int) -> None:
            if not hasattr(rooms, "stored"):
                rooms.stored = np.empty((fast, deep * row), self.dtype)
                rooms.cast = np.empty((fast, deep * row + _ODD), kind)
            rows = min(deep, slow - first)
            stored, cast = rooms.stored[:, : rows * row], rooms.cast[:, : rows * row]
            self._strip(first, rows, row, stored)
            np.copyto(cast, stored, casting="unsafe")
            step, item = cast.strides
            whole = np.lib.stride_tricks.as_strided(
                cast, (cells, kept, rows, fast), (gains * item, item, row * item, step), writeable=False
            )
            planes[:, :, first : first + rows] = whole

        with ThreadPoolExecutor(min(_THREADS, len(os.sched_getaffinity(0)))) as pool:
            list(pool.map(strip, range(0, slow, deep)))
        return planes

    def _strip(self, first: int, rows: int, row: int, out: npt.NDArray[Any]) -> None:
        if self._values is not None:
            np.copyto(out, self._values[:, first : first + rows].reshape(out.shape))
            return
        item = self.dtype.itemsize
        for column in range(out.shape[0]):
            at = (column * self.shape[1] + first) * row * item
            self._fill(out[column].view(np.uint8).data, at)

    def _fill(self, room: memoryview, at: int) -> None:
        while room:
            try:
                got = os.preadv(self._descriptor, [room], self._offset + at)
            except OSError as error:
                raise self._unreadable(str(error.strerror)) from error
            if not got:
                raise self._unreadable("the file ends before")
            room, at = room[got:], at + got

    def _unreadable(self, why: str) -> ConstantsInvalid:
        return ConstantsInvalid(f"constant {self._name} cannot be read: {why}")
