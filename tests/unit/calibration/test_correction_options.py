"""Trains, memory cells and other parameters of a correction on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from detector_runs import FIRST_TRAIN, KINDS, write_constants, write_raw
from typer.testing import CliRunner

from xdc_testbed.calibration import CalibrationManifest
from xdc_testbed.cli.calibrate import app
from xdc_testbed.cli.corrections import cell_list, settings, train_range
from xdc_testbed.errors import WrongUsage


def test_ranges_of_trains() -> None:
    assert train_range("10:20") == (10, 20)
    assert train_range("10:") == (10, None)
    assert train_range(":20") == (None, 20)
    assert train_range(None) is None


@pytest.mark.parametrize("text", ["", ":", "10", "10-20", "20:10", "a:b"])
def test_what_is_no_range_of_trains_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage, match="--trains"):
        train_range(text)


def test_lists_of_memory_cells() -> None:
    assert cell_list("4,0-2,1") == (0, 1, 2, 4)


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1", "1234567"])
def test_what_is_no_list_of_cells_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage, match="--cells"):
        cell_list(text)


def test_settings_have_the_type_that_they_look_like() -> None:
    given = settings(["fixed_gain=1", "parallel_gain=true", "cm_dark_range=40.5", "x=text"])
    assert given == {"fixed_gain": 1, "parallel_gain": True, "cm_dark_range": 40.5, "x": "text"}


def test_they_reach_the_correction_and_the_manifest(tmp_path: Path) -> None:
    kind = KINDS["DSSC"]
    write_raw(kind, tmp_path / "raw")
    write_constants(kind, tmp_path / "cal")
    arguments = [str(tmp_path / "raw"), "-o", str(tmp_path / "out"), "-c", str(tmp_path / "cal")]
    arguments += [
        "--trains",
        f"{FIRST_TRAIN + 1}:",
        "--cells",
        "1-2",
        "--photon-energy",
        "2",
        "--set",
        "mantissa_bits=9",
    ]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    manifest = CalibrationManifest.model_validate_json((tmp_path / "out" / "manifest.json").read_text())
    chosen = manifest.parameters
    assert (chosen.trains, chosen.cells) == ((FIRST_TRAIN + 1, None), (1, 2))
    assert (chosen.photon_energy, chosen.mantissa_bits) == (2.0, 9)
    assert manifest.files[0].frames == 2


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--photon-energy", "-1"], "--photon-energy: Input should be greater than 0"),
        (["--set", "fixed_gain=3"], "--set fixed_gain: Input should be 0, 1 or 2"),
        (["--set", "speed=9"], "--set speed: Extra inputs are not permitted"),
        (["--set", "constants={}"], "--set constants is not how they are chosen"),
        (["--set", "speed"], "--set speed is not name=value"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_line(tmp_path: Path, option: list[str], reason: str) -> None:
    ended = CliRunner().invoke(app, [str(tmp_path), "-o", str(tmp_path), "-c", str(tmp_path), *option])
    assert isinstance(ended.exception, WrongUsage)
    assert ended.exception.message == reason
