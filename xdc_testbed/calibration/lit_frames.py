"""Which frames hold data, as the facility's lit frame finder told while they were taken.

Its source `.../REDU/LITFRM:output` is in a file of control data beside the raw files of a run. Group `data` has a row
for each train: `nFrame`, how many frames the detector took, and `dataFramePattern`, by memory cell whether the frame
holds data: whether a pulse of X-rays hit it, or all of them where the detector was not taking X-rays. Layout as
EXtra-redu 1.1 reads it (`extra_redu.litfrm`). The finder of the facility is one for AGIPD.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.damage import reading, values
from xdc_testbed.calibration.failures import InputInvalid, InputTruncated
from xdc_testbed.calibration.manifest import FileRecord
from xdc_testbed.calibration.raw_file import Unsigned, instrument_sources, opened, train_index

_T = TypeVar("_T", np.bool_, np.float32)

log = logging.getLogger(__name__)

_FINDER = re.compile(r"[^/]+/REDU/LITFRM[^/:]*:output")
_NOT_MEASURED = 10_000
"""Energy of a pulse that the gas monitor did not tell, as EXtra-redu takes it."""


@dataclass(frozen=True)
class LitFrames:
    """What one finder told.

    source: its name; train_ids: ascending, (trains,); frames: how many of each train are told of, (trains,); pattern:
    whether the frame in a memory cell holds data, (trains, cells); energy: of the pulses in a frame, as the gas monitor
    measured it, uJ, same shape, None where the finder did not tell; files: where it was read.
    """

    source: str
    train_ids: Unsigned
    frames: npt.NDArray[np.int64]
    pattern: npt.NDArray[np.bool_]
    energy: npt.NDArray[np.float32] | None
    files: tuple[FileRecord, ...]

    def knows(self, train_ids: Unsigned) -> npt.NDArray[np.bool_]:
        """Of which of these trains anything is told."""
        return np.isin(train_ids, self.train_ids)

    def hold_data(
        self, train_ids: Unsigned, cells: npt.NDArray[np.int64], *, above: float | None = None
    ) -> npt.NDArray[np.bool_]:
        """Whether frames hold data, by train and memory cell of each; above: and were hit with more energy than this,
        uJ. One that nothing is told of counts as holding some, and one whose energy was not measured as having enough:
        nothing is thrown away unasked. Raises InputInvalid when the finder did not tell energies.
        """
        pattern = self.pattern
        if above is not None:
            if self.energy is None:
                raise InputInvalid(f"{self.source} tells no energies", remedy="do without pulse_energy_above")
            pattern = pattern & ((self.energy > above) | (self.energy == _NOT_MEASURED))
        train = np.minimum(np.searchsorted(self.train_ids, train_ids), self.train_ids.size - 1)
        told = (self.train_ids[train] == train_ids) & (cells < self.frames[train])
        holds: npt.NDArray[np.bool_] = ~told | pattern[train, np.where(told, cells, 0)]
        return holds


def read_lit_frames(path: Path) -> LitFrames:
    """What the one lit frame finder in a file, or in the files of a run, told.

    A file of a run that cannot be read is passed over here: correcting the run says what is wrong with it, and trains
    that nothing is told of are counted. Raises InputInvalid when there is no finder or more than one, and as reading a
    raw file does when the path is a file.
    """
    if not path.is_dir():
        found = [(path, part) for part in _read(path)]
    else:
        found = [(file, part) for file in sorted(path.glob("RAW-*.h5")) for part in _read_if_whole(file)]
    names = sorted({part.source for _, part in found})
    if not sum(part.train_ids.size for _, part in found):
        raise InputInvalid(
            f"no lit frame finder has told anything in {path.name}",
            remedy="give the file or run with the source .../REDU/LITFRM:output",
        )
    if len(names) > 1:
        raise InputInvalid(f"more than one lit frame finder: {', '.join(names)}", remedy="give the file of one")
    parts = [part for _, part in found]
    trains, first = np.unique(np.concatenate([part.train_ids for part in parts]), return_index=True)
    energies = [part.energy for part in parts if part.energy is not None]
    return LitFrames(
        source=names[0],
        train_ids=trains,
        frames=np.concatenate([part.frames for part in parts])[first],
        pattern=_joined([part.pattern for part in parts])[first],
        energy=_joined(energies)[first] if len(energies) == len(parts) else None,
        files=tuple(FileRecord.of(file) for file, _ in found),
    )


def _joined(parts: list[npt.NDArray[_T]]) -> npt.NDArray[_T]:
    """One after the other, as wide as the widest."""
    cells = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, cells - part.shape[1]))) for part in parts])


def _read_if_whole(path: Path) -> list[LitFrames]:
    try:
        return _read(path)
    except (InputInvalid, InputTruncated) as error:
        log.info("%s is passed over: %s", path.name, error.message)
        return []


def _read(path: Path) -> list[LitFrames]:
    """What each finder in this file told."""
    with opened(path) as (file, version), reading(InputInvalid):
        names = [name for name in instrument_sources(file, version) if _FINDER.fullmatch(name)]
        return [_told(file, version, name) for name in names]


def _told(file: h5py.File, version: tuple[int, int], source: str) -> LitFrames:
    index = train_index(file, f"INDEX/{source}/data", version)
    frames, pattern = (_column(file, source, name, "bui") for name in ("nFrame", "dataFramePattern"))
    if frames.ndim != 1 or pattern.ndim != 2 or not pattern.shape[1]:
        raise InputInvalid(f"{source} has nFrame of shape {frames.shape}, dataFramePattern of shape {pattern.shape}")
    energy = None
    if f"INSTRUMENT/{source}/data/energyPerFrame" in file:
        energy = _column(file, source, "energyPerFrame", "f").astype(np.float32)
        if energy.shape != pattern.shape:
            raise InputInvalid(f"{source} has dataFramePattern of shape {pattern.shape}, energies of {energy.shape}")
    told = index.count > 0
    row = index.first[told]
    if row.size and int(row.max()) >= min(len(frames), len(pattern)):
        raise InputTruncated(f"the index of {source} names rows that are not there")
    row = row.astype(np.intp)
    return LitFrames(
        source=source,
        train_ids=index.train_ids[told],
        frames=np.minimum(frames[row], pattern.shape[1]).astype(np.int64),
        pattern=pattern[row] != 0,
        energy=None if energy is None else energy[row],
        files=(),
    )


def _column(file: h5py.File, source: str, name: str, kinds: str) -> npt.NDArray[Any]:
    dataset = file.get(f"INSTRUMENT/{source}/data/{name}")
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds:
        raise InputInvalid(f"{source} has no data.{name} of {'whole ' if 'u' in kinds else ''}numbers")
    return values(dataset, InputInvalid)
