"""Constants compiled once into a packed file that every process of a machine maps read-only.

A packed file holds what the kernels read and nothing else: per memory cell, the planes of offset, factor, mask and
thresholds one after the other, each beginning on a cache line; what the mask knows before the data is folded in. Its
name is a digest of the constants' content and of how they are folded, so that a packed file never changes and never
fits something else. Opening one is a mapping: no reading, no turning of axes, no copy per process.

    <folder>/<digest>.planes      the packed constants
    <folder>/by-file/<digest>     which packed constants belong to a file of this size, time and inode
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from xdc_testbed.calibration.constants import ModuleConstants, fold, read_constants
from xdc_testbed.calibration.detectors import Module
from xdc_testbed.calibration.failures import ConstantsInvalid
from xdc_testbed.calibration.manifest import ConstantRecord, Constants, FileRecord

log = logging.getLogger(__name__)

KEPT = 64
"""Packed files kept in a folder; the ones unused for longest go first."""

_MAGIC = b"XDCPLAN1"
_PAGE = 4096
_LINE = 64
_POPULATED = 128 << 20
"""Up to this size all pages are mapped at once: met one by one, they cost more than the correction of a short file."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    cells: int
    stages: int
    frame: tuple[int, int]
    thresholds: bool
    file: FileRecord
    parts: tuple[ConstantRecord, ...]

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


def open_constants(folder: Path, module: Module, *, adaptive: bool, packed: Path | None) -> Compiled:
    """The constants of a module below `folder`, from the folder of packed files when one is given.

    adaptive: whether gain thresholds are in use. Raises ConstantsMissing and ConstantsInvalid as `read_constants`.
    """
    path = folder / module.constants_file
    if packed is None or not path.is_file():
        constants = fold(read_constants(folder, module), adaptive=adaptive)
        return Compiled(constants, Constants(file=FileRecord.of(path, module.constants_file), parts=constants.records))
    known = packed / "by-file" / _identity(path, module, adaptive=adaptive)
    try:
        return _mapped(packed / known.read_text())
    except FileNotFoundError:
        log.debug("constants of %s %s are packed", module.detector_id, module.name)
    except (OSError, ConstantsInvalid) as error:
        log.warning("packed constants of %s %s are made anew: %s", module.detector_id, module.name, error)
    target = compile_constants(folder, module, adaptive=adaptive, packed=packed)
    known.parent.mkdir(parents=True, exist_ok=True)
    _appear(known, [target.name.encode()])
    return _mapped(target)


def compile_constants(folder: Path, module: Module, *, adaptive: bool, packed: Path) -> Path:
    """Write the packed file of a module's constants, when it is not there yet. Returns its path."""
    constants = fold(read_constants(folder, module), adaptive=adaptive)
    record = FileRecord.of(folder / module.constants_file, module.constants_file)
    header = _Header(
        cells=constants.cells,
        stages=constants.offset.shape[1],
        frame=module.detector.frame,
        thresholds=constants.thresholds is not None,
        file=record,
        parts=constants.records,
    )
    about = header.model_dump_json().encode()
    digest = hashlib.sha256(_MAGIC + about + bytes([adaptive]) + module.detector.name.encode()).hexdigest()
    target = packed / f"{digest[:32]}.planes"
    if not _whole(target):
        packed.mkdir(parents=True, exist_ok=True)
        _appear(target, _content(header, about, constants))
        _shrink(packed)
    return target


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
            records=header.parts,
        ),
        Constants(file=header.file, parts=header.parts),
    )


def _whole(path: Path) -> bool:
    try:
        _mapped(path)
    except (OSError, ConstantsInvalid):
        return False
    return True


def _identity(path: Path, module: Module, *, adaptive: bool) -> str:
    """Changes when the file does, without reading it."""
    stat = path.stat()
    known = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    text = json.dumps([*known, module.detector.name, module.constants_file, adaptive])
    return hashlib.sha256(_MAGIC + text.encode()).hexdigest()[:32]


def _appear(target: Path, content: Iterator[bytes | memoryview] | list[bytes]) -> None:
    """Write a file that is seen whole or not at all; of two that write the same, either may win."""
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
