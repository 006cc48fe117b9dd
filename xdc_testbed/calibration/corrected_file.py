"""Write a corrected detector file of the EuXFEL format, version 1.2, block by block.

Names follow the facility since 2026/1: `/CORR/` in the source, the raw name kept as a soft link. Energies are in one
piece, mask and gain one frame per chunk with deflate level 1, as EXtra-data's threads read them. Nothing of the clock
or of the machine goes in: the same content gives the same bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.native.files import InFile
from xdc_testbed.calibration.raw_file import RawFile

FORMAT_VERSION = b"1.2"
_DEFAULTS: dict[str, Any] = {
    "creationDate": b"19700101T000000Z",
    "daqLibrary": b"",
    "karaboFramework": b"",
    "proposalNumber": np.uint32(0),
    "runNumber": np.uint32(0),
    "runType": b"",
    "sample": b"",
}
_PADDING = 16


@dataclass(frozen=True)
class Datasets:
    """The pixels of a corrected file, by dataset. per_row: frames in one row; several: rows have an axis for them."""

    energy: h5py.Dataset
    stage: h5py.Dataset
    mask: h5py.Dataset
    per_row: int
    several: bool

    def chunk(self, frame: int) -> tuple[int, ...]:
        """Where in the datasets the chunk of a frame begins."""
        row, position = divmod(frame, self.per_row)
        return (row, position, 0, 0) if self.several else (row, 0, 0)


def describe(
    file: h5py.File, raw: RawFile, *, dtype: np.dtype[Any], legacy_names: bool, in_one_piece: bool = True
) -> Datasets:
    """Put all into a file but its pixels. in_one_piece: energies are so, else one frame per chunk."""
    detector = raw.module.detector
    rows = raw.index.rows.size
    stored = raw.dataset(detector.image).shape
    row_shape = detector.row(stored)
    chunk = (1,) * (1 + len(row_shape) - len(detector.frame)) + detector.frame
    _write_metadata(file, raw, legacy_names=legacy_names)
    _write_index(file, raw)
    group = file.create_group(f"INSTRUMENT/{raw.module.corrected_source}/{detector.group}")
    group["trainId"] = np.repeat(raw.index.train_ids, raw.index.count.astype(np.intp))
    for key in detector.per_row:
        if raw.has(key):
            group[key] = raw.column(key)
    shape = (rows, *row_shape)
    folder, _, image = detector.image.rpartition("/")
    beside = group.require_group(folder) if folder else group
    if rows and in_one_piece:
        energy = _allocated(beside, image, shape, dtype)
    else:
        energy = beside.create_dataset(image, shape, dtype, chunks=chunk if rows else None)
    layout: dict[str, Any] = {"chunks": chunk, "compression": "gzip", "compression_opts": 1} if rows else {}
    stage = beside.create_dataset("gain", shape, "u1", **layout)
    mask = beside.create_dataset("mask", shape, "u4", **layout)
    if legacy_names:
        for top in ("INDEX", "INSTRUMENT"):
            file[f"{top}/{raw.module.raw_source}"] = h5py.SoftLink(f"/{top}/{raw.module.corrected_source}")
    return Datasets(energy, stage, mask, detector.frames_per_row(stored), detector.several)


class CorrectedFile:
    """An open corrected file: all but its pixels is there when it is opened. Energies are written past HDF5.

    frame_bytes: of the energies of a frame.
    """

    streamed = False

    def __init__(self, datasets: Datasets, frame: tuple[int, int], descriptor: int) -> None:
        self._datasets, self._descriptor = datasets, descriptor
        self._itemsize = datasets.energy.dtype.itemsize
        self.frame_bytes = self._itemsize * math.prod(frame)

    def room(self, frames: npt.NDArray[np.intp]) -> InFile:
        """Where the energies of frames go."""
        start = int(self._datasets.energy.id.get_offset())
        return InFile.at(self._descriptor, start + self.frame_bytes * frames.astype(np.int64), self._itemsize)

    def write_flags(self, frame: int, stage: bytes, mask: bytes) -> None:
        """Put the deflated stages and mask of one frame."""
        at = self._datasets.chunk(frame)
        self._datasets.stage.id.write_direct_chunk(at, stage)
        self._datasets.mask.id.write_direct_chunk(at, mask)


@contextmanager
def create_corrected(path: Path, raw: RawFile, *, dtype: np.dtype[Any], legacy_names: bool) -> Iterator[CorrectedFile]:
    """Create the file with all but its pixels, energies of type `dtype`. An existing file is overwritten."""
    with h5py.File(path, "w") as file:
        datasets = describe(file, raw, dtype=dtype, legacy_names=legacy_names)
        file.flush()
        descriptor = os.open(path, os.O_WRONLY)
        try:
            yield CorrectedFile(datasets, raw.module.detector.frame, descriptor)
        finally:
            os.close(descriptor)


def _allocated(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    """Values in one piece, with its place in the file and nothing written there: others write at its offset."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    return h5py.Dataset(h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(dtype), space, properties))


def _write_metadata(file: h5py.File, raw: RawFile, *, legacy_names: bool) -> None:
    module = raw.module
    names = [module.corrected_source] + ([module.raw_source] if legacy_names else [])
    devices = [f"{name}/{module.detector.group}" for name in names]
    padding = [""] * (-len(devices) % _PADDING)
    text = h5py.string_dtype("ascii")
    sources = file.create_group("METADATA/dataSources")
    sources.create_dataset("dataSourceId", data=[f"INSTRUMENT/{d}" for d in devices] + padding, dtype=text)
    sources.create_dataset("deviceId", data=devices + padding, dtype=text)
    sources.create_dataset("root", data=["INSTRUMENT"] * len(devices) + padding, dtype=text)
    metadata = file["METADATA"]
    for key, default in _DEFAULTS.items():
        metadata[key] = raw.metadata.get(key, np.array([default]))
    metadata["updateDate"] = metadata["creationDate"][...]
    metadata["dataFormatVersion"] = np.array([FORMAT_VERSION])
    metadata["sequenceNumber"] = np.array([raw.sequence], np.uint32)


def _write_index(file: h5py.File, raw: RawFile) -> None:
    index = raw.index
    trains = index.train_ids.size
    group = file.create_group("INDEX")
    group["trainId"] = index.train_ids
    group["timestamp"] = index.timestamps
    group["flag"] = np.ones(trains, np.int32)
    group["origin"] = np.full(trains, -1, np.int32)
    source = group.create_group(f"{raw.module.corrected_source}/{raw.module.detector.group}")
    source["first"] = np.cumsum(index.count, dtype=np.uint64) - index.count
    source["count"] = index.count
