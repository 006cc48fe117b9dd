"""Write raw files of the EuXFEL format (EXDF), version 1.2, as the data acquisition of the facility does.

One file holds one module and one sequence of trains. Unlike the facility's, the files carry fixed dates, so
that the same plan gives the same bytes. Format: EXtra-data `docs/data_format.rst`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

FIRST_TRAIN = 1_900_000_001
_DATE = b"20260301T080000Z"
_EPOCH_NS = 1_772_352_000 * 10**9
_TRAIN_NS = 10**8
_PADDING = 16


@dataclass(frozen=True)
class RawSpan:
    """What a file is about.

    source: `device:channel`; groups: index groups of the source, name and rows per train; first_train:
    position of the first train in the run, counted from 0.
    """

    source: str
    groups: dict[str, npt.NDArray[np.uint64]]
    first_train: int
    trains: int
    run: int
    proposal: int
    sequence: int

    @property
    def train_ids(self) -> npt.NDArray[np.uint64]:
        return FIRST_TRAIN + np.arange(self.first_train, self.first_train + self.trains, dtype=np.uint64)


@contextmanager
def create_raw(path: Path, span: RawSpan) -> Iterator[h5py.File]:
    """Create a raw file with METADATA, INDEX and the train ID of every row; the caller adds datasets with
    `add`.
    """
    with h5py.File(path, "w") as file:
        _write_metadata(file, span)
        _write_index(file, span)
        for group, count in span.groups.items():
            rows = np.repeat(span.train_ids, count.astype(np.intp))
            add(file, span, f"{group}/trainId", rows[:, None] if group == "image" else rows)
        yield file


def add(
    file: h5py.File,
    span: RawSpan,
    key: str,
    values: npt.NDArray[Any] | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
    chunk: tuple[int, ...] | bool = True,
) -> h5py.Dataset:
    """Add a dataset of the source, growable along its first axis as in real files; without values it is left
    to fill.
    """
    shape = values.shape if values is not None else shape
    assert shape is not None  # noqa: S101  (values or a shape are given)
    return file.create_dataset(
        f"INSTRUMENT/{span.source}/{key}",
        data=values,
        shape=shape,
        dtype=dtype,
        maxshape=(None, *shape[1:]),
        chunks=chunk if all(shape) else (1, *(max(1, n) for n in shape[1:])),
    )


def _write_metadata(file: h5py.File, span: RawSpan) -> None:
    devices = [f"{span.source}/{group}" for group in span.groups]
    padding = [""] * (-len(devices) % _PADDING)
    text = h5py.string_dtype("ascii")
    sources = file.create_group("METADATA/dataSources")
    for name, entries in (
        ("dataSourceId", [f"INSTRUMENT/{device}" for device in devices]),
        ("deviceId", devices),
        ("root", ["INSTRUMENT"] * len(devices)),
    ):
        sources.create_dataset(name, data=entries + padding, dtype=text, maxshape=(None,))
    metadata = file["METADATA"]
    for name, value in (
        ("dataFormatVersion", b"1.2"),
        ("creationDate", _DATE),
        ("updateDate", _DATE),
        ("daqLibrary", b"1.9.0"),
        ("karaboFramework", b"2.7.0"),
        ("runType", b"Demonstration"),
        ("sample", b"No Sample"),
    ):
        metadata[name] = np.array([value])
    for name, number in (
        ("proposalNumber", span.proposal),
        ("runNumber", span.run),
        ("sequenceNumber", span.sequence),
    ):
        metadata[name] = np.array([number], np.uint32)


def _write_index(file: h5py.File, span: RawSpan) -> None:
    padded = span.trains + (-span.trains % _PADDING)
    position = np.arange(span.first_train, span.first_train + span.trains, dtype=np.uint64)
    for name, values, dtype in (
        ("trainId", span.train_ids, "u8"),
        ("timestamp", _EPOCH_NS + position * _TRAIN_NS, "u8"),
        ("flag", np.ones(span.trains), "i4"),
        ("origin", np.full(span.trains, -1), "i4"),
    ):
        dataset = file.create_dataset(f"INDEX/{name}", (padded,), dtype, maxshape=(None,))
        dataset[: span.trains] = values
    for group, count in span.groups.items():
        where = f"INDEX/{span.source}/{group}"
        for name, values in (("first", np.cumsum(count) - count), ("count", count)):
            file.create_dataset(f"{where}/{name}", data=values.astype(np.uint64), maxshape=(None,), chunks=True)
