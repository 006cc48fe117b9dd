"""Several versions of constants: the one that fits the data in time and conditions is taken, and is on record."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import pytest
from corrected_run import Corrected
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.calibration import (
    CalibrationError,
    ConstantsMismatch,
    ConstantsMissing,
    ConstantsOutdated,
    Parameters,
    calibrate_file,
    packed,
)
from xdc_testbed.calibration.constants import read_constants
from xdc_testbed.calibration.detectors import JUNGFRAU
from xdc_testbed.calibration.manifest import Choice
from xdc_testbed.calibration.versions import begin_of, contradiction, file_name
from xdc_testbed.demo.detector_data import CONSTANTS_FILE

MODULE = JUNGFRAU.module("SPB_IRDA_JF4M/DET/JNGFR01:daqOutput")
RAW = "RAW-R0001-JNGFR01-S00000.h5"
TAKEN = datetime(2026, 3, 1, 8, tzinfo=UTC)
OLD, LATER = "cal.20251201T000000Z.h5", "cal.20260301T100000Z.h5"
PDU = "Jungfrau_M101"


@pytest.fixture
def cal(corrected: Corrected, tmp_path: Path) -> Path:
    """A folder with the constants of one module, to be changed."""
    shutil.copytree(corrected.cal / MODULE.constants_folder, tmp_path / "cal" / MODULE.constants_folder)
    return tmp_path / "cal"


def add(cal: Path, name: str, *keep: str, **conditions: Any) -> Path:
    """One more version: a copy with only the constants `keep` (all when none is named), of these conditions."""
    path = cal / MODULE.constants_folder / name
    shutil.copy(path.with_name(CONSTANTS_FILE), path)
    with h5py.File(path, "r+") as file:
        for constant in list(file[PDU]):
            if keep and constant not in keep:
                del file[f"{PDU}/{constant}"]
            else:
                file.create_group(f"{PDU}/{constant}/0/operating_condition").attrs.update(conditions)
    return path


def taken(cal: Path, at: datetime = TAKEN, **choice: Any) -> dict[str, str]:
    """From which file each constant is taken."""
    records = read_constants(cal, MODULE, at=at, choice=Choice(**choice)).records
    return {record.name: Path(record.file).name for record in records}


def test_the_closest_is_taken_or_the_last_one_before(cal: Path) -> None:
    add(cal, OLD)
    add(cal, LATER)
    assert set(taken(cal).values()) == {LATER}  # two hours after the data; the other one eight hours before
    assert set(taken(cal, strategy="prior").values()) == {CONSTANTS_FILE}
    assert set(taken(cal, at=datetime(2026, 1, 1, tzinfo=UTC), strategy="prior").values()) == {OLD}


def test_each_constant_is_looked_for_by_itself(cal: Path) -> None:
    add(cal, LATER, "Offset10Hz", "BadPixelsDark10Hz")
    assert taken(cal) == {
        "Offset10Hz": LATER,
        "RelativeGain10Hz": CONSTANTS_FILE,
        "BadPixelsDark10Hz": LATER,
        "BadPixelsFF10Hz": CONSTANTS_FILE,
    }


def test_constants_of_other_conditions_are_passed_over_and_recorded(cal: Path) -> None:
    add(cal, LATER, bias_voltage=200.0)
    constants = read_constants(cal, MODULE, at=TAKEN, choice=Choice(conditions={"bias_voltage": 300.0}))
    assert {Path(record.file).name for record in constants.records} == {CONSTANTS_FILE}
    assert constants.records[0].passed_over == (f"{LATER}: bias_voltage is 200.0, not 300.0",)
    assert set(taken(cal, conditions={"bias_voltage": (198.0, 5.0)}).values()) == {LATER}
    assert set(taken(cal, conditions={"temperature": 20.0}).values()) == {LATER}


def test_when_no_version_fits_the_conditions_that_is_said(cal: Path) -> None:
    add(cal, LATER, gain_setting="high CDS")
    (cal / MODULE.constants_folder / CONSTANTS_FILE).unlink()
    with pytest.raises(ConstantsMismatch, match=r"fits in no version: .*gain_setting is high CDS, not low"):
        taken(cal, conditions={"gain_setting": "low"})


def test_constants_of_two_units_never_go_together(cal: Path) -> None:
    with h5py.File(add(cal, LATER, "Offset10Hz"), "r+") as file:
        file.move(PDU, "Jungfrau_M555")
    with pytest.raises(ConstantsMismatch, match=r"RelativeGain10Hz .* it is of Jungfrau_M101, not Jungfrau_M555"):
        taken(cal)


def test_constants_that_begin_later_are_none_for_the_ones_prior(cal: Path) -> None:
    with pytest.raises(ConstantsMissing, match=r"before 2025-01-01 00:00:00, the first ones begin 2026-03-01"):
        taken(cal, at=datetime(2025, 1, 1, tzinfo=UTC), strategy="prior")


@pytest.mark.parametrize("in_packed_form", [False, True])
@pytest.mark.parametrize(
    ("choice", "error"),
    [
        (Choice(at=datetime(2026, 9, 1, tzinfo=UTC), within_days=30), ConstantsOutdated),
        (Choice(at=datetime(2020, 9, 1, tzinfo=UTC), strategy="prior"), ConstantsMissing),
    ],
)
def test_a_file_is_not_corrected_with_constants_that_may_not_be_taken(
    corrected: Corrected, tmp_path: Path, in_packed_form: bool, choice: Choice, error: type[CalibrationError]
) -> None:
    kept = tmp_path / "packed" if in_packed_form else None
    for _ in range(2):
        with pytest.raises(error):
            calibrate_file(
                corrected.raw / RAW, tmp_path / "CORR.h5", corrected.cal,
                parameters=Parameters(constants=choice), packed=kept,
            )  # fmt: skip
    assert not (tmp_path / "CORR.h5").exists()


def test_the_manifest_says_which_version_and_when_the_data_was_taken(corrected: Corrected) -> None:
    outcome = next(file for file in corrected.manifest.files if file.input.name == RAW)
    assert outcome.recorded == TAKEN
    assert outcome.constants is not None
    assert [file.name for file in outcome.constants.files] == [f"{MODULE.constants_folder}/{CONSTANTS_FILE}"]
    assert {(part.pdu, part.begin) for part in outcome.constants.parts} == {(PDU, datetime(2026, 3, 1, tzinfo=UTC))}


def test_packed_constants_follow_the_versions(cal: Path, tmp_path: Path) -> None:
    kept = tmp_path / "packed"

    def begin() -> datetime:
        opened = packed.open_constants(cal, MODULE, adaptive=True, packed=kept, at=TAKEN)
        return opened.record.parts[0].begin

    assert begin() == datetime(2026, 3, 1, tzinfo=UTC)
    later = add(cal, LATER)
    assert begin() == datetime(2026, 3, 1, 10, tzinfo=UTC)
    later.unlink()
    assert begin() == datetime(2026, 3, 1, tzinfo=UTC)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC)))  # noqa: DTZ001
def test_a_name_gives_back_its_time(begin: datetime) -> None:
    assert begin_of(file_name(begin)) == begin
    assert begin_of(f"cal.{begin.timestamp()}.h5") == begin


@pytest.mark.parametrize("name", ["cal.h5", "cal..h5", "cal.nan.h5", "cal.1e300.h5", "cal.20261340T000000Z.h5", "a.h5"])
def test_other_names_are_no_constants(name: str) -> None:
    assert begin_of(name) is None


def test_conditions_agree_within_what_either_allows() -> None:
    assert contradiction({"bias": (300.0, 1.0)}, {"bias": 300.9}) is None
    assert contradiction({"bias": 300.0}, {"bias": (301.0, 1.0)}) is None
    assert contradiction({"bias": 300.0}, {"bias": 301.0}) == "bias is 300.0, not 301.0"
    assert contradiction({"mode": "fast"}, {"mode": 1.0}) == "mode is fast, not 1.0"
    assert contradiction({"mode": "fast"}, {"other": 1.0}) is None
