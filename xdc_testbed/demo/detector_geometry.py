"""Where the modules of the two demonstration detectors lie, in whole pixels, to draw and to read assembled
images.

JUNGFRAU 4M-like: two columns of four modules of 512 x 1024 pixels around a slit. AGIPD 1M-like: four
quadrants of four modules of 512 x 128 pixels, turned by 90 degrees, pushed apart like a windmill around a
square hole for the direct beam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["JUNGFRAU", "AGIPD"]

FRAME: dict[Kind, tuple[int, int]] = {"JUNGFRAU": (512, 1024), "AGIPD": (512, 128)}
"""Shape of one frame of one module: (slow scan, fast scan)."""


@dataclass(frozen=True)
class Layout:
    """origins: (row, column) of the first pixel, by module number; turned: slow scan runs along columns;
    canvas: shape of the assembled image; beam: (row, column) where the direct beam passes."""

    frame: tuple[int, int]
    origins: dict[int, tuple[int, int]]
    turned: bool
    canvas: tuple[int, int]
    beam: tuple[float, float]

    def coordinates(self, module: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(row, column) of every pixel of a module on the canvas, relative to the beam; broadcastable to the
        frame.
        """
        row, column = self.origins[module]
        slow = np.arange(self.frame[0], dtype=np.float32)[:, None]
        fast = np.arange(self.frame[1], dtype=np.float32)[None, :]
        rows, columns = (fast, slow) if self.turned else (slow, fast)
        return rows + np.float32(row - self.beam[0]), columns + np.float32(column - self.beam[1])

    def assemble(self, images: Mapping[int, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Put images of modules, by module number, on one canvas; what has no pixel is NaN."""
        canvas = np.full(self.canvas, np.nan, np.float32)
        for module, image in images.items():
            row, column = self.origins[module]
            placed = image.T if self.turned else image
            canvas[row : row + placed.shape[0], column : column + placed.shape[1]] = placed
        return canvas


def layout(kind: Kind) -> Layout:
    """The layout of a detector. Modules of a JUNGFRAU are numbered from 1, those of an AGIPD from 0."""
    return _jungfrau() if kind == "JUNGFRAU" else _agipd()


def _jungfrau() -> Layout:
    slow, fast = FRAME["JUNGFRAU"]
    gap, slit = 36, 100
    height, width = 4 * slow + 2 * gap + slit, 2 * fast + gap
    rows = [0, slow + gap, 2 * slow + gap + slit, 3 * slow + 2 * gap + slit]
    origins = {1 + i: (rows[i % 4], (i // 4) * (fast + gap)) for i in range(8)}
    return Layout((slow, fast), origins, turned=False, canvas=(height, width), beam=(height / 2, width / 2))


def _agipd() -> Layout:
    slow, fast = FRAME["AGIPD"]
    gap, hole = 24, 40
    height, width = 4 * fast + 4 * gap, slow + gap
    corners = [(hole, 0), (height + hole, hole), (height, width + hole), (0, width)]
    origins = {
        4 * quadrant + i: (top + i * (fast + gap), left)
        for quadrant, (top, left) in enumerate(corners)
        for i in range(4)
    }
    canvas = (2 * height + hole, 2 * width + hole)
    return Layout((slow, fast), origins, turned=True, canvas=canvas, beam=(height + hole / 2, width + hole / 2))
