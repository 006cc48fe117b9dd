"""The Range header (RFC 9110, section 14): which bytes of a file a client wants."""

from __future__ import annotations

_MOST = 256


class Unsatisfiable(Exception):
    """None of the ranges lies within the file."""


def wanted(header: str | None, size: int) -> list[tuple[int, int]]:
    """First and last byte of every range within size; empty for the whole file. Raises Unsatisfiable."""
    if header is None or not header.strip().lower().startswith("bytes="):
        return []
    found = []
    for part in header.strip()[6:].split(","):
        first, dash, last = part.strip().partition("-")
        if not dash or not (first or last) or not (first + last).isdigit():
            return []
        if not first:
            start, end = max(0, size - int(last)), size - 1
            if int(last) == 0:
                continue
        else:
            start, end = int(first), min(int(last), size - 1) if last else size - 1
            if last and int(last) < start:
                return []
        if start < size:
            found.append((start, end))
    if not found:
        raise Unsatisfiable
    return [] if len(found) > _MOST else found
