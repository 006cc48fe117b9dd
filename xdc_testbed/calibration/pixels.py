"""Frames as they are given to a correction, and as they come out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Pixels:
    """Frames of one module.

    raw: (frames, slow, fast), words as stored, ADU where the detector has no bits in them; gain: same shape, what a
    pixel says of its gain beside the word (a code, or an analog value), None where it says nothing; cells: (frames,),
    memory cell.
    """

    raw: npt.NDArray[np.uint16]
    gain: npt.NDArray[Any] | None
    cells: npt.NDArray[np.integer]


@dataclass(frozen=True)
class Corrected:
    """What comes out, written in place.

    energy: in the unit of the detector, keV for most; stage: gain stage, 255 where a pixel does not tell it; mask: bits
    of BadPixels. All (frames, slow, fast), or (slow, fast) of one frame.
    """

    energy: npt.NDArray[np.float32]
    stage: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint32]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Corrected:
        """Room for such frames, with anything in it."""
        return cls(np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.uint32))

    def take(self, other: Corrected, where: npt.NDArray[np.bool_]) -> None:
        """Replace pixels by those of other frames."""
        for mine, its in ((self.energy, other.energy), (self.stage, other.stage), (self.mask, other.mask)):
            np.copyto(mine, its, where=where)

    def __getitem__(self, which: int | slice) -> Corrected:
        """One frame, or some of them: views, nothing is copied."""
        return Corrected(self.energy[which], self.stage[which], self.mask[which])

    def __iter__(self) -> Iterator[Corrected]:
        """Frame by frame."""
        return (self[frame] for frame in range(len(self.energy)))
