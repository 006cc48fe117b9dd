"""Every bad input of the reference page, one by one: met in a run, it has the name that the page says."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected

from xdc_testbed.calibration import CalibrationManifest, Parameters, calibrate_run, failures, stores
from xdc_testbed.calibration.failures import CalibrationError
from xdc_testbed.calibration.manifest import Choice, FileOutcome
from xdc_testbed.calibration.report.outcomes import COUNTED, FAILED
from xdc_testbed.demo.detector_data import CONSTANTS_FILE

AG = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"
JF = "SPB_IRDA_JF4M/DET/JNGFR01:daqOutput"
AG_RAW, JF_RAW = "RAW-R0001-AGIPD00-S00000.h5", "RAW-R0001-JNGFR01-S00000.h5"


class Run:
    """One raw file of the small run, its constants, and how it is corrected; to be damaged."""

    def __init__(self, folder: Path, corrected: Corrected, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.monkeypatch, self.name = monkeypatch, name
        self.raw, self.cal, self.out = folder / "raw", folder / "cal", folder / "out"
        self.corrected = corrected
        self.parameters = Parameters()
        self.raw.mkdir()
        shutil.copy(corrected.raw / name, self.raw)
        place = "SPB_DET_AGIPD1M-1/AGIPD00" if "AGIPD" in name else "SPB_IRDA_JF4M/JNGFR01"
        self.constants = self.cal / place / CONSTANTS_FILE
        shutil.copytree(corrected.cal / place, self.cal / place)

    @property
    def path(self) -> Path:
        return self.raw / self.name

    def raw_file(self) -> h5py.File:
        return h5py.File(self.path, "r+")

    def constants_file(self) -> h5py.File:
        return h5py.File(self.constants, "r+")

    def correct(self) -> CalibrationManifest:
        return calibrate_run(self.raw, self.out, self.cal, parameters=self.parameters)


Damage = Callable[[Run], None]


def cut(run: Run) -> None:
    with run.path.open("r+b") as file:
        file.truncate(run.path.stat().st_size // 2)


def no_detector(run: Run) -> None:
    with run.raw_file() as file:
        names = file["METADATA/dataSources/dataSourceId"]
        names[:] = ["INSTRUMENT/SPB_XTD9_XGM/XGM/DOOCS:output/data"] + [""] * (len(names) - 1)


def structure(run: Run) -> None:
    """Wipe the first group after the superblock: HDF5 opens the file and finds nothing in it."""
    with run.path.open("r+b") as file:
        file.seek(96)
        file.write(b"\xff" * 4000)


def chunk(run: Run) -> None:
    with run.raw_file() as file:
        values = file[f"INSTRUMENT/{AG}/image/data"][...]
        del file[f"INSTRUMENT/{AG}/image/data"]
        stored = file.create_dataset(
            f"INSTRUMENT/{AG}/image/data", data=values, chunks=(1, *values.shape[1:]), compression="gzip"
        )
        at = stored.id.get_chunk_info(3).byte_offset
    with run.path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 100)


def beyond(run: Run) -> None:
    with run.raw_file() as file:
        file[f"INDEX/{AG}/image/count"][1] = 2**63


def early_zero(run: Run) -> None:
    with run.raw_file() as file:
        file["INDEX/trainId"][:2] = [0, 7]


def other_pixels(run: Run) -> None:
    with run.raw_file() as file:
        del file[f"INSTRUMENT/{AG}/image/data"]
        file[f"INSTRUMENT/{AG}/image/data"] = np.zeros((8, 512, 128), np.float32)


def replaced(run: Run) -> None:
    correct_blocks = stores.correct_blocks

    def replacing(*words: Any, **named: Any) -> Any:
        shutil.copy(run.path, run.raw / "new")
        (run.raw / "new").replace(run.path)
        return correct_blocks(*words, **named)

    run.monkeypatch.setattr(stores, "correct_blocks", replacing)


def high_cell(run: Run) -> None:
    with run.raw_file() as file:
        file[f"INSTRUMENT/{AG}/image/cellId"][3] = 77


def one_constant(name: str, change: Callable[[Any], Any] | None) -> Damage:
    def damage(run: Run) -> None:
        with run.constants_file() as file:
            values = file[f"Agipd_M100/{name}/0/data"][...]
            del file[f"Agipd_M100/{name}/0/data"]
            if change is not None:
                file[f"Agipd_M100/{name}/0/data"] = change(values)

    return damage


def choosing(**choice: Any) -> Damage:
    def damage(run: Run) -> None:
        run.parameters = Parameters(constants=Choice(**choice))

    return damage


def other_conditions(run: Run) -> None:
    with run.constants_file() as file:
        file.create_group("Agipd_M100/Offset/0/operating_condition").attrs["bias_voltage"] = 200
    run.parameters = Parameters(constants=Choice(conditions={"bias_voltage": 300}))


def full_disk(run: Run) -> None:
    def full(*_: object, **__: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    run.monkeypatch.setattr(stores, "create_corrected", full)


FAILURES: dict[str, Damage] = {
    "file cut off": cut,
    "file empty, or not HDF5": lambda run: run.path.write_text("this is text, and no data") and None,
    "no detector in a file named as a module's": no_detector,
    "damaged structure": structure,
    "unreadable chunk": chunk,
    "index beyond the data": beyond,
    "zero train ID before the last train": early_zero,
    "pixels of another shape or type": other_pixels,
    "input replaced or written while it is read": replaced,
    "memory cell outside the table": high_cell,
    "no constants for the module": lambda run: run.constants.unlink(),
    "a constant is in no file": one_constant("SlopesFF", None),
    "only later constants, prior ones wanted": choosing(strategy="prior", at="2025-01-01T00:00:00Z"),
    "constants of other conditions": other_conditions,
    "constants too far away in time": choosing(at="2026-09-01T00:00:00Z", within_days=30),
    "constant of another shape": one_constant("Offset", lambda values: values[:, :-1]),
    "constant of another type": one_constant("Offset", lambda values: values.astype(np.int32)),
    "file of constants damaged": lambda run: run.constants.write_bytes(b"not HDF5") and None,
    "disk full while writing": full_disk,
}


@pytest.mark.parametrize("met", FAILURES)
def test_a_file_that_is_not_corrected_says_why(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, met: str
) -> None:
    run = Run(tmp_path, corrected, monkeypatch, AG_RAW)
    FAILURES[met](run)
    (file,) = run.correct().files
    (said,) = [outcome for outcome in FAILED if outcome.met == met]
    assert (file.outcome, file.failure) == ("failed", said.name), file.reason
    assert file.reason
    assert "\n" not in file.reason
    assert list(run.out.iterdir()) == []


def test_the_page_and_the_tests_know_the_same_failures() -> None:
    assert list(FAILURES) == [outcome.met for outcome in FAILED]
    names = {
        kind("", remedy="").name
        for kind in vars(failures).values()
        if isinstance(kind, type) and issubclass(kind, CalibrationError) and kind is not CalibrationError
    }
    of_a_file = names - {"darks-invalid", "nothing-selected"}  # the latter is asked for, no bad input
    assert {outcome.name for outcome in FAILED} == of_a_file


def as_written(run: Run) -> None:
    """The indexes of raw files are padded."""
    with run.raw_file() as file:
        assert file["INDEX/trainId"][2:].tolist() == [0] * 14


def index(**values: list[int]) -> Damage:
    def damage(run: Run) -> None:
        with run.raw_file() as file:
            for name, numbers in values.items():
                file[f"INDEX/{name}"][:2] = numbers

    return damage


def version_1_1(run: Run) -> None:
    with run.raw_file() as file:
        file["METADATA/dataFormatVersion"][0] = b"1.1"
        file["INDEX/flag"][:2] = [0, 1]


def no_data(run: Run) -> None:
    with run.raw_file() as file:
        file[f"INDEX/{AG}/image/count"][1] = 0


def version_0_5(run: Run) -> None:
    with run.raw_file() as file:
        file["METADATA/dataSourceId"] = file["METADATA/dataSources/dataSourceId"][...]
        for name in ("METADATA/dataFormatVersion", "METADATA/dataSources", "INDEX/flag", "INDEX/timestamp"):
            del file[name]
        group = file[f"INDEX/{AG}/image"]
        del group["count"]
        group["last"], group["status"] = np.array([3, 7], np.uint64), np.array([1, 0], np.uint64)


def module_missing(run: Run) -> None:
    (run.cal / "SPB_DET_AGIPD1M-1/AGIPD01").mkdir()


def module_lacking(run: Run) -> None:
    """A second module, whose second train has no data."""
    shutil.copytree(run.cal / "SPB_DET_AGIPD1M-1/AGIPD00", run.cal / "SPB_DET_AGIPD1M-1/AGIPD01")
    other = run.raw / AG_RAW.replace("AGIPD00", "AGIPD01")
    shutil.copy(run.path, other)
    source = AG.replace("0CH0", "1CH0")
    with h5py.File(other, "r+") as file:
        for top in ("INDEX", "INSTRUMENT"):
            file.move(f"{top}/{AG}", f"{top}/{source}")
        names = file["METADATA/dataSources/dataSourceId"]
        names[:] = [name.replace(b"0CH0", b"1CH0") for name in names[:]]
        file[f"INDEX/{source}/image/count"][1] = 0


def pixels(*values: tuple[str, int]) -> Damage:
    def damage(run: Run) -> None:
        with run.raw_file() as file:
            for key, value in values:
                file[f"INSTRUMENT/{JF}/data/{key}"][0, 0, :8, :8] = value

    return damage


def no_number(values: Any) -> Any:
    values[5, 5] = np.nan
    return values


COUNTS: dict[str, tuple[str, Damage]] = {
    "train IDs zero-padded at the end": (AG_RAW, as_written),
    "duplicate train ID": (AG_RAW, index(trainId=[7, 7])),
    "train ID that does not increase": (AG_RAW, index(trainId=[7, 6])),
    "train flagged invalid": (AG_RAW, index(flag=[0, 1])),
    "train flagged invalid, format 1.1": (AG_RAW, version_1_1),
    "train with count 0": (AG_RAW, no_data),
    "old index: first, last, status": (AG_RAW, version_0_5),
    "missing module": (AG_RAW, module_missing),
    "trains missing in one module": (AG_RAW, module_lacking),
    "invalid gain bits": (JF_RAW, pixels(("gain", 2))),
    "saturation and error words": (JF_RAW, pixels(("gain", 3), ("adc", 0x3FFF))),
    "constant that is not a number": (AG_RAW, one_constant("Offset", no_number)),
    "older constants taken": (AG_RAW, choosing(strategy="prior", at="2027-01-01T00:00:00Z")),
}


@pytest.mark.parametrize("met", COUNTS)
def test_what_a_corrected_file_met_is_in_the_manifest(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, met: str
) -> None:
    name, damage = COUNTS[met]
    run = Run(tmp_path, corrected, monkeypatch, name)
    damage(run)
    manifest = run.correct()
    file = manifest.files[0]
    assert file.outcome == "corrected", file.reason
    (said,) = [outcome for outcome in COUNTED if outcome.met == met]
    field, _, within = said.name.partition(".")
    before = next(other for other in corrected.manifest.files if other.input.name == name)
    match field:
        case "gaps":
            (gap,) = manifest.gaps
            assert (gap.module, gap.trains, gap.of_trains) == ("AGIPD01", 1 if "one module" in met else 2, 2)
        case "pixels_by_reason":
            assert file.pixels_by_reason[within] >= before.pixels_by_reason.get(within, 0) + 8
        case "constants":
            assert file.constants is not None
            assert {part.begin.isoformat() for part in file.constants.parts} == {"2026-03-01T00:00:00+00:00"}
        case "trains":
            assert (file.trains, file.trains_dropped) == (2, 0)
        case _:
            assert field in FileOutcome.model_fields
            assert getattr(file, field) == 1


def test_the_page_and_the_tests_know_the_same_counts() -> None:
    assert list(COUNTS) == [outcome.met for outcome in COUNTED]
