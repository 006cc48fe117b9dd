"""Raw files that are not as they should be: each ends as a named reason, and nothing is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from corrected_run import Corrected
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdc_testbed.calibration import (
    CalibrationError,
    ConstantsMissing,
    InputInvalid,
    InputTruncated,
    calibrate_file,
)
from xdc_testbed.calibration.raw_file import open_raw
from xdc_testbed.calibration.superblock import declared_size

JF_NAME, AGIPD_NAME = "RAW-R0001-JNGFR01-S00000.h5", "RAW-R0001-AGIPD00-S00000.h5"
JF, AGIPD = "SPB_IRDA_JF4M/DET/JNGFR01:daqOutput", "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"

Change = Callable[[h5py.File], None]


@pytest.fixture
def changed(corrected: Corrected, tmp_path: Path) -> Callable[[str, Change], Path]:
    """Copy a raw file of the run and change the copy."""

    def change(name: str, by: Change) -> Path:
        path = tmp_path / name
        shutil.copy(corrected.raw / name, path)
        with h5py.File(path, "r+") as file:
            by(file)
        return path

    return change


def test_a_file_cut_off_says_how_much_is_there(corrected: Corrected, tmp_path: Path) -> None:
    raw = corrected.raw / "RAW-R0001-JNGFR02-S00001.h5"
    out = tmp_path / "CORR.h5"
    with pytest.raises(InputTruncated) as caught:
        calibrate_file(raw, out, corrected.cal)
    whole = (corrected.raw / JF_NAME).stat().st_size
    assert caught.value.message == (
        f"input is truncated: file has {raw.stat().st_size} bytes, HDF5 end of file is {whole}"
    )
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0, 0.999999))
def test_a_file_cut_off_anywhere_is_truncated(corrected: Corrected, tmp_path: Path, part: float) -> None:
    whole = (corrected.raw / AGIPD_NAME).read_bytes()
    cut = tmp_path / AGIPD_NAME
    cut.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputTruncated, match=r"input is truncated"), open_raw(cut):
        pass


def test_the_superblock_tells_the_size_of_whole_files(tmp_path: Path) -> None:
    for version in ("earliest", "v108", "latest"):
        path = tmp_path / f"{version}.h5"
        with h5py.File(path, "w", libver=version) as file:
            file["x"] = np.arange(1000)
        with path.open("rb") as file:
            assert declared_size(file) == path.stat().st_size


def test_an_index_beyond_the_data_names_the_train(changed: Callable[[str, Change], Path]) -> None:
    def shorten(file: h5py.File) -> None:
        file[f"INSTRUMENT/{AGIPD}/image/data"].resize(5, axis=0)

    with (
        pytest.raises(InputTruncated, match="input ends in train 2 of 2"),
        open_raw(changed(AGIPD_NAME, shorten)),
    ):
        pass


def test_other_files_are_not_taken_for_raw_data(tmp_path: Path) -> None:
    path = tmp_path / JF_NAME
    for content, reason in (
        (b"", "file is empty"),
        (b"hello, this is text and not HDF5 at all, however long it may go on and on", "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n", "superblock is incomplete"),
        (b"\x89HDF\r\n\x1a\n" + b"\x09" * 100, "unknown superblock"),
    ):
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match=reason), open_raw(path):
            pass
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(InputInvalid, match="not in the EuXFEL format"), open_raw(path):
        pass


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.move(f"INSTRUMENT/{JF}/data/gain", f"INSTRUMENT/{JF}/data/other"), "no data/gain"),
        (lambda f: f.__delitem__(f"INSTRUMENT/{JF}"), "no data group"),
        (lambda f: f.__delitem__(f"INDEX/{JF}"), "has no INDEX"),
        (lambda f: f.__delitem__("INDEX/trainId"), "no INDEX/trainId"),
        (lambda f: f[f"INDEX/{JF}/data/count"].resize(1, axis=0), "has 2 entries for 2 trains"),
        (lambda f: f["INDEX/trainId"].__setitem__(slice(0, 2), [0, 5]), "zero before the last train"),
        (
            lambda f: f["METADATA/dataSources/dataSourceId"].__setitem__(0, "INSTRUMENT/A/B/C:out/data"),
            "no module of",
        ),
        (
            lambda f: f["METADATA/dataSources/dataSourceId"].__setitem__(1, f"INSTRUMENT/{AGIPD}/image"),
            "more than one detector module",
        ),
        (lambda f: f["METADATA/dataFormatVersion"].__setitem__(0, b"x.y"), "unknown data format version"),
    ],
)
def test_files_that_contradict_themselves_are_invalid(
    changed: Callable[[str, Change], Path], change: Change, reason: str
) -> None:
    with pytest.raises(InputInvalid, match=reason), open_raw(changed(JF_NAME, change)):
        pass


def test_pixels_of_another_shape_or_type_are_invalid(changed: Callable[[str, Change], Path]) -> None:
    def replace(file: h5py.File) -> None:
        del file[f"INSTRUMENT/{JF}/data/adc"]
        file[f"INSTRUMENT/{JF}/data/adc"] = np.zeros((2, 1, 512, 1024), np.float32)

    with pytest.raises(InputInvalid, match="adc is float32"), open_raw(changed(JF_NAME, replace)):
        pass


def test_a_memory_cell_without_constants_is_named(
    changed: Callable[[str, Change], Path], corrected: Corrected, tmp_path: Path
) -> None:
    def high_cell(file: h5py.File) -> None:
        file[f"INSTRUMENT/{AGIPD}/image/cellId"][3] = 77

    raw = changed(AGIPD_NAME, high_cell)
    with pytest.raises(ConstantsMissing, match="memory cell 77, there are 4 cells"):
        calibrate_file(raw, tmp_path / "CORR.h5", corrected.cal)
    assert [path.name for path in tmp_path.iterdir()] == [AGIPD_NAME]


def test_trains_flagged_or_not_increasing_are_dropped_and_counted(
    changed: Callable[[str, Change], Path], corrected: Corrected, tmp_path: Path
) -> None:
    for number, (flag, ids) in enumerate((([0, 1], [10, 11]), ([1, 1], [11, 11]), ([1, 1], [12, 11]))):

        def odd(file: h5py.File, flag: list[int] = flag, ids: list[int] = ids) -> None:
            file["INDEX/flag"][:2], file["INDEX/trainId"][:2] = flag, ids

        raw = changed(AGIPD_NAME, odd)
        outcome = calibrate_file(raw, tmp_path / f"CORR-{number}.h5", corrected.cal).files[0]
        assert (outcome.trains, outcome.trains_dropped, outcome.frames) == (1, 1, 4)


def test_format_1_1_has_the_flag_inverted(changed: Callable[[str, Change], Path]) -> None:
    def version_1_1(file: h5py.File) -> None:
        file["METADATA/dataFormatVersion"][0] = b"1.1"
        file["INDEX/flag"][:2] = [0, 1]

    with open_raw(changed(JF_NAME, version_1_1)) as raw:
        assert (raw.index.train_ids.size, raw.index.dropped) == (1, 1)


def test_format_0_5_is_read_with_its_first_last_and_status(changed: Callable[[str, Change], Path]) -> None:
    def version_0_5(file: h5py.File) -> None:
        file["METADATA/dataSourceId"] = file["METADATA/dataSources/dataSourceId"][...]
        for name in ("METADATA/dataFormatVersion", "METADATA/dataSources", "INDEX/flag", "INDEX/timestamp"):
            del file[name]
        index = file[f"INDEX/{JF}/data"]
        del index["count"]
        index["last"], index["status"] = np.array([0, 1], np.uint64), np.array([1, 0], np.uint64)

    with open_raw(changed(JF_NAME, version_0_5)) as raw:
        assert raw.index.count.tolist() == [1, 0]


def test_rows_follow_gaps_in_the_raw_file(changed: Callable[[str, Change], Path]) -> None:
    def gap(file: h5py.File) -> None:
        file[f"INDEX/{AGIPD}/image/first"][:] = [0, 5]
        file[f"INDEX/{AGIPD}/image/count"][:] = [4, 3]

    with open_raw(changed(AGIPD_NAME, gap)) as raw:
        assert raw.index.rows.tolist() == [0, 1, 2, 3, 5, 6, 7]
