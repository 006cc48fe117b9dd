"""Write a corrected detector file of the EuXFEL format, version 1.2, block by block.

Names follow the facility since 2026/1: `/CORR/` in the source, the raw name kept as a soft link. Energies are in one
piece, mask and gain one frame per chunk with deflate level 1, as EXtra-data's threads read them. Nothing of the clock
or of the machine goes in: the same content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

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


class CorrectedFile:
    """An open corrected file: all but its pixels is there when it is opened."""

    def __init__(self, file: h5py.File, raw: RawFile, *, dtype: np.dtype[Any], legacy_names: bool) -> None:
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
        self._per_row, self._several = detector.frames_per_row(stored), detector.several
        folder, _, image = detector.image.rpartition("/")
        beside = group.require_group(folder) if folder else group
        self._energy = _allocated(beside, image, shape, dtype) if rows else beside.create_dataset(image, shape, dtype)
        layout: dict[str, Any] = {"chunks": chunk, "compression": "gzip", "compression_opts": 1} if rows else {}
        self._stage = beside.create_dataset("gain", shape, "u1", **layout)
        self._mask = beside.create_dataset("mask", shape, "u4", **layout)
        if legacy_names:
            for top in ("INDEX", "INSTRUMENT"):
                file[f"{top}/{raw.module.raw_source}"] = h5py.SoftLink(f"/{top}/{raw.module.corrected_source}")

    @property
    def energy_offset(self) -> int:
        """Where in the file the energies begin, frame after frame."""
        return int(self._energy.id.get_offset())

    def write_flags(self, frame: int, stage: bytes, mask: bytes) -> None:
        """Put the deflated stages and mask of one frame."""
        row, position = divmod(frame, self._per_row)
        at = (row, position, 0, 0) if self._several else (row, 0, 0)
        self._stage.id.write_direct_chunk(at, stage)
        self._mask.id.write_direct_chunk(at, mask)


@contextmanager
def create_corrected(path: Path, raw: RawFile, *, dtype: np.dtype[Any], legacy_names: bool) -> Iterator[CorrectedFile]:
    """Create the file with all but its pixels, energies of type `dtype`. An existing file is overwritten."""
    with h5py.File(path, "w") as file:
        corrected = CorrectedFile(file, raw, dtype=dtype, legacy_names=legacy_names)
        file.flush()
        yield corrected


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
