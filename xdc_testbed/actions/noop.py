"""Do nothing, and say when: what remains is the platform's own time. Is sent to the platform as source,
alone.
"""

from __future__ import annotations

import time
from typing import Any


def main(arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001  (the platform passes them)
    """The moment at which the action ran, epoch seconds."""
    return {"started_at": time.time()}
