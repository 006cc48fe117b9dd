"""Durations as java.time.Duration reads them: `PT1H`, `P2DT3.5S`."""

from __future__ import annotations

import re

_FORM = re.compile(
    r"([+-])?P(?:([+-]?\d+)D)?(?:T(?:([+-]?\d+)H)?(?:([+-]?\d+)M)?(?:([+-]?\d+(?:[.,]\d{0,9})?)S)?)?$", re.IGNORECASE
)
_UNITS = (86400.0, 3600.0, 60.0, 1.0)


class BadDuration(Exception):
    """A text that is no duration."""


def seconds_of(text: str) -> float:
    """Seconds of an ISO 8601 duration without years and months. Raises BadDuration."""
    found = _FORM.match(text)
    if found is None or not any(found.groups()[1:]) or text.upper().endswith("T"):
        raise BadDuration(text)
    sign, *parts = found.groups()
    total = sum(float(part.replace(",", ".")) * unit for part, unit in zip(parts, _UNITS, strict=True) if part)
    return -total if sign == "-" else total
