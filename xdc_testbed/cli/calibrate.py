"""`calibrate`: the calibration alone, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xdc_testbed.errors import VerifyFailed, WrongUsage

app = typer.Typer()


@app.command()
def calibrate(
    raw: Annotated[Path, typer.Argument(help="A RAW file, or a folder of them (one run).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for corrected files and the manifest.")],
    constants: Annotated[Path, typer.Option("--constants", "-c", help="Folder of constants.")],
    packed: Annotated[
        Path | None, typer.Option("--packed", help="Folder of packed constants.", show_default="below ~/.cache")
    ] = None,
    common_mode: Annotated[bool, typer.Option("--common-mode", help="Subtract the common mode.")] = False,
) -> None:
    """Calibrate detector files without a testbed."""
    from xdc_testbed.calibration import Parameters, calibrate_file, calibrate_run, engine
    from xdc_testbed.calibration.packed import default_folder
    from xdc_testbed.calibration.pipeline import corrected_name

    parameters, packed = Parameters(common_mode=common_mode), packed or default_folder()
    if not raw.exists():
        raise WrongUsage(f"{raw} is not there", remedy="give a RAW-R....h5 file or the folder of a run")
    print(f"kernels: {engine.choose()}")
    if raw.is_dir():
        manifest = calibrate_run(raw, out, constants, parameters=parameters, packed=packed)
        record = out / "manifest.json"
    else:
        target = out / corrected_name(raw.name)
        out.mkdir(parents=True, exist_ok=True)
        manifest = calibrate_file(raw, target, constants, parameters=parameters, packed=packed)
        record = out / f"{target.name}.manifest.json"
    record.write_text(manifest.to_json())
    for file in manifest.files:
        print(f"{file.input.name}: {file.reason or f'{file.trains} trains, {file.frames} frames'}")
    print(f"manifest: {record}")
    failed = sum(file.outcome == "failed" for file in manifest.files)
    if failed:
        raise VerifyFailed(f"{failed} of {len(manifest.files)} files were not corrected", remedy=f"see {record}")
