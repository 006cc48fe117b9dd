"""`darks`: constants from dark runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.cli.conditions import parsed
from xdc_testbed.errors import WrongUsage

app = typer.Typer()

_TIMES = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]


@app.command()
def darks(
    high: Annotated[Path, typer.Option("--high", help="Folder of the dark run in high gain, or in the only one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of constants; new versions are added.")],
    medium: Annotated[Path | None, typer.Option("--medium", help="Folder of the dark run in medium gain.")] = None,
    low: Annotated[Path | None, typer.Option("--low", help="Folder of the dark run in low gain.")] = None,
    begin: Annotated[
        datetime | None,
        typer.Option("--begin", formats=_TIMES, help="Begin of validity, UTC.", show_default="when the run was taken"),
    ] = None,
    condition: Annotated[
        list[str] | None, typer.Option("--condition", help="name=value, stored with every constant.")
    ] = None,
    offset_sigma: Annotated[
        float,
        typer.Option("--offset-sigma", min=0.1, help="A pixel is bad when its offset is further from the others."),
    ] = 5,
    noise_sigma: Annotated[
        float, typer.Option("--noise-sigma", min=0.1, help="A pixel is bad when its noise is further from the others.")
    ] = 5,
) -> None:
    """Make constants from dark runs, one for each gain stage."""
    from xdc_testbed.calibration.darks import Limits, make_constants

    if low and not medium:
        raise WrongUsage("--low without --medium", remedy="give the runs of all gain stages")
    runs = {stage: run for stage, run in enumerate((high, medium, low)) if run is not None}
    for made in make_constants(
        runs,
        out,
        begin=begin.replace(tzinfo=UTC) if begin else None,
        conditions=parsed(condition or ()),
        limits=Limits(offset_sigma, noise_sigma),
    ):
        frames = ", ".join(str(number) for number in made.frames)
        place = f"{made.module.detector_id} {made.module.name}"
        print(f"{place} ({made.pdu}): {frames} frames, {made.bad:.2%} bad, {made.path}")
