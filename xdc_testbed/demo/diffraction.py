"""The picture that the demonstration detectors see: a crystal in a water jet, in photons per pixel.

Air scatter falls with the distance from the beam, the water ring and powder rings are circles, and Bragg
spots sit on a lattice that is turned differently in every frame, as in serial crystallography. Photons are
drawn from the expected number by Poisson statistics, so the picture has the grain of a real one. The same
seed gives the same photons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdc_testbed.demo.detector_geometry import Layout

Photons = npt.NDArray[np.uint16]

_SPOT_RADIUS = 6
_RINGS = ((0.30, 0.02, 0.9), (0.46, 0.008, 2.2), (0.53, 0.008, 1.3), (0.72, 0.01, 0.8), (0.86, 0.01, 0.5))
"""Radius and width as part of the half diagonal, and expected photons at the top."""


@dataclass(frozen=True)
class Scene:
    """A sample before one detector.

    seed: of everything random; brightest: expected photons in the middle of the strongest spot.
    """

    layout: Layout
    seed: int
    brightest: float = 9000.0

    def background(self, module: int) -> npt.NDArray[np.float32]:
        """Expected photons per pixel of one module without spots, at pulse energy 1."""
        row, column = self.layout.coordinates(module)
        radius = np.hypot(row, column) / np.float32(self._half_diagonal)
        expected = 6.0 * np.exp(-radius / 0.07) + 0.4 * np.exp(-(((radius - 0.42) / 0.14) ** 2))
        for middle, width, height in _RINGS:
            expected += height * np.exp(-0.5 * ((radius - middle) / width) ** 2)
        return expected.astype(np.float32)

    def photons(self, module: int, frame: int, background: npt.NDArray[np.float32]) -> Photons:
        """Photons of one frame of one module; frame: counted over the run; background: what `background`
        gave.
        """
        shot = np.random.default_rng([self.seed, frame])
        energy, angle = shot.uniform(0.7, 1.3), shot.uniform(0, np.pi)
        expected = background * np.float32(energy)
        self._add_spots(module, expected, energy, angle)
        draw = np.random.default_rng([self.seed, frame, module + 1])
        return draw.poisson(expected).clip(0, 0xFFFF).astype(np.uint16)

    @property
    def _half_diagonal(self) -> float:
        return float(np.hypot(*self.layout.canvas) / 2)

    def _add_spots(self, module: int, expected: npt.NDArray[np.float32], energy: float, angle: float) -> None:
        origin_row, origin_column = (
            origin - beam for origin, beam in zip(self.layout.origins[module], self.layout.beam, strict=True)
        )
        placed = expected.T if self.layout.turned else expected
        for row, column, strength in self._spots(angle):
            near, far = row - origin_row, column - origin_column
            if not (0 <= near < placed.shape[0] and 0 <= far < placed.shape[1]):
                continue
            top, left = max(0, int(near) - _SPOT_RADIUS), max(0, int(far) - _SPOT_RADIUS)
            patch = placed[top : int(near) + _SPOT_RADIUS + 1, left : int(far) + _SPOT_RADIUS + 1]
            down = np.arange(top, top + patch.shape[0])[:, None] - near
            across = np.arange(left, left + patch.shape[1])[None, :] - far
            patch += (strength * energy * np.exp(-(down**2 + across**2) / (2 * 1.3**2))).astype(np.float32)

    def _spots(self, angle: float) -> npt.NDArray[np.float64]:
        """(spots, 3): row and column from the beam in pixels, expected photons; about a third of the lattice
        is lit.
        """
        lattice = np.random.default_rng([self.seed, 0x5907])
        step = self._half_diagonal / 16
        h, k = (axis.ravel() for axis in np.mgrid[-18:19, -18:19])
        lit = lattice.random(h.size) < 0.35
        strength = self.brightest * lattice.random(h.size) ** 5
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        row, column = turn @ np.stack([h * step, k * step * 1.3])
        damped = strength * np.exp(-((np.hypot(row, column) / (0.75 * self._half_diagonal)) ** 2))
        visible = lit & ((h != 0) | (k != 0)) & (damped > 1)
        return np.stack([row[visible], column[visible], damped[visible]], axis=1)
