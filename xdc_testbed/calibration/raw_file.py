"""Read a raw detector file of the EuXFEL format (EXDF), versions 0.5 to 1.3, block by block.

Format: EXtra-data `docs/data_format.rst`. An index entry per train points to rows `[first, first + count)`; a
count of 0 is a train without data. Train IDs are padded with zeros at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.damage import reading, values
from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.detectors import identify
from xdc_testbed.calibration.failures import InputInvalid, InputTruncated
from xdc_testbed.calibration.superblock import require_complete

Unsigned = npt.NDArray[np.uint64]

_METADATA = (
    "creationDate",
    "daqLibrary",
    "karaboFramework",
    "proposalNumber",
    "runNumber",
    "runType",
    "sample",
)


@dataclass(frozen=True)
class TrainIndex:
    """The trains that are taken over. first, count: rows in the raw file; timestamps: ns, 0 where unknown;
    dropped: trains whose ID is flagged invalid or does not increase; picked: rows, when not all of these are wanted."""

    train_ids: Unsigned
    timestamps: Unsigned
    first: Unsigned
    count: Unsigned
    dropped: int
    picked: npt.NDArray[np.intp] | None = None

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """Row in the raw file of every row that is taken over, in order."""
        if self.picked is not None:
            return self.picked
        spans = [np.arange(f, f + c, dtype=np.intp) for f, c in zip(self.first, self.count, strict=True)]
        return np.concatenate(spans) if spans else np.empty(0, np.intp)


@dataclass(frozen=True)
class RawFile:
    """An open raw file of one detector module.

    metadata: one-element entries of METADATA that a corrected file keeps; code: key of the gain codes, None where they
    are not a dataset of their own.
    """

    module: Module
    index: TrainIndex
    metadata: dict[str, npt.NDArray[Any]]
    sequence: int
    group: h5py.Group
    code: str | None

    @property
    def recorded(self) -> datetime | None:
        """When the file was begun, None when it does not say."""
        stored = self.metadata.get("creationDate")
        if stored is None:
            return None
        try:
            return datetime.strptime(stored[0].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except (ValueError, AttributeError, IndexError):
            return None

    def dataset(self, key: str) -> h5py.Dataset:
        """A dataset of the module's group. Raises InputInvalid when it is not there."""
        if not self.has(key):
            raise InputInvalid(f"{self.module.raw_source} has no {self.module.detector.group}/{key}")
        with reading(InputInvalid):
            return self.group[key]

    def has(self, key: str) -> bool:
        """Whether the module's group has this."""
        with reading(InputInvalid):
            return key in self.group

    def column(self, key: str) -> npt.NDArray[Any]:
        """A small per-row key of all taken rows, without a second axis of length one that is only padding."""
        with reading(InputInvalid):
            column = self.whole(key)[self.index.rows]
        padded = not self.module.detector.several and column.ndim == 2 and column.shape[1] == 1
        return column[:, 0] if padded else column

    def whole(self, key: str) -> npt.NDArray[Any]:
        """All rows of a small dataset, also those that are not taken over."""
        with reading(InputInvalid):
            return values(self.dataset(key), InputInvalid)


@contextmanager
def open_raw(source: Path | BinaryIO, *, gain_in_word: bool = False) -> Iterator[RawFile]:
    """Open and check a raw file, by its path or open already, wherever it is.

    gain_in_word: gain codes are in the words of pixels, not in a dataset of their own. Raises InputTruncated when it
    ends early, InputInvalid when it is not HDF5, holds no known detector or contradicts itself.
    """
    with opened(source) as (file, version):
        with reading(InputInvalid):
            raw = _read(file, version, gain_in_word=gain_in_word)
        yield raw


@contextmanager
def opened(source: Path | BinaryIO) -> Iterator[tuple[h5py.File, tuple[int, int]]]:
    """A file of the facility and the version of its format. Raises InputTruncated and InputInvalid."""
    require_complete(source)
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise InputInvalid(f"input cannot be opened as HDF5: {error}") from error
    with file:
        with reading(InputInvalid):
            version = _version(file)
        yield file, version


def _read(file: h5py.File, version: tuple[int, int], *, gain_in_word: bool) -> RawFile:
    module = identify(instrument_sources(file, version))
    group = file.get(f"INSTRUMENT/{module.raw_source}/{module.detector.group}")
    if not isinstance(group, h5py.Group):
        raise InputInvalid(f"{module.raw_source} is declared but has no data group")
    raw = RawFile(
        module=module,
        index=train_index(file, f"INDEX/{module.raw_source}/{module.detector.group}", version),
        metadata={k: file[f"METADATA/{k}"][:1] for k in _METADATA if f"METADATA/{k}" in file},
        sequence=int(file["METADATA/sequenceNumber"][0]) if "METADATA/sequenceNumber" in file else 0,
        group=group,
        code=None if gain_in_word else module.detector.code,
    )
    _check_shapes(raw)
    return raw


def _version(file: h5py.File) -> tuple[int, int]:
    if "METADATA/dataFormatVersion" not in file:
        return (0, 5)
    text = file["METADATA/dataFormatVersion"][0].decode()
    try:
        major, minor = (int(part) for part in text.split("."))
    except ValueError:
        raise InputInvalid(f"unknown data format version {text!r}") from None
    return major, minor


def instrument_sources(file: h5py.File, version: tuple[int, int]) -> list[str]:
    """Instrument sources, `device:channel`, each once. Raises InputInvalid."""
    where = "METADATA/dataSourceId" if version < (1, 0) else "METADATA/dataSources/dataSourceId"
    if where not in file:
        raise InputInvalid(f"input is not in the EuXFEL format: no {where}")
    found = (entry.decode() for entry in values(file[where], InputInvalid) if entry)
    names = [name.removeprefix("INSTRUMENT/").rsplit("/", 1)[0] for name in found if name.startswith("INSTRUMENT/")]
    return list(dict.fromkeys(names))


def train_index(file: h5py.File, where: str, version: tuple[int, int]) -> TrainIndex:
    """The trains of a file that are taken over, and their rows by the index group `where`. Raises InputInvalid."""
    if "INDEX/trainId" not in file:
        raise InputInvalid("input is not in the EuXFEL format: no INDEX/trainId")
    stored = values(file["INDEX/trainId"], InputInvalid)
    trains = int(np.count_nonzero(stored))
    if np.any(stored[:trains] == 0):
        raise InputInvalid("INDEX/trainId has a zero before the last train")
    first, count = _spans(file, where, trains)
    keep = _valid(file, stored[:trains], version)
    timestamps = file["INDEX/timestamp"][:trains] if "INDEX/timestamp" in file else np.zeros(trains, np.uint64)
    return TrainIndex(
        train_ids=stored[:trains][keep],
        timestamps=timestamps[keep],
        first=first[keep],
        count=count[keep],
        dropped=int(np.count_nonzero(~keep)),
    )


def _spans(file: h5py.File, where: str, trains: int) -> tuple[Unsigned, Unsigned]:
    """first and count; files older than version 1.0 may have first, last and status instead."""
    group = file.get(where)
    if group is None or "first" not in group:
        raise InputInvalid(f"input has no {where}")
    first = group["first"][:trains].astype(np.uint64)
    if "count" in group:
        count = group["count"][:trains].astype(np.uint64)
    else:
        count = ((group["last"][:trains] - first + 1) * group["status"][:trains]).astype(np.uint64)
    if first.size != trains or count.size != trains:
        raise InputInvalid(f"{where} has {first.size} entries for {trains} trains")
    return first, count


def _valid(file: h5py.File, train_ids: Unsigned, version: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Trains whose ID came from the time server and is above all before it. Version 1.1 stored the flag
    inverted.
    """
    keep = np.ones(train_ids.size, bool)
    if "INDEX/flag" in file:
        flag = file["INDEX/flag"][: train_ids.size].astype(bool)
        keep = ~flag if version == (1, 1) else flag
    highest = np.maximum.accumulate(np.where(keep, train_ids, 0))
    before = np.append(np.zeros(1, highest.dtype), highest[:-1])
    valid: npt.NDArray[np.bool_] = keep & (train_ids > before)
    return valid


def _check_shapes(raw: RawFile) -> None:
    detector = raw.module.detector
    image = raw.dataset(detector.image)
    expected = detector.stored
    fits = len(image.shape) == len(expected) + 1 and all(
        want in (None, have) for want, have in zip(expected, image.shape[1:], strict=True)
    )
    if not fits or f"{image.dtype.kind}{image.dtype.itemsize}" not in detector.words:
        raise InputInvalid(f"{detector.image} is {image.dtype} {image.shape[1:]}, expected uint16 {expected}")
    code = raw.dataset(raw.code) if raw.code else None
    if code is not None and (code.dtype != np.uint8 or code.shape[1:] != image.shape[1:]):
        raise InputInvalid(f"{raw.code} is {code.dtype} {code.shape[1:]}, expected uint8 {image.shape[1:]}")
    if detector.cell and raw.dataset(detector.cell).dtype.kind not in "iu":
        raise InputInvalid(f"{detector.cell} is {raw.dataset(detector.cell).dtype}, expected whole numbers")
    keys = (detector.image, detector.cell, raw.code)
    rows = min(raw.dataset(key).shape[0] for key in keys if key)
    first, count = raw.index.first, raw.index.count
    complete = ((count <= rows) & (first <= rows - np.minimum(count, rows))) | (count == 0)
    if int(count[complete].sum(dtype=np.uint64)) > rows:
        raise InputInvalid("the index names rows of pixels more than once", remedy="look at the data acquisition")
    if not complete.all():
        raise InputTruncated(
            f"input ends in train {int(np.argmin(complete)) + 1} of {complete.size}",
            remedy="transfer the file again from where it was written",
        )
