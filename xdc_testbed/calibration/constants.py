"""Constants of one detector module: read from the facility's HDF5 layout, checked, put in the kernels' order.

Which files there are, and which of them is taken, is the matter of `versions`. `/{PDU}/{Name}/0/data` has axes
(fast_scan, slow_scan, cell, gain), attribute `dims`. The kernels want float32 or uint32 planes
[cell, gain, slow, fast], contiguous. Which constants a detector has is said by its own module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.badpixels import BadPixels
from xdc_testbed.calibration.damage import reading
from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.failures import ConstantsInvalid, ConstantsMismatch, ConstantsMissing
from xdc_testbed.calibration.manifest import Choice, Condition, ConstantRecord
from xdc_testbed.calibration.turning import Stored
from xdc_testbed.calibration.versions import Version, candidates, conditions_of, contradiction

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
    if all(bool((low[cell] < high[cell]).all()) for cell in range(constants.cells)):
        return constants
    unusable = np.where(low < high, np.uint32(0), np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR))
    known = np.where(np.isnan(constants.thresholds), np.float32(np.inf), constants.thresholds)
    thresholds = np.stack([known.min(axis=1), known.max(axis=1)], axis=1)
    return replace(constants, bad=constants.bad | unusable[:, None], thresholds=thresholds)


def read_constants(
    folder: Path, module: Module, *, at: datetime | None = None, choice: Choice | None = None
) -> ModuleConstants:
    """Read and check the constants of a module below `folder`, of the versions that fit data of this time.

    Raises ConstantsMissing when a constant is in no version, ConstantsMismatch when it is only in such of other
    conditions, ConstantsInvalid when a shape or a type does not fit.
    """
    choice = choice or Choice()
    with ExitStack() as opened:
        reader = Reader(module, candidates(folder, module, at, choice), choice.conditions, opened)
        with reading(ConstantsInvalid, f"one of the constants in {module.constants_folder}"):
            return module.detector.recipe(reader)


class Reader:
    """Takes constants out of the versions of one module and remembers what it took."""

    def __init__(
        self, module: Module, versions: Sequence[Version], wanted: Mapping[str, Condition], opened: ExitStack
    ) -> None:
        self._module, self._detector = module, module.detector
        self._versions, self._wanted, self._opened = versions, wanted, opened
        self._files: dict[str, tuple[h5py.File, int]] = {}
        self._pdu: str | None = None
        self._cells: int | None = None
        self._records: list[ConstantRecord] = []

    def planes(self, name: str, *, stages: int | None = 0) -> Planes:
        """float32 [cell, stage, slow, fast]; stages: the first ones of the gain axis, by default those of the detector,
        None for a constant without gain axis.
        """
        values: Planes | None = self._turned(name, self._stages if stages == 0 else stages, np.float32)
        if values is None:
            raise self._missing(name)
        return values

    def bits(self, *names: str, optional: str) -> Bits:
        """uint32 [cell, stage, slow, fast], all constants combined, the last one when it is there."""
        bits: Bits = np.zeros((self._cells or 1, self._detector.stages, *self._detector.frame), np.uint32)
        for name in (*names, optional):
            more = self._turned(name, self._stages, np.uint32)
            if more is not None:
                bits = np.bitwise_or(bits, more, out=more)
            elif name in names:
                raise self._missing(name)
        return bits

    def finish(self, offset: Planes, factor: Planes, bad: Bits, thresholds: Planes | None = None) -> ModuleConstants:
        return ModuleConstants(offset, factor, bad, thresholds, tuple(self._records))

    @property
    def _stages(self) -> int | None:
        """Constants of a detector with one gain stage have no gain axis."""
        return self._detector.stages if self._detector.stages > 1 else None

    def _turned(
        self, name: str, stages: int | None, kind: type[np.float32] | type[np.uint32]
    ) -> npt.NDArray[Any] | None:
        """None when no version has it. Raises ConstantsMismatch when only such of other conditions have it."""
        passed: list[str] = []
        for version in self._versions:
            file, descriptor = self._open(version)
            pdu = str(next(iter(file)))
            group = file.get(f"{pdu}/{name}/0")
            if not isinstance(group, h5py.Group) or not isinstance(group.get("data"), h5py.Dataset):
                continue
            conditions = conditions_of(group)
            why_not = contradiction(conditions, self._wanted)
            if why_not is None and self._pdu not in (None, pdu):
                why_not = f"it is of {pdu}, not {self._pdu}"
            if why_not:
                passed.append(f"{version.path.name}: {why_not}")
                continue
            self._pdu = pdu
            self._check(name, group["data"], DIMENSIONS if stages is not None else DIMENSIONS[:3], stages, kind)
            stored = Stored(group["data"], descriptor)
            with ThreadPoolExecutor(1) as aside:
                digest = aside.submit(stored.digest)
                planes = stored.turned(stages, kind)
            self._records.append(
                ConstantRecord(
                    pdu=pdu,
                    name=name,
                    file=version.name,
                    begin=version.begin,
                    conditions=conditions,
                    passed_over=tuple(passed),
                    shape=stored.shape,
                    dtype=str(stored.dtype),
                    xxh3=digest.result(),
                )
            )
            return planes
        if passed:
            raise ConstantsMismatch(
                f"constant {name} of {self._module.detector_id} {self._module.name} fits in no version: "
                + "; ".join(passed[:3]),
                remedy="give constants of these conditions, or name the conditions that the data has",
            )
        return None

    def _missing(self, name: str) -> ConstantsMissing:
        return ConstantsMissing(
            f"constant {name} of {self._module.detector_id} {self._module.name} is missing",
            remedy=f"no file in {self._module.constants_folder} that may be taken holds it",
        )

    def _open(self, version: Version) -> tuple[h5py.File, int]:
        known = self._files.get(version.name)
        if known is None:
            try:
                file = self._opened.enter_context(h5py.File(version.path, "r"))
                descriptor = os.open(version.path, os.O_RDONLY)
            except OSError as error:
                raise ConstantsInvalid(f"constants {version.name} cannot be read: {error}") from error
            self._opened.callback(os.close, descriptor)
            if len(file) != 1:
                raise ConstantsInvalid(
                    f"a file of constants holds one physical module, {version.name} holds {len(file)}"
                )
            known = self._files[version.name] = (file, descriptor)
        return known

    def _check(
        self,
        name: str,
        dataset: h5py.Dataset,
        dimensions: tuple[str, ...],
        stages: int | None,
        kind: type[np.float32] | type[np.uint32],
    ) -> None:
        declared = tuple(_text(d) for d in dataset.attrs.get("dims", dimensions))
        slow, fast = self._detector.frame
        shape = dataset.shape
        if len(shape) != len(dimensions) or declared[:3] != DIMENSIONS[:3]:
            raise ConstantsInvalid(f"constant {name} has axes {declared}, expected {dimensions}")
        if dataset.dtype.kind not in ("f" if kind is np.float32 else "iu"):
            raise ConstantsInvalid(f"constant {name} is {dataset.dtype}, expected {_KINDS[kind]}")
        if shape[:2] != (fast, slow):
            raise ConstantsInvalid(f"constant {name} has {shape[:2]} pixels, expected {(fast, slow)}")
        if stages is not None and shape[3] < stages:
            raise ConstantsInvalid(f"constant {name} has {shape[3]} gain stages, expected {stages}")
        if self._cells is None:
            self._cells = shape[2]
        elif shape[2] != self._cells:
            raise ConstantsInvalid(f"constant {name} has {shape[2]} memory cells, others have {self._cells}")


_KINDS = {np.float32: "numbers with a fraction", np.uint32: "whole numbers"}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
