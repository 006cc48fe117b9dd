"""How a benchmark says what it measured: one JSON line per figure."""

from __future__ import annotations

import json
from typing import Any


def show(name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None) -> None:
    """Print one figure: name, value, unit, and where it has a goal, the goal and whether it holds."""
    line: dict[str, Any] = {"name": name, "value": round(value, 2), "unit": unit}
    if at_most is not None:
        line |= {"goal": f"<= {at_most:g}", "holds": value <= at_most}
    if at_least is not None:
        line |= {"goal": f">= {at_least:g}", "holds": value >= at_least}
    print(json.dumps(line), flush=True)
