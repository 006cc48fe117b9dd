"""The pictures of the report: a detector before and after, and the way of every file on one clock."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from xdc_testbed.demo.before import read_before
from xdc_testbed.demo.detector_data import DetectorPlan
from xdc_testbed.demo.detector_geometry import Layout, layout
from xdc_testbed.demo.facts import BEFORE_FILE, FileStory, Story
from xdc_testbed.demo.truth import read_corrected

_PIXELS = 700  # of an assembled detector, along its longer side
_INK, _FAINT = "#1f2933", "#e4e7eb"


def detector_picture(folder: Path, story: Story, detector: DetectorPlan, photon_energy: float) -> bytes:
    """One frame of a detector as PNG: as it was sent, and corrected to photons. photon_energy: keV."""
    plan = layout(detector.kind)
    before = _assembled(plan, read_before(folder / BEFORE_FILE, detector.detector_id))
    after = _assembled(plan, _corrected_frames(folder, story, detector, photon_energy))
    figure = Figure(figsize=(11, 5.4), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    low, high = np.nanpercentile(before, [2, 99]) if np.isfinite(before).any() else (0, 1)
    _panel(figure, left, before, "As the detector sent it", "ADU", cmap="gray", vmin=low, vmax=high)
    norm = LogNorm(vmin=0.1, vmax=max(1.0, float(np.nanpercentile(after, 99.95)))) if np.isfinite(after).any() else None
    _panel(
        figure,
        right,
        np.maximum(after, 0.1),
        "Corrected by the pipeline",
        "photons per pixel",
        cmap="inferno",
        norm=norm,
    )
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white")
    return out.getvalue()


def _panel(figure: Figure, axes: Any, image: npt.NDArray[Any], title: str, unit: str, **scale: Any) -> None:
    axes.set_facecolor(_FAINT)
    drawn = axes.imshow(image, interpolation="nearest", **scale)
    axes.set_title(title, fontsize=12, color=_INK, pad=8)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.75, aspect=30, pad=0.02)
    bar.set_label(unit, fontsize=9, color=_INK)
    bar.ax.tick_params(labelsize=8, colors=_INK)
    bar.outline.set_visible(False)


def _corrected_frames(
    folder: Path, story: Story, detector: DetectorPlan, photon_energy: float
) -> dict[int, npt.NDArray[np.float32]]:
    """First corrected frame of each module, photons per pixel; bad pixels are NaN."""
    frames = {}
    for module in detector.modules:
        name = detector.module_name(module)
        for file in story.files:
            if file.corrected and (file.raw.detector_id, file.raw.module) == (detector.detector_id, name):
                kept = folder / "proc" / f"r{story.run:04d}" / file.corrected.rsplit("/", 1)[-1]
                energy, mask = read_corrected(kept, detector.kind, ("image", "mask"))
                if len(energy):
                    frames[module] = np.where(mask[0] == 0, energy[0] / photon_energy, np.nan)
                    break
    return frames


def _assembled(plan: Layout, frames: Mapping[int, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """All modules in their places, made smaller by taking means over blocks of pixels."""
    canvas = plan.assemble(frames)
    step = max(1, -(-max(canvas.shape) // _PIXELS))
    padded = np.pad(canvas, [(0, -size % step) for size in canvas.shape], constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


@dataclass(frozen=True)
class Bar:
    """A stretch of one file's way. kind: `upload`, `wait`, `calibrate`, `ship-wait`, `ship`, `tape`."""

    kind: str
    x: float
    width: float
    said: str


@dataclass(frozen=True)
class Row:
    """One file's way. failed_at: x of the failure, or None."""

    name: str
    bars: tuple[Bar, ...]
    failed_at: float | None


@dataclass(frozen=True)
class Timeline:
    """The ways of all files, x from 0 to 100. ticks: (x, label)."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    seconds: float


def timeline(files: Sequence[FileStory]) -> Timeline:
    """All files in the order in which they were taken up, on the clock of the first upload."""
    ordered = sorted(files, key=_taken_up)
    zero = min((file.upload_started for file in ordered), default=0.0)
    last = max((_end(file) for file in ordered), default=zero)
    seconds = max(last - zero, 1e-3)
    rows = tuple(_row(file, zero, 100 / seconds) for file in ordered)
    return Timeline(rows, tuple(_ticks(seconds)), seconds)


def _row(file: FileStory, zero: float, scale: float) -> Row:
    spans = [("upload", file.upload_started, file.uploaded, "upload")]
    if (work := file.calibrate) is not None:
        started = work.times.action_started or work.times.ended
        spans.append(("wait", work.times.closed, started, "closed, waiting for calibrate"))
        spans.append(("calibrate", started, work.times.ended, "calibrate"))
    if (work := file.transfer) is not None:
        started = work.times.action_started or work.times.ended
        spans.append(("ship-wait", work.times.closed, started, "corrected, waiting for transfer"))
        spans.append(("ship", started, work.times.ended, "transfer to the other site"))
    if (work := file.archive) is not None:
        started = work.times.action_started or work.times.ended
        spans.append(("tape", started, work.times.ended, "raw file from disk to tape"))
    bars = tuple(
        Bar(kind, (begin - zero) * scale, max(0.0, end - begin) * scale, f"{said}: {_duration(end - begin)}")
        for kind, begin, end, said in spans
    )
    failed = (_end(file) - zero) * scale if file.outcome != "corrected" else None
    return Row(file.name, bars, failed)


def _taken_up(file: FileStory) -> float:
    work = file.calibrate
    return file.uploaded if work is None else work.times.action_started or work.times.ended


def _end(file: FileStory) -> float:
    works = [work.times.ended for work in (file.calibrate, file.transfer, file.archive) if work is not None]
    return max([file.uploaded, *works])


def _ticks(seconds: float) -> list[tuple[float, str]]:
    """Five to ten round marks."""
    rough = seconds / 8
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(min((one for one in (1, 2, 5, 10) if one * power >= rough), default=10) * power)
    return [(number * step / seconds * 100, f"{number * step:g}") for number in range(int(seconds / step) + 1)]


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
