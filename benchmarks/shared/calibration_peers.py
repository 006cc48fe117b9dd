"""What others use for the same work, each with its best settings."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shared.calibration_data import THREADS
from xdc_testbed.calibration.constants import ModuleConstants


def jungfrau_peers(raw: Any, module: ModuleConstants, energy: Any) -> dict[str, Callable[[], object]]:
    """Those that are installed here, and correct `raw` (words with gain bits) by the constants of memory cell 0.

    aare (pip install 'xdc-testbed[peers]'): threads of its own; divides by the gain; a new array with every call.
    psana (pip install --no-deps psana): its newest kernel, C++ on one thread, into `energy`. The package itself does
    not import without MPI, and asks an experiment database for constants; the kernel needs neither.
    """
    found: dict[str, Callable[[], object]] = {}
    if importlib.util.find_spec("aare"):
        import aare

        pedestal, gain = module.offset[0], np.reciprocal(module.factor[0])
        found["aare"] = lambda: aare.apply_calibration(raw, pd=pedestal, cal=gain, n_threads=THREADS)
    kernel = _psana_kernel()
    if kernel:
        codes = [0, 1, 1, 2]  # stage of each value of the two gain bits; 2 is a wrong one
        planes = np.stack([module.offset[0][codes], module.factor[0][codes]], axis=-1).reshape(-1)
        size = raw[0].size

        def all_frames() -> None:
            for words, out in zip(raw.reshape(-1, size), energy.reshape(-1, size), strict=True):
                kernel(words, planes, size, size, out)

        found["psana"] = all_frames
    return found


def _psana_kernel() -> Callable[..., object] | None:
    package = importlib.util.find_spec("psana")
    if package is None or not package.submodule_search_locations:
        return None
    (library,) = Path(package.submodule_search_locations[0]).glob("utilsdetector_ext.*.so")
    spec = importlib.util.spec_from_file_location("utilsdetector_ext", library)
    assert spec is not None
    assert spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    kernel: Callable[..., object] = extension.cy_calib_jungfrau_v3
    return kernel


def numba_peers() -> tuple[Callable[..., None], Callable[..., None]]:
    """One pass as a user of numba writes it, parallel over frames: JUNGFRAU (f4 out), AGIPD (f4, u4 and u1 out)."""
    import numba

    numba.set_num_threads(THREADS)

    @numba.njit(parallel=True)  # type: ignore[misc]
    def jungfrau(raw: Any, offset: Any, factor: Any, energy: Any) -> None:
        for frame in numba.prange(raw.shape[0]):
            for i in range(raw.shape[1]):
                word = raw[frame, i]
                code = word >> 14
                stage = 2 if code == 3 else (1 if code == 1 else 0)
                energy[frame, i] = (np.float32(word & 0x3FFF) - offset[stage, i]) * factor[stage, i]

    @numba.njit(parallel=True)  # type: ignore[misc]
    def agipd(
        raw: Any, cells: Any, offset: Any, factor: Any, bad: Any, limits: Any, energy: Any, mask: Any, stage: Any
    ) -> None:
        for frame in numba.prange(raw.shape[0]):
            cell = cells[frame]
            for i in range(raw.shape[2]):
                gain = np.float32(raw[frame, 1, i])
                found = (1 if gain > limits[cell, 0, i] else 0) + (1 if gain > limits[cell, 1, i] else 0)
                value = (np.float32(raw[frame, 0, i]) - offset[cell, found, i]) * factor[cell, found, i]
                bits = bad[cell, found, i]
                if not np.isfinite(value):
                    bits |= np.uint32(1 << 11)
                energy[frame, i] = value
                mask[frame, i] = bits
                stage[frame, i] = found

    return jungfrau, agipd
