"""`calibrate`: the calibration alone, on files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xdc_testbed.cli import elsewhere
from xdc_testbed.cli.conditions import parsed
from xdc_testbed.cli.corrections import cell_list, settings, train_range
from xdc_testbed.errors import VerifyFailed, WrongUsage

if TYPE_CHECKING:
    from xdc_testbed.calibration import CalibrationManifest, Parameters
    from xdc_testbed.calibration.lit_frames import LitFrames
    from xdc_testbed.calibration.manifest import FileOutcome
    from xdc_testbed.calibration.pipeline import Watch

app = typer.Typer()

_OPTIONS = ("common_mode", "trains", "cells", "photon_energy", "strategy", "at", "conditions", "within_days")
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def calibrate(
    raw: Annotated[str, typer.Argument(help="A RAW file, or a folder of them (one run): a path, or https://....")],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Folder for corrected files and the manifest: a path, or https://....")
    ],
    constants: Annotated[str, typer.Option("--constants", "-c", help="Folder of constants: a path, or https://....")],
    packed: Annotated[
        Path | None, typer.Option("--packed", help="Folder of packed constants.", show_default="below ~/.cache")
    ] = None,
    common_mode: Annotated[bool, typer.Option("--common-mode", help="Subtract the common mode.")] = False,
    trains: Annotated[
        str | None, typer.Option("--trains", help="Only these train IDs, first:last, both included.")
    ] = None,
    cells: Annotated[
        str | None, typer.Option("--cells", help="Only frames of these memory cells: 0-9,15 (AGIPD, LPD, DSSC).")
    ] = None,
    photon_energy: Annotated[
        float | None, typer.Option("--photon-energy", help="Store whole photons of this energy, keV.")
    ] = None,
    lit_frames: Annotated[
        Path | None,
        typer.Option(
            "--lit-frames", help="Leave out AGIPD frames without data, by the lit frame finder in this file or run."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="name=value of another parameter of the correction (docs/explanation/calibration.md)."
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="Constants closest in time to the data, or the last ones prior to it.")
    ] = "closest",
    at: Annotated[
        datetime | None, typer.Option("--at", formats=_TIMES, help="Take constants as for data of this time, UTC.")
    ] = None,
    condition: Annotated[
        list[str] | None, typer.Option("--condition", help="name=value, compared with those of the constants.")
    ] = None,
    within_days: Annotated[
        float | None, typer.Option("--within-days", help="Take no constants that are further away from the data.")
    ] = None,
    from_manifest: Annotated[
        Path | None, typer.Option("--from-manifest", help="Repeat what this manifest records, and compare.")
    ] = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Also write report.html with pictures of every module.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help="Token for https://....", show_default="BEARER_TOKEN, BEARER_TOKEN_FILE, bt_u<uid>"
        ),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option("--cert", help="Certificate and key (PEM) in place of a token; a proxy will do.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Authorities for https://..., a PEM file or a hashed folder.")
    ] = None,
) -> None:
    """Calibrate detector files without a testbed."""
    from xdc_testbed.calibration import engine
    from xdc_testbed.calibration.lit_frames import read_lit_frames
    from xdc_testbed.calibration.packed import default_folder

    packed = packed or default_folder()
    streamed = [place for place in (raw, out, constants) if elsewhere.is_url(place)]
    if streamed and (plots or from_manifest):
        raise WrongUsage("--plots and --from-manifest need files here", remedy=f"download what is in {streamed[0]}")
    for path in (None if raw in streamed else Path(raw), lit_frames):
        if path and not path.exists():
            raise WrongUsage(f"{path} is not there", remedy="give a RAW-R....h5 file or the folder of a run")
    if plots:
        _require_pictures()
    print(f"kernels: {engine.choose()}")
    if from_manifest:
        _repeat(from_manifest, Path(raw), Path(out), Path(constants), packed, lit_frames)
        return
    correction = settings(set_ or ()) | {
        name: value
        for name, value in (
            ("common_mode", common_mode or None),
            ("trains", train_range(trains)),
            ("cells", cell_list(cells)),
            ("photon_energy", photon_energy),
        )
        if value is not None
    }
    parameters = _parameters(correction, strategy=strategy, at=at, conditions=condition or (), within_days=within_days)
    lit = read_lit_frames(lit_frames) if lit_frames else None
    record: Path | str
    if streamed:
        order = elsewhere.Order(raw, out, constants, parameters, packed, lit)
        with _progress(None) as watch:
            manifest, record = elsewhere.calibrate(order, elsewhere.Access(token_file, cert, ca_file), watch)
    else:
        manifest, record = _correct(Path(raw), Path(out), Path(constants), parameters, packed, lit)
        record.write_text(manifest.to_json())
    _summary(manifest)
    print(f"manifest: {record}")
    if plots:
        from xdc_testbed.calibration.report.run_page import write_page

        folder = Path(raw) if Path(raw).is_dir() else Path(raw).parent
        print(f"report: {write_page(manifest, folder, Path(out), lit)}")
    failed = sum(file.outcome == "failed" for file in manifest.files)
    if failed:
        raise VerifyFailed(f"{failed} of {len(manifest.files)} files were not corrected", remedy=f"see {record}")


def _correct(
    raw: Path, out: Path, constants: Path, parameters: Parameters, packed: Path, lit: LitFrames | None
) -> tuple[CalibrationManifest, Path]:
    from xdc_testbed.calibration import calibrate_file, calibrate_run
    from xdc_testbed.calibration.pipeline import corrected_name, raw_files

    if raw.is_dir():
        with _progress(len(raw_files(raw))) as watch:
            manifest = calibrate_run(
                raw, out, constants, parameters=parameters, packed=packed, watch=watch, lit_frames=lit
            )
        return manifest, out / "manifest.json"
    target = out / corrected_name(raw.name)
    out.mkdir(parents=True, exist_ok=True)
    with _progress(1) as watch:
        progress = partial(watch, raw.name) if watch else None
        manifest = calibrate_file(
            raw, target, constants, parameters=parameters, packed=packed, progress=progress, lit_frames=lit
        )
    return manifest, out / f"{target.name}.manifest.json"


def _repeat(path: Path, raw: Path, out: Path, constants: Path, packed: Path, lit_frames: Path | None) -> None:
    from pydantic import ValidationError

    from xdc_testbed.calibration import CalibrationManifest
    from xdc_testbed.calibration.repeat import repeat

    try:
        recorded = CalibrationManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WrongUsage(
            f"{path} is no manifest: {str(error).splitlines()[0]}", remedy="give a manifest.json"
        ) from error
    with _progress(len(recorded.files)) as watch:
        done = repeat(recorded, raw, out, constants, packed=packed, watch=watch, lit_frames=lit_frames)
    record = out / "manifest.json"
    record.write_text(done.manifest.to_json())
    for line in done.changed:
        print(f"changed since: {line}")
    for name, why in done.differences.items():
        print(f"{name}: {why}")
    same = len(recorded.files) - len(done.differences)
    print(f"repeated: {same} of {len(recorded.files)} files with the recorded outcome; manifest: {record}")
    if done.differences:
        raise VerifyFailed(
            f"{len(done.differences)} of {len(recorded.files)} files differ from {path.name}",
            remedy=f"compare it with {record}",
        )


def _parameters(correction: dict[str, Any], *, conditions: Any, at: datetime | None, **choice: Any) -> Parameters:
    """Raises WrongUsage with the option that is wrong."""
    from pydantic import ValidationError

    from xdc_testbed.calibration import Parameters

    when = at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
    try:
        return Parameters.model_validate(
            {**correction, "constants": {**choice, "at": when, "conditions": parsed(conditions)}}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = next(str(part) for part in reversed(first["loc"]) if isinstance(part, str))
        option = f"--{name.replace('_', '-')}" if name in _OPTIONS else f"--set {name}"
        raise WrongUsage(f"{option}: {first['msg']}", remedy="xdc-testbed calibrate --help") from error


def _summary(manifest: CalibrationManifest) -> None:
    """A line for each file, then what the run lacks."""
    width = max(len(file.input.name) for file in manifest.files)
    print(f"{'file':{width}}  {'trains':>6}  {'frames':>7}  {'dropped':>7}  outcome")
    for file in manifest.files:
        told = f"{file.failure}: {file.reason}" if file.failure else f"corrected{_most_frequent(file)}"
        told += ", by the numpy reference" if file.reference_only else ""
        told += f", {file.frames_unlit} frames without data left out" if file.frames_unlit else ""
        told += f", {file.trains_untold} trains kept that no lit frame finder knows" if file.trains_untold else ""
        print(f"{file.input.name:{width}}  {file.trains:>6}  {file.frames:>7}  {file.trains_dropped:>7}  {told}")
    for gap in manifest.gaps:
        whole = gap.trains == gap.of_trains
        what = "is missing" if whole else f"lacks {gap.trains} of {gap.of_trains} trains that other modules have"
        print(f"{gap.detector} {gap.module} {what}")


def _most_frequent(file: FileOutcome) -> str:
    """Why most of the bad pixels are bad."""
    pixels = sum(file.pixels_by_stage.values())
    if not (pixels and file.pixels_by_reason):
        return ""
    name, number = max(file.pixels_by_reason.items(), key=lambda item: item[1])
    return f", {100 * number / pixels:.2f} % {name}"


@contextmanager
def _progress(files: int | None) -> Iterator[Watch | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        run = bar.add_task("files", total=files)
        frames = bar.add_task("frames", total=None)
        seen: set[str] = set()

        def watch(name: str, done: int, of: int) -> None:
            seen.add(name)
            bar.update(run, completed=len(seen) - (done < of))
            bar.update(frames, description=name, completed=done, total=of)

        yield watch


def _require_pictures() -> None:
    from importlib.util import find_spec

    from xdc_testbed.errors import RequirementMissing

    if find_spec("matplotlib") is None:
        raise RequirementMissing("--plots needs matplotlib", remedy="pip install 'xdc-testbed[report]'")
