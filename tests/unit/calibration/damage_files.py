"""Damage a raw file, or one of constants, in many ways and correct it: a program, for HDF5 may take a process along.

    damage_files.py RAW|CONSTANTS|LIT <raw file> <folder of constants> <scratch folder> <first seed> <how many>

LIT: the file of control data RAW-R0001-DA01-S00000.h5 beside the raw file, in which a lit frame finder tells.

Each line of output is a seed and what became of it. An exception that is no CalibrationError ends the program.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from xdc_testbed.calibration import CalibrationError, calibrate_file
from xdc_testbed.calibration.lit_frames import read_lit_frames

MOST_MEMORY = 3 << 30
"""A damaged length must not make anybody ask for more; damaged constants are read whole."""


def structure(path: Path) -> list[int]:
    """Positions in the file that are neither pixels nor the heap of texts of variable length.

    HDF5 2.0 may loop without end over a damaged heap (docs/reference/outcomes.md).
    """
    content = path.read_bytes()
    taken = np.ones(len(content), bool)
    for heap in re.finditer(b"GCOL", content):
        (size,) = struct.unpack_from("<Q", content, heap.start() + 8)
        taken[heap.start() : heap.start() + size] = False

    def large(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.nbytes > 100_000 and item.chunks:
            for number in range(item.id.get_num_chunks()):
                chunk = item.id.get_chunk_info(number)
                taken[chunk.byte_offset + 64 : chunk.byte_offset + chunk.size] = False

    with h5py.File(path) as file:
        file.visititems(large)
    return [int(at) for at in np.flatnonzero(taken)]


def damaged(whole: bytes, where: list[int], seed: int) -> bytes:
    """One to four places changed."""
    draw, data = np.random.default_rng(seed), bytearray(whole)
    for _ in range(int(draw.integers(1, 5))):
        at = where[int(draw.integers(len(where)))]
        size = int(draw.choice([1, 1, 2, 4, 8, 64]))
        new = [bytes(size), b"\xff" * size, draw.bytes(size)][int(draw.integers(3))]
        data[at : at + size] = new[: len(data) - at]
    return bytes(data)


def outcomes(kind: str, raw: Path, cal: Path, scratch: Path, seeds: range) -> Iterator[str]:
    (constants,) = cal.rglob("cal.*.h5")
    finder = raw.with_name("RAW-R0001-DA01-S00000.h5")
    target = {"RAW": raw, "CONSTANTS": constants, "LIT": finder}[kind]
    whole, where = target.read_bytes(), structure(target)
    copy = scratch / "cal"
    shutil.copytree(cal, copy)
    out = scratch / "CORR.h5"
    given = copy / constants.relative_to(cal) if kind == "CONSTANTS" else scratch / target.name
    for seed in seeds:
        given.write_bytes(damaged(whole, where, seed))
        try:
            lit = read_lit_frames(given) if kind == "LIT" else None
            manifest = calibrate_file(given if kind == "RAW" else raw, out, copy, lit_frames=lit)
            became = f"corrected {manifest.files[0].frames}"
        except CalibrationError as error:
            became = f"{error.name}: {error.message}"
        if out.exists() != became.startswith("corrected") or "\n" in became:
            raise AssertionError(became)
        out.unlink(missing_ok=True)
        yield f"{seed} {became}"


if __name__ == "__main__":
    kind, raw, cal, scratch, first, number = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["XDC_THREADS"] = "1"
    seeds = range(int(first), int(first) + int(number))
    sys.stdout.write(f"{seeds.start - 1} begins\n")
    for line in outcomes(kind, Path(raw), Path(cal), Path(scratch), seeds):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
