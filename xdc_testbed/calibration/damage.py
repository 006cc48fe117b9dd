"""Damaged files: what HDF5 and numpy say of them, told in one sentence by the name of the failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.failures import CalibrationError

_TOLD = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError, ArithmeticError,
    NotImplementedError,
)  # fmt: skip
"""Damage reaches h5py as any of these: a link into nowhere, a length of exabytes, a type that is none."""

_MANY = 1 << 20


@contextmanager
def reading(failure: type[CalibrationError], what: str = "input") -> Iterator[None]:
    """Raise `failure` in place of what the libraries raise for damaged content."""
    try:
        yield
    except _TOLD as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise failure(
            f"{what} is damaged: {lines[0]}", remedy="transfer the file again from where it was written"
        ) from error


def values(dataset: h5py.Dataset, failure: type[CalibrationError]) -> npt.NDArray[Any]:
    """All values of a dataset that says no more than it holds.

    HDF5 fills in what was never stored; of a damaged length it does so for hours.
    """
    if dataset.size > _MANY and dataset.chunks:
        stored = dataset.id.get_num_chunks() * int(np.prod(dataset.chunks, dtype=np.int64))
        if stored < dataset.size:
            raise failure(f"{dataset.name} should have {dataset.size} values, and has {stored}")
    read: npt.NDArray[Any] = dataset[...]
    return read
