"""`xdc-testbed calibrate`: files in, files and manifest out, a failure is exit 1 with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from corrected_run import Corrected
from typer.testing import CliRunner

from xdc_testbed.calibration import CalibrationManifest, InputTruncated
from xdc_testbed.cli.calibrate import app
from xdc_testbed.errors import RequirementMissing, VerifyFailed, WrongUsage

NAME = "AGIPD00-S00000.h5"


def test_one_file(corrected: Corrected, tmp_path: Path) -> None:
    raw = corrected.raw / f"RAW-R0001-{NAME}"
    ended = CliRunner().invoke(app, [str(raw), "--out", str(tmp_path), "--constants", str(corrected.cal)])
    assert ended.exit_code == 0, ended.output
    out = tmp_path / f"CORR-R0001-{NAME}"
    assert out.read_bytes() == (corrected.proc / out.name).read_bytes()
    manifest = CalibrationManifest.model_validate_json((tmp_path / f"{out.name}.manifest.json").read_text())
    assert manifest.files[0].output is not None
    assert f"{raw.name}: 2 trains, 8 frames" in ended.output


def test_a_run_with_a_file_that_is_cut_off(corrected: Corrected, tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, [str(corrected.raw), "--out", str(tmp_path), "-c", str(corrected.cal)])
    assert isinstance(ended.exception, VerifyFailed)
    assert ended.exception.message == "1 of 5 files were not corrected"
    assert "RAW-R0001-JNGFR02-S00001.h5: input is truncated" in ended.output
    manifest = CalibrationManifest.model_validate_json((tmp_path / "manifest.json").read_text())
    assert manifest == corrected.manifest


@pytest.mark.parametrize("kernel", ["numpy", "native"])
def test_the_first_line_says_which_kernels_ran_and_the_bytes_are_the_same(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    monkeypatch.setenv("XDC_KERNEL", kernel)
    arguments = [str(corrected.raw / f"RAW-R0001-{NAME}"), "--out", str(tmp_path), "-c", str(corrected.cal)]
    ended = CliRunner().invoke(app, arguments)
    assert ended.output.startswith(f"kernels: {kernel}")
    corr = f"CORR-R0001-{NAME}"
    assert (tmp_path / corr).read_bytes() == (corrected.proc / corr).read_bytes()
    manifest = CalibrationManifest.model_validate_json((tmp_path / f"{corr}.manifest.json").read_text())
    assert manifest.kernel_path == kernel


@pytest.mark.parametrize(("variable", "value"), [("XDC_KERNEL", "cuda"), ("XDC_THREADS", "0"), ("XDC_THREADS", "two")])
def test_an_environment_that_makes_no_sense_is_one_line(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    ended = CliRunner().invoke(app, [str(corrected.raw), "--out", str(tmp_path), "-c", str(corrected.cal)])
    assert isinstance(ended.exception, RequirementMissing)
    assert ended.exception.message == f"{variable} is {value!r}"


@pytest.mark.parametrize(("name", "error"), [("nothing", WrongUsage), ("RAW-R0001-JNGFR02-S00001.h5", InputTruncated)])
def test_input_that_cannot_be_used(corrected: Corrected, tmp_path: Path, name: str, error: type[Exception]) -> None:
    arguments = [str(corrected.raw / name), "--out", str(tmp_path), "--constants", str(corrected.cal)]
    assert isinstance(CliRunner().invoke(app, arguments).exception, error)
    assert list(tmp_path.iterdir()) == []
