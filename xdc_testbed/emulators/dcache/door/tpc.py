"""COPY: third-party copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..web import plain
from .access import Call, Refused

if TYPE_CHECKING:
    from .door import Door


def copy(door: Door, call: Call) -> bool:
    """Not yet."""
    raise Refused(plain(501, "Method COPY is not implemented."))
