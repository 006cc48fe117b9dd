"""A small picture of figures: SVG, as text, one panel per line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDE, _HIGH, _EDGE = 260, 200, 40


def drawn(title: str, unit: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """One panel per line, number on a logarithmic axis, value from zero. lines: what is counted to (number, value)."""
    width = _WIDE * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HIGH}"',
        '  font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{_HIGH}" fill="white"/>',
        f'<text x="{_EDGE}" y="18" font-size="12">{escape(f"{title}, {unit}")}</text>',
    ]
    for number, (label, points) in enumerate(lines.items()):
        parts.append(f'<g transform="translate({number * _WIDE},0)">{_panel(label, points)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(label: str, points: Sequence[tuple[float, float]]) -> str:
    left, right = math.log(points[0][0]), math.log(points[-1][0])
    top = 1.15 * max(value for _, value in points)

    def place(at: float, value: float) -> tuple[float, float]:
        across = _EDGE + (math.log(at) - left) / (right - left) * (_WIDE - 2 * _EDGE)
        return across, _HIGH - _EDGE - value / top * (_HIGH - 2 * _EDGE)

    places = [place(*point) for point in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    base = _HIGH - _EDGE
    parts = [
        f'<text x="{_WIDE / 2:g}" y="{_HIGH - 10}" text-anchor="middle">{escape(label)}</text>',
        f'<path d="M{_EDGE},{_EDGE} V{base} H{_WIDE - _EDGE}" fill="none" stroke="#888"/>',
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>',
    ]
    for (x, y), (at, value) in zip(places, points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f5fa8"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle">{value:.2f}</text>')
        parts.append(f'<text x="{x:.1f}" y="{base + 14}" text-anchor="middle">{at:,g}</text>')
    return "".join(parts)
