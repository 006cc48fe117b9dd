"""What the calibration benchmark measures with: pixels, constants and limits."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from xdc_testbed.calibration.constants import ModuleConstants

ROUNDS = 7
THREADS = 2


def aligned(shape: tuple[int, ...], kind: Any) -> Any:
    """Zeros that begin on a cache line and are in memory already, so that no page is met for the first time."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    room = np.zeros(size + 64, np.uint8)
    room[::4096] = 1
    return room[-room.ctypes.data % 64 :][:size].view(kind).reshape(shape)


def in_turn(
    variants: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each variant, all of them once per round, so that a busy machine is busy for all of them.

    before: called before each, on nobody's time.
    """
    for variant in variants.values():
        before()
        variant()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            before()
            started = time.perf_counter()
            variant()
            taken[name].append(time.perf_counter() - started)
    return taken


def of(limit: list[float], variant: list[float]) -> float:
    """Median over rounds of limit / variant: 1 is as fast as the limit."""
    return statistics.median(a / b for a, b in zip(limit, variant, strict=True))


def constants(cells: int, frame: tuple[int, int], *, thresholds: bool, seed: int = 1) -> ModuleConstants:
    """Constants of one module, 0.5 % bad pixels; all cells share random numbers, each with its own offset."""
    rng = np.random.default_rng(seed)
    offset, factor = aligned((cells, 3, *frame), np.float32), aligned((cells, 3, *frame), np.float32)
    bad = aligned((cells, 3, *frame), np.uint32)
    limits = aligned((cells, 2, *frame), np.float32) if thresholds else None
    noise = rng.normal(0, 30, (3, *frame)).astype(np.float32)
    flags = np.where(rng.random((3, *frame)) < 0.005, 1, 0).astype(np.uint32)
    for cell in range(cells):
        offset[cell] = noise + np.array([4000, 3900, 4000], np.float32)[:, None, None] + cell % 7
        factor[cell] = np.array([0.024, 0.7, 9], np.float32)[:, None, None]
        bad[cell] = flags
        if limits is not None:
            limits[cell, 0], limits[cell, 1] = 5200 + cell % 5, 7200
    return ModuleConstants(offset, factor, bad, limits, ())


class Limits:
    """The limits, compiled for this machine; each call is one pass by THREADS threads."""

    def __init__(self) -> None:
        source = Path(__file__).with_name("calibration_limits.c")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "limits.so")
            compiler = [os.environ.get("CC", "cc"), "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
            subprocess.run([*compiler, "-o", library, source], check=True)
            self._library = ctypes.CDLL(str(library))
        self._pool = ThreadPoolExecutor(THREADS)

    def widen(self, raw: Any, energy: Any) -> None:
        """Read u2, write f4."""
        rows = np.array_split(np.arange(raw.shape[0]), THREADS)
        size = raw[0].size
        self._all(
            (self._library.limit_widen, raw[r[0] :], energy[r[0] :], ctypes.c_size_t(size * r.size)) for r in rows
        )

    def pair(self, raw: Any, energy: Any, mask: Any, stage: Any) -> None:
        """Read 2 x u2, write f4, u4 and u1: 13 bytes per pixel."""

        def some(rows: Any) -> None:
            for i in rows:
                call = (raw[i], energy[i], mask[i], stage[i])
                self._library.limit_pair(*(_at(a) for a in call), ctypes.c_size_t(energy[i].size))

        list(self._pool.map(some, np.array_split(np.arange(raw.shape[0]), THREADS)))

    def rounds(self, raw: Any, energy: Any, mask: Any, stage: Any, block: int, rounds: int) -> None:
        """As `pair`, with so many passes over each block of pixels while it lies in the cache."""
        pixels = energy[0].size

        def some(rows: Any) -> None:
            desk, flags = np.empty(block, np.float32), np.empty(block, np.uint8)
            for i in rows:
                places = (raw[i], desk, flags, energy[i], mask[i], stage[i])
                sizes = (ctypes.c_size_t(pixels), ctypes.c_size_t(block))
                self._library.limit_rounds(*(_at(each) for each in places), *sizes, rounds)

        list(self._pool.map(some, np.array_split(np.arange(raw.shape[0]), THREADS)))

    def _all(self, calls: Any) -> None:
        list(self._pool.map(lambda c: c[0](*(_at(a) if isinstance(a, np.ndarray) else a for a in c[1:])), calls))


def _at(values: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)
