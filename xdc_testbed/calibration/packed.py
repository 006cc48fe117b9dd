"""Constants compiled once into a packed file that every process of a machine maps read-only.

A packed file holds what the kernels read and nothing else: per memory cell, the planes of offset, factor, mask and
thresholds one after the other, each beginning on a cache line; what the mask knows before the data is folded in. Its
name is a digest of the constants' content and of how they are folded, so that a packed file never changes and never
fits something else. Opening one is a mapping: no reading, no turning of axes, no copy per process.

    <folder>/<digest>.planes      the packed constants
    <folder>/by-file/<digest>     which packed constants belong to versions of these sizes, times and inodes, in this
                                  order of preference
"""

from __future__ import annotations

import json
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from xxhash import xxh3_128_hexdigest

from xdc_testbed.calibration.constants import ModuleConstants, fold, read_constants
from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.failures import ConstantsInvalid
from xdc_testbed.calibration.manifest import Choice, ConstantRecord, Constants, FileRecord
from xdc_testbed.calibration.versions import Version, candidates, require_recent

log = logging.getLogger(__name__)

KEPT = 64
"""Packed files kept in a folder; the ones unused for longest go first."""

_MAGIC = b"XDCPLAN2"
_PAGE = 4096
_LINE = 64
_POPULATED = 128 << 20
"""Up to this size all pages are mapped at once: met one by one, they cost more than the correction of a short file."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    cells: int
    stages: int
    frame: tuple[int, int]
    thresholds: bool
    record: Constants

    @property
    def plane(self) -> int:
        """Bytes of one plane, whole cache lines."""
        return -(-self.frame[0] * self.frame[1] * 4 // _LINE) * _LINE

    @property
    def planes(self) -> int:
        return 3 * self.stages + (2 if self.thresholds else 0)

    @property
    def size(self) -> int:
        """Bytes of all cells."""
        return self.cells * self.planes * self.plane


@dataclass(frozen=True)
class Compiled:
    """Constants ready for the kernels, and the record of what they were made of."""

    constants: ModuleConstants
    record: Constants


def default_folder() -> Path:
    """Below the user's folder of caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xdc-testbed" / "constants"


def open_constants(
    folder: Path,
    module: Module,
    *,
    adaptive: bool,
    packed: Path | None,
    at: datetime | None = None,
    choice: Choice | None = None,
) -> Compiled:
    """The constants of a module below `folder` for data of this time, packed when there is a folder for that.

    adaptive: whether gain thresholds are in use. Raises ConstantsOutdated, and as `read_constants`.
    """
    choice = choice or Choice()
    at = choice.at or at
    compiled = _open(folder, module, adaptive=adaptive, packed=packed, at=at, choice=choice)
    require_recent(compiled.record, at, choice)
    return compiled


def _open(
    folder: Path, module: Module, *, adaptive: bool, packed: Path | None, at: datetime | None, choice: Choice
) -> Compiled:
    if packed is None:
        constants = fold(read_constants(folder, module, at=at, choice=choice), adaptive=adaptive)
        return Compiled(constants, _record(folder, constants.records))
    versions = candidates(folder, module, at, choice)
    known = packed / "by-file" / _identity(versions, module, choice, adaptive=adaptive)
    try:
        return _mapped(packed / known.read_text())
    except FileNotFoundError:
        log.debug("constants of %s %s are packed", module.detector_id, module.name)
    except (OSError, ConstantsInvalid) as error:
        log.warning("packed constants of %s %s are made anew: %s", module.detector_id, module.name, error)
    target = compile_constants(folder, module, adaptive=adaptive, packed=packed, at=at, choice=choice)
    known.parent.mkdir(parents=True, exist_ok=True)
    _appear(known, [target.name.encode()])
    return _mapped(target)


def compile_constants(
    folder: Path,
    module: Module,
    *,
    adaptive: bool,
    packed: Path,
    at: datetime | None = None,
    choice: Choice | None = None,
) -> Path:
    """Write the packed file of a module's constants, when it is not there yet. Returns its path."""
    constants = fold(read_constants(folder, module, at=at, choice=choice), adaptive=adaptive)
    record = _record(folder, constants.records)
    header = _Header(
        cells=constants.cells,
        stages=constants.offset.shape[1],
        frame=module.detector.frame,
        thresholds=constants.thresholds is not None,
        record=record,
    )
    about = header.model_dump_json().encode()
    digest = xxh3_128_hexdigest(_MAGIC + about + bytes([adaptive]) + module.detector.name.encode())
    target = packed / f"{digest}.planes"
    if not _whole(target):
        packed.mkdir(parents=True, exist_ok=True)
        _appear(target, _content(header, about, constants))
        _shrink(packed)
    return target


def _record(folder: Path, parts: tuple[ConstantRecord, ...]) -> Constants:
    files = tuple(FileRecord.of(folder / name, name) for name in sorted({part.file for part in parts}))
    return Constants(files=files, parts=parts)


def _content(header: _Header, about: bytes, constants: ModuleConstants) -> Iterator[bytes | memoryview]:
    head = _MAGIC + len(about).to_bytes(8, "little") + about
    yield head + bytes(-len(head) % _PAGE)
    padding = bytes(header.plane - header.frame[0] * header.frame[1] * 4)
    kinds: list[npt.NDArray[Any]] = [constants.offset, constants.factor, constants.bad]
    kinds += [constants.thresholds] if constants.thresholds is not None else []
    for cell in range(header.cells):
        for kind in kinds:
            for plane in kind[cell]:
                yield np.ascontiguousarray(plane).reshape(-1).view(np.uint8).data
                if padding:
                    yield padding


def _mapped(path: Path) -> Compiled:
    """Raises OSError when it is not there, ConstantsInvalid when it is damaged."""
    with path.open("rb") as file:
        head = file.read(16)
        length = int.from_bytes(head[8:], "little")
        if head[:8] != _MAGIC or length > 1 << 20:
            raise ConstantsInvalid(f"{path.name} is not a file of packed constants")
        try:
            header = _Header.model_validate_json(file.read(length))
        except ValidationError as error:
            raise ConstantsInvalid(f"{path.name} has a damaged header") from error
        start = -(-(16 + length) // _PAGE) * _PAGE
        if os.fstat(file.fileno()).st_size != start + header.size:
            raise ConstantsInvalid(f"{path.name} is not as long as it says")
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if header.size <= _POPULATED else 0)
        mapping = mmap.mmap(file.fileno(), start + header.size, prot=mmap.PROT_READ, flags=flags)
    os.utime(path)
    stride = header.planes * header.plane

    def planes(first: int, number: int, kind: type[np.generic]) -> npt.NDArray[Any]:
        slow, fast = header.frame
        return np.ndarray(
            (header.cells, number, slow, fast), kind, mapping, start + first * header.plane,
            (stride, header.plane, fast * 4, 4),
        )  # fmt: skip

    stages = header.stages
    return Compiled(
        ModuleConstants(
            offset=planes(0, stages, np.float32),
            factor=planes(stages, stages, np.float32),
            bad=planes(2 * stages, stages, np.uint32),
            thresholds=planes(3 * stages, 2, np.float32) if header.thresholds else None,
            records=header.record.parts,
        ),
        header.record,
    )


def _whole(path: Path) -> bool:
    try:
        _mapped(path)
    except (OSError, ConstantsInvalid):
        return False
    return True


def _identity(versions: Sequence[Version], module: Module, choice: Choice, *, adaptive: bool) -> str:
    """Changes when one of the files or their order of preference does, without reading them."""
    known = []
    for version in versions:
        stat = version.path.stat()
        known.append([version.name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    text = json.dumps([known, module.detector.name, adaptive, choice.model_dump(mode="json")["conditions"]])
    return xxh3_128_hexdigest(_MAGIC + text.encode())


def _appear(target: Path, content: Iterator[bytes | memoryview] | list[bytes]) -> None:
    """Write a file that is seen whole or not at all; of two that write the same, either may win."""
    import tempfile  # constants that are mapped need none

    handle, part = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in content:
                file.write(piece)
        Path(part).replace(target)
    finally:
        Path(part).unlink(missing_ok=True)


def _shrink(packed: Path) -> None:
    """Mappings of a removed file stay good."""
    files = sorted(packed.glob("*.planes"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[KEPT:]:
        file.unlink(missing_ok=True)
