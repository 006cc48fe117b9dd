"""How long the way of a file took, from its story: the figures of the report. Times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xdc_testbed.demo.facts import FileStory


@dataclass(frozen=True)
class Latency:
    """One stretch of the way. title: from what to what; count: files that went it; the rest in seconds."""

    title: str
    count: int
    median: float
    p95: float
    largest: float


def latencies(files: Sequence[FileStory]) -> list[Latency]:
    """Every stretch that at least one file went."""
    found = []
    for title, seconds in _STRETCHES:
        values = [value for file in files if (value := seconds(file)) is not None]
        if values:
            median, p95 = np.percentile(values, [50, 95])
            found.append(Latency(title, len(values), float(median), float(p95), max(values)))
    return found


def _upload(file: FileStory) -> float | None:
    return file.uploaded - file.upload_started


def _to_routed(file: FileStory) -> float | None:
    return file.calibrate.times.routed - file.calibrate.times.closed if file.calibrate else None


def to_start(file: FileStory) -> float | None:
    """From the close of the raw file to the first line of the action."""
    work = file.calibrate
    return work.times.action_started - work.times.closed if work and work.times.action_started else None


def to_corrected(file: FileStory) -> float | None:
    """From the close of the raw file to the corrected file in its place."""
    work = file.calibrate
    return work.times.ended - work.times.closed if work and file.outcome == "corrected" else None


def _shipping(file: FileStory) -> float | None:
    work = file.transfer
    return work.times.ended - work.times.closed if work and work.status == "ok" else None


def to_remote(file: FileStory) -> float | None:
    """From the close of the raw file to the verified copy at the other site."""
    if file.calibrate is None or file.transfer is None or file.transfer.status != "ok":
        return None
    return file.transfer.times.ended - file.calibrate.times.closed


def to_tape(file: FileStory) -> float | None:
    """From the close of the raw file to its copy on tape."""
    if file.calibrate is None or file.archive is None or file.archive.status != "ok":
        return None
    return file.archive.times.ended - file.calibrate.times.closed


def _cached(number: int) -> Callable[[FileStory], float | None]:
    return lambda file: file.cached[number].seconds if len(file.cached) > number else None


_STRETCHES: tuple[tuple[str, Callable[[FileStory], float | None]], ...] = (
    ("upload of the raw file by the client", _upload),
    ("raw file closed → its event routed", _to_routed),
    ("raw file closed → calibration started", to_start),
    ("raw file closed → corrected file in place", to_corrected),
    ("corrected file closed → verified copy at the other site", _shipping),
    ("raw file closed → verified copy at the other site", to_remote),
    ("raw file closed → raw file on tape, its product safe", to_tape),
    ("first read through the cache (miss)", _cached(0)),
    ("second read through the cache (hit)", _cached(1)),
)
