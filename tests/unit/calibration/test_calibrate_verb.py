"""`xdc-testbed calibrate`: files in, files and manifest out, a failure is exit 1 with the reason."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from corrected_run import Corrected, pixels
from typer.testing import CliRunner

from xdc_testbed.calibration import CalibrationManifest, ConstantsMissing, InputTruncated
from xdc_testbed.calibration.repeat import repeat
from xdc_testbed.cli.calibrate import app
from xdc_testbed.demo.detector_data import CONSTANTS_FILE
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
    (line,) = [line for line in ended.output.splitlines() if line.startswith(raw.name)]
    assert line.split()[1:5] == ["2", "8", "0", "corrected,"]


def test_a_run_with_a_file_that_is_cut_off(corrected: Corrected, tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, [str(corrected.raw), "--out", str(tmp_path), "-c", str(corrected.cal)])
    assert isinstance(ended.exception, VerifyFailed)
    assert ended.exception.message == "1 of 5 files were not corrected"
    assert "RAW-R0001-JNGFR02-S00001.h5" in ended.output
    assert "input-truncated: input is truncated: file has" in ended.output
    assert "SPB_IRDA_JF4M JNGFR02 lacks 1 of 3 trains that other modules have" in ended.output
    manifest = CalibrationManifest.model_validate_json((tmp_path / "manifest.json").read_text())
    assert manifest == corrected.manifest


@pytest.mark.parametrize("kernel", ["numpy", "native"])
def test_the_first_line_says_which_kernels_ran_and_the_pixels_are_the_same(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    monkeypatch.setenv("XDC_KERNEL", kernel)
    arguments = [str(corrected.raw / f"RAW-R0001-{NAME}"), "--out", str(tmp_path), "-c", str(corrected.cal)]
    ended = CliRunner().invoke(app, arguments)
    assert ended.output.startswith(f"kernels: {kernel}")
    corr = f"CORR-R0001-{NAME}"
    assert pixels(tmp_path / corr) == pixels(corrected.proc / corr)
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


def test_a_run_is_repeated_from_its_manifest(corrected: Corrected, tmp_path: Path) -> None:
    (tmp_path / "then.json").write_text(corrected.manifest.to_json())
    words = [str(corrected.raw), "-o", str(tmp_path / "again"), "-c", str(corrected.cal)]
    ended = CliRunner().invoke(app, [*words, "--from-manifest", str(tmp_path / "then.json")])
    assert ended.exit_code == 0, ended.output
    assert "repeated: 5 of 5 files with the recorded outcome" in ended.output
    for path in corrected.proc.glob("*.h5"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_repetition_takes_the_recorded_constants_whatever_was_added(corrected: Corrected, tmp_path: Path) -> None:
    cal = tmp_path / "cal"
    shutil.copytree(corrected.cal, cal)
    (cal / "SPB_DET_AGIPD1M-1/AGIPD00/cal.20260301T075959Z.h5").write_bytes(b"nearer to the data, and not even HDF5")
    done = repeat(corrected.manifest, corrected.raw, tmp_path / "again", cal)
    assert done.differences == {}
    assert done.changed == ()


def test_a_repetition_says_what_differs(corrected: Corrected, tmp_path: Path) -> None:
    raw, cal = tmp_path / "raw", tmp_path / "cal"
    shutil.copytree(corrected.raw, raw)
    shutil.copytree(corrected.cal, cal)
    with (raw / f"RAW-R0001-{NAME}").open("ab") as file:
        file.write(b"one more byte")
    (raw / "RAW-R0001-JNGFR01-S00000.h5").unlink()
    next((cal / "SPB_IRDA_JF4M/JNGFR02").iterdir()).unlink()
    then = corrected.manifest.model_copy(update={"code_version": "older", "software": {"python": "3.1"}})
    done = repeat(then, raw, tmp_path / "again", cal)
    assert done.differences == {
        f"RAW-R0001-{NAME}": f"RAW-R0001-{NAME} is not the file that the manifest names",
        "RAW-R0001-JNGFR01-S00000.h5": "RAW-R0001-JNGFR01-S00000.h5 is not there",
        "RAW-R0001-JNGFR02-S00000.h5": f"constants SPB_IRDA_JF4M/JNGFR02/{CONSTANTS_FILE} are not there as the "
        "manifest names them",
    }
    assert done.changed[0] == f"code is {done.manifest.code_version}, was older"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy", "newest"], "--strategy: Input should be 'closest' or 'prior'"),
        (["--condition", "bias"], "--condition 'bias' is not name=value"),
        (["--within-days", "0"], "--within-days: Input should be greater than 0"),
        (["--from-manifest", "/nowhere/manifest.json"], "/nowhere/manifest.json is no manifest: "),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line(
    corrected: Corrected, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = CliRunner().invoke(app, [str(corrected.raw), "-o", str(tmp_path), "-c", str(corrected.cal), *words])
    assert isinstance(ended.exception, WrongUsage)
    assert ended.exception.message.startswith(message)


def test_constants_are_chosen_by_the_options(corrected: Corrected, tmp_path: Path) -> None:
    words = [str(corrected.raw / f"RAW-R0001-{NAME}"), "-o", str(tmp_path), "-c", str(corrected.cal)]
    ended = CliRunner().invoke(app, [*words, "--strategy", "prior", "--at", "2026-02-01"])
    assert isinstance(ended.exception, ConstantsMissing)
    ended = CliRunner().invoke(app, [*words, "--within-days", "1", "--condition", "bias_voltage=300"])
    assert ended.exit_code == 0
    (record,) = tmp_path.glob("*.manifest.json")
    choice = CalibrationManifest.model_validate_json(record.read_text()).parameters.constants
    assert (choice.within_days, choice.conditions) == (1, {"bias_voltage": 300})


def test_the_page_of_a_run_holds_everything(corrected: Corrected, tmp_path: Path) -> None:
    CliRunner().invoke(app, [str(corrected.raw), "-o", str(tmp_path), "-c", str(corrected.cal), "--plots"])
    page = (tmp_path / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 3  # one for each module
    assert "4 of 5 files corrected" in page
    assert "input-truncated: input is truncated" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    for part in (f.constants.parts[0].pdu for f in corrected.manifest.files if f.constants):
        assert part in page
