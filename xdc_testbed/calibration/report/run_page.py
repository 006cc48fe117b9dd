"""One HTML page of a corrected run, all its pictures inside: what went in, what came out, what each module sees."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import jinja2
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from xdc_testbed.calibration.lit_frames import LitFrames
from xdc_testbed.calibration.manifest import CalibrationManifest, FileOutcome, Parameters
from xdc_testbed.calibration.raw_file import open_raw
from xdc_testbed.calibration.selection import select

PAGE = "report.html"
FRAMES = 64
"""Frames of a module that pictures are made of, spread over its files: memory and time do not grow with the run."""

_STAGES = ("high gain", "medium gain", "low gain")
_INK = "#1f2933"


@dataclass(frozen=True)
class Module:
    """The frames of a module that are looked at, all (frames, slow, fast). before: ADU; after: in `unit`."""

    unit: str
    before: npt.NDArray[np.uint16]
    after: npt.NDArray[np.float32]
    stage: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint32]


def write_page(manifest: CalibrationManifest, raw: Path, out: Path, lit_frames: LitFrames | None = None) -> Path:
    """Write report.html into the folder `out` of the corrected files. raw: folder of the raw files; lit_frames: those
    that were used.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = resources.files(__package__).joinpath("run_page.html.j2").read_text("utf-8")
    pictures = {}
    for name, files in _by_module(manifest).items():
        module = _read(files, raw, out, manifest.parameters, lit_frames)
        if module is not None:
            pictures[name] = "data:image/png;base64," + base64.b64encode(draw(name, module)).decode()
    constants = {
        (file.detector, file.module, part.name): part
        for file in manifest.files
        if file.constants
        for part in file.constants.parts
    }
    target = out / PAGE
    target.write_text(
        environment.from_string(text).render(
            manifest=manifest,
            pictures=pictures,
            constants=constants,
            failed=sum(file.outcome == "failed" for file in manifest.files),
            frames=FRAMES,
        ),
        encoding="utf-8",
    )
    return target


def draw(name: str, module: Module) -> bytes:
    """Four panels as PNG: mean before, mean after, energies by gain stage, how often each pixel is bad."""
    figure = Figure(figsize=(13, 3.6), dpi=110, layout="constrained")
    figure.suptitle(name, fontsize=11, color=_INK, x=0.01, ha="left")
    before, after, energies, bad = figure.subplots(1, 4)
    good = np.where(module.mask == 0, module.after, np.nan)
    number = np.count_nonzero(module.mask == 0, axis=0)
    mean = np.where(number > 0, np.nansum(good, axis=0, dtype=np.float64) / np.maximum(number, 1), np.nan)
    adu = module.before.mean(axis=0)
    _panel(figure, before, adu, "mean before", "ADU", cmap="gray", **_range(adu))
    _panel(figure, after, mean, "mean after, good pixels", module.unit, cmap="inferno", **_range(mean))
    _panel(figure, bad, (module.mask != 0).mean(axis=0), "bad pixels", "part of frames", cmap="magma_r", vmin=0, vmax=1)
    _histogram(energies, module)
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white")
    return out.getvalue()


def _histogram(axes: Any, module: Module) -> None:
    good = (module.mask == 0) & np.isfinite(module.after)
    low, high = np.percentile(module.after[good], [0.01, 99.99]) if good.any() else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-3), 121)
    for stage, said in enumerate(_STAGES):
        values = module.after[good & (module.stage == stage)]
        if values.size:
            axes.hist(values, bins=edges, histtype="step", label=f"{said}: {values.size:,}")
    axes.set_yscale("log")
    axes.set_title("energies by gain stage", fontsize=10, color=_INK)
    axes.set_xlabel(module.unit, fontsize=8)
    axes.set_ylabel("pixels", fontsize=8)
    axes.tick_params(labelsize=7)
    if good.any():
        axes.legend(fontsize=7, frameon=False)


def _panel(figure: Figure, axes: Any, image: npt.NDArray[Any], title: str, unit: str, **scale: Any) -> None:
    slow, fast = image.shape
    drawn = axes.imshow(image if fast >= slow else image.T, interpolation="nearest", aspect="auto", **scale)
    axes.set_title(title, fontsize=10, color=_INK)
    axes.set_xticks([])
    axes.set_yticks([])
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _range(image: npt.NDArray[Any]) -> dict[str, Any]:
    """A logarithmic scale where the bright part is a hundred times the dark one."""
    known = image[np.isfinite(image)]
    if not known.size:
        return {}
    low, middle, high = np.percentile(known, [1, 50, 99.8])
    if middle > 0 and high > 100 * middle:
        return {"norm": LogNorm(vmin=max(low, high / 1e4), vmax=high)}
    return {"vmin": low, "vmax": max(high, low + 1e-6)}


def _by_module(manifest: CalibrationManifest) -> dict[str, list[FileOutcome]]:
    found: dict[str, list[FileOutcome]] = {}
    for file in manifest.files:
        if file.output is not None and file.frames:
            found.setdefault(f"{file.detector} {file.module}", []).append(file)
    return dict(sorted(found.items()))


def _read(
    files: list[FileOutcome], raw: Path, out: Path, parameters: Parameters, lit_frames: LitFrames | None
) -> Module | None:
    each = max(1, FRAMES // len(files))
    parts = [
        part
        for file in files[:FRAMES]
        if file.output
        for part in _frames(raw / file.input.name, out / file.output.name, each, parameters, lit_frames)
    ]
    if not parts:
        return None
    unit = "photons" if parameters.photon_energy is not None else parts[0][0]
    return Module(unit, *(np.stack(values) for values in list(zip(*parts, strict=True))[1:]))


def _frames(
    raw: Path, out: Path, most: int, parameters: Parameters, lit_frames: LitFrames | None
) -> Iterator[tuple[Any, ...]]:
    """Unit, values before and after, stage and mask of each frame of a raw file and the corrected one."""
    with open_raw(raw, gain_in_word=parameters.gain_in_word) as opened, h5py.File(out) as corrected:
        module, rows = opened.module, select(opened, parameters, lit_frames).raw.index.rows
        detector = module.detector
        bits = detector.coding_for(parameters, in_word=parameters.gain_in_word).word_bits
        stored = corrected[f"INSTRUMENT/{module.corrected_source}/{detector.group}/{detector.image}"]
        gain, mask = (stored.parent[name] for name in ("gain", "mask"))
        image = opened.dataset(detector.image)
        for row in np.unique(np.linspace(0, rows.size - 1, min(most, rows.size)).astype(int)):
            before, after = image[rows[row]].view(np.uint16) & np.uint16(bits), stored[row].astype(np.float32)
            while after.ndim > 2:  # all memory cells of a train in one row: the first one
                before, after = before[0], after[0]
            if before.ndim > after.ndim:  # value and gain beside each other
                before = before[0]
            first = (row, *(0,) * (mask.ndim - 3))
            yield detector.energy_unit, before, after, gain[first], mask[first]
