"""Constants of one detector module: read from the facility's HDF5 layout, checked, put in the kernels' order.

A file holds one physical module: `/{PDU}/{Name}/0/data` with axes (fast_scan, slow_scan, cell, gain),
attribute `dims`. The kernels want float32 or uint32 planes [cell, gain, slow, fast], contiguous.

    JUNGFRAU   Offset10Hz (ADU), RelativeGain10Hz (ADU/keV), BadPixelsDark10Hz, optional BadPixelsFF10Hz
    AGIPD      Offset (ADU), ThresholdsDark (two first values of the last axis, ADU), BadPixelsDark,
               RelativeGain (multiplies a stage to high gain), SlopesFF (high gain, ADU/keV, no gain axis),
               optional BadPixelsFF
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.detectors import JUNGFRAU, Detector, Module
from xdc_testbed.calibration.failures import ConstantsInvalid, ConstantsMissing
from xdc_testbed.calibration.manifest import ConstantRecord

Planes = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint32]

DIMENSIONS = ("fast_scan", "slow_scan", "cell", "gain")


@dataclass(frozen=True)
class ModuleConstants:
    """What a kernel needs.

    offset: ADU; factor: keV per ADU; both float32 [cell, stage, slow, fast]; bad: uint32, same axes;
    thresholds: float32 [cell, 2, slow, fast], ADU of the analog gain value, AGIPD only.
    """

    offset: Planes
    factor: Planes
    bad: Bits
    thresholds: Planes | None
    records: tuple[ConstantRecord, ...]

    @property
    def cells(self) -> int:
        """Number of memory cells that have constants."""
        return int(self.offset.shape[0])

    def require_cells(self, cells: npt.NDArray[Any]) -> None:
        """Raise ConstantsMissing when one of these memory cells has no constants."""
        if cells.size and int(cells.max()) >= self.cells:
            raise ConstantsMissing(
                f"no constants for memory cell {int(cells.max())}, there are {self.cells} cells",
                remedy="give constants taken with at least as many memory cells as the data",
            )


def fold(constants: ModuleConstants, *, adaptive: bool) -> ModuleConstants:
    """As the kernels want them: what thresholds out of order mean is put into the mask, thresholds are sorted, and one
    that is no number is never passed. In fixed gain, thresholds do not matter and are left out.
    """
    if not adaptive or constants.thresholds is None:
        return replace(constants, thresholds=None)
    low, high = constants.thresholds[:, 0], constants.thresholds[:, 1]
    unusable = np.where(low < high, np.uint32(0), np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR))
    thresholds = np.sort(np.where(np.isnan(constants.thresholds), np.float32(np.inf), constants.thresholds), axis=1)
    return replace(constants, bad=constants.bad | unusable[:, None], thresholds=thresholds)


def read_constants(folder: Path, module: Module) -> ModuleConstants:
    """Read and check the constants of a module below `folder`.

    Raises ConstantsMissing when the file or one of its parts is absent, ConstantsInvalid when a shape does
    not fit.
    """
    path = folder / module.constants_file
    if not path.is_file():
        raise ConstantsMissing(
            f"no constants for {module.detector_id} {module.name}",
            remedy=f"put them at {module.constants_file} in the folder of constants",
        )
    try:
        with h5py.File(path, "r") as file:
            reader = _Reader(file, module.detector)
            return _jungfrau(reader) if module.detector is JUNGFRAU else _agipd(reader)
    except OSError as error:
        raise ConstantsInvalid(f"constants {module.constants_file} cannot be read: {error}") from error


def _jungfrau(read: _Reader) -> ModuleConstants:
    offset = read.planes("Offset10Hz")
    gain = read.planes("RelativeGain10Hz")
    with np.errstate(divide="ignore"):
        factor = np.float32(1) / gain
    bad = read.bits("BadPixelsDark10Hz", "BadPixelsFF10Hz")
    return read.finish(offset, factor, bad, None)


def _agipd(read: _Reader) -> ModuleConstants:
    offset = read.planes("Offset")
    slopes = read.planes("SlopesFF", stages=None)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = read.planes("RelativeGain") / slopes[:, None]
    bad = read.bits("BadPixelsDark", "BadPixelsFF")
    thresholds = read.planes("ThresholdsDark", stages=2)
    return read.finish(offset, factor, bad, thresholds)


class _Reader:
    """Takes datasets out of one open file and remembers what it took."""

    def __init__(self, file: h5py.File, detector: Detector) -> None:
        names = list(file)
        if len(names) != 1:
            raise ConstantsInvalid(f"a file of constants holds one physical module, this one holds {len(names)}")
        self._pdu = str(names[0])
        self._group = file[self._pdu]
        self._detector = detector
        self._cells: int | None = None
        self._records: list[ConstantRecord] = []

    def planes(self, name: str, *, stages: int | None = 3) -> Planes:
        """float32 [cell, stage, slow, fast]; stages None: the constant has no gain axis."""
        return self._turned(name, stages).astype(np.float32, order="C", copy=False)

    def bits(self, name: str, optional: str) -> Bits:
        """uint32 [cell, stage, slow, fast], both constants combined, the second one when it is there."""
        bits = self._turned(name, self._detector.stages).astype(np.uint32, order="C")
        if optional in self._group:
            bits |= self._turned(optional, self._detector.stages).astype(np.uint32)
        return bits

    def finish(self, offset: Planes, factor: Planes, bad: Bits, thresholds: Planes | None) -> ModuleConstants:
        return ModuleConstants(offset, factor, bad, thresholds, tuple(self._records))

    def _turned(self, name: str, stages: int | None) -> npt.NDArray[Any]:
        where = f"{name}/0/data"
        if where not in self._group:
            raise ConstantsMissing(f"constant {name} of {self._pdu} is missing")
        dataset = self._group[where]
        dimensions = DIMENSIONS if stages is not None else DIMENSIONS[:3]
        self._check(name, dataset, dimensions, stages)
        stored = dataset[...]
        self._records.append(
            ConstantRecord(
                pdu=self._pdu,
                name=name,
                shape=stored.shape,
                dtype=str(stored.dtype),
                sha256=hashlib.sha256(np.ascontiguousarray(stored).data).hexdigest(),
            )
        )
        if stages is None:
            return np.ascontiguousarray(stored.transpose(2, 1, 0))
        return np.ascontiguousarray(stored[..., :stages].transpose(2, 3, 1, 0))

    def _check(self, name: str, dataset: h5py.Dataset, dimensions: tuple[str, ...], stages: int | None) -> None:
        declared = tuple(_text(d) for d in dataset.attrs.get("dims", dimensions))
        slow, fast = self._detector.frame
        shape = dataset.shape
        if len(shape) != len(dimensions) or declared[:3] != DIMENSIONS[:3]:
            raise ConstantsInvalid(f"constant {name} has axes {declared}, expected {dimensions}")
        if shape[:2] != (fast, slow):
            raise ConstantsInvalid(f"constant {name} has {shape[:2]} pixels, expected {(fast, slow)}")
        if stages is not None and shape[3] < stages:
            raise ConstantsInvalid(f"constant {name} has {shape[3]} gain stages, expected {stages}")
        if self._cells is None:
            self._cells = shape[2]
        elif shape[2] != self._cells:
            raise ConstantsInvalid(f"constant {name} has {shape[2]} memory cells, others have {self._cells}")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
