"""What a user says of a correction on the command line, as the parameters of the calibration take it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from xdc_testbed.errors import WrongUsage


def train_range(text: str | None) -> tuple[int | None, int | None] | None:
    """`10000:10999`, both included; either may be left out. Raises WrongUsage."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None or not (match[1] or match[2]):
        raise WrongUsage(f"--trains {text} is no range", remedy="give first and last train ID: 10000:10999, or 10000:")
    first, last = (int(number) if number else None for number in match.groups())
    if first is not None and last is not None and first > last:
        raise WrongUsage(f"--trains {text} ends before it begins", remedy="give the smaller train ID first")
    return first, last


def cell_list(text: str | None) -> tuple[int, ...] | None:
    """`0-9,15`: memory cells in ascending order. Raises WrongUsage."""
    if text is None:
        return None
    cells: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise WrongUsage(f"--cells {text} is no list of memory cells", remedy="give numbers and ranges: 0-9,15")
        cells.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(cells))


def settings(given: Iterable[str]) -> dict[str, Any]:
    """`name=value`: numbers and true or false as such, everything else as text. Raises WrongUsage."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise WrongUsage(f"--set {text} is not name=value", remedy="for example --set cm_dark_range=40")
        if name == "constants":
            raise WrongUsage("--set constants is not how they are chosen", remedy="--strategy, --at, --condition")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
