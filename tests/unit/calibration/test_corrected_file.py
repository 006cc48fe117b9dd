"""Corrected files as EXtra-data sees them, and as bytes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected, pixels
from extra_data import RunDirectory
from extra_data.components import AGIPD1M, JUNGFRAU
from extra_data.validation import FileAccess, FileValidator
from extra_data.validation import main as extra_data_validate

from xdc_testbed.calibration import CalibrationManifest, Parameters, blocks, calibrate_file, stores
from xdc_testbed.calibration.failures import InputChanged, OutputFailed


def problems(folder: Path) -> list[dict[str, object]]:
    """What `extra-data-validate` finds in each file of a folder."""
    return [problem for path in sorted(folder.glob("*.h5")) for problem in FileValidator(FileAccess(path)).run_checks()]


def test_extra_data_finds_no_problem_and_all_files(corrected: Corrected) -> None:
    names = [path.name for path in sorted(corrected.proc.glob("*.h5"))]
    assert names == [
        f"CORR-R0001-{m}.h5" for m in ("AGIPD00-S00000", "JNGFR01-S00000", "JNGFR01-S00001", "JNGFR02-S00000")
    ]
    assert problems(corrected.proc) == []


def test_the_validation_command_accepts_the_folder(corrected: Corrected, capsys: pytest.CaptureFixture[str]) -> None:
    assert not extra_data_validate([str(corrected.proc)])
    assert "No problems found" in capsys.readouterr().out


def test_jungfrau_component_reads_corrected_data(corrected: Corrected) -> None:
    with RunDirectory(str(corrected.proc)) as run:
        detector = JUNGFRAU(run, raw=False)
        assert detector.detector_name == "SPB_IRDA_JF4M"
        assert sorted(detector.modno_to_source) == [1, 2]
        adc = detector["data.adc"]
        assert (adc.dtype, adc.shape[2:]) == (np.float32, (1, 512, 1024))
        assert detector["data.mask"].dtype == np.uint32
        assert detector["data.gain"].dtype == np.uint8
        image = detector.masked_data().select_trains(np.s_[:1]).ndarray()
        assert np.isnan(image).any()
        assert np.nanmax(image) > 1000


def test_agipd_component_reads_corrected_data(corrected: Corrected) -> None:
    with RunDirectory(str(corrected.proc)) as run:
        detector = AGIPD1M(run, raw=False)
        assert detector.frames_per_train == 4
        assert detector["image.data"].ndarray().shape == (1, 8, 512, 128)
        assert detector["image.data"].dtype == np.float32
        assert detector["image.cellId"].ndarray()[0].tolist() == [0, 1, 2, 3] * 2
        assert detector.masked_data().ndarray().shape == (1, 8, 512, 128)


def test_a_train_without_data_stays_a_train(corrected: Corrected) -> None:
    with RunDirectory(str(corrected.proc)) as run:
        source = "SPB_IRDA_JF4M/CORR/JNGFR01:daqOutput"
        counts = run.get_data_counts(source, "data.adc")
        assert counts.tolist() == [1, 1, 1, 0]
        assert len(run.train_ids) == 4


def test_the_raw_name_leads_to_the_corrected_source(corrected: Corrected) -> None:
    with h5py.File(corrected.proc / "CORR-R0001-AGIPD00-S00000.h5") as file:
        raw, new = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", "SPB_DET_AGIPD1M-1/CORR/0CH0:output"
        for top in ("INDEX", "INSTRUMENT"):
            link = file.get(f"{top}/{raw}", getlink=True)
            assert isinstance(link, h5py.SoftLink)
            assert link.path == f"/{top}/{new}"
        assert file["METADATA/dataFormatVersion"][0] == b"1.2"


def test_the_same_work_gives_the_same_bytes_and_the_same_manifest(corrected: Corrected, tmp_path: Path) -> None:
    for name in ("JNGFR01-S00000", "AGIPD00-S00000"):
        again = calibrate_file(
            corrected.raw / f"RAW-R0001-{name}.h5", tmp_path / f"CORR-R0001-{name}.h5", corrected.cal
        )
        before = next(f for f in corrected.manifest.files if f.input.name.endswith(f"{name}.h5"))
        assert again.files == (before,)
        assert CalibrationManifest.model_validate_json(again.to_json()) == again


@pytest.mark.parametrize("name", ["JNGFR01-S00000", "AGIPD00-S00000"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("block", [1, 3 << 18])
def test_pixels_do_not_depend_on_threads_and_on_how_many_frames_are_taken_at_a_time(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, threads: int, block: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
    monkeypatch.setenv("XDC_THREADS", str(threads))
    name = f"CORR-R0001-{name}.h5"
    calibrate_file(corrected.raw / name.replace("CORR", "RAW"), tmp_path / name, corrected.cal)
    assert pixels(tmp_path / name) == pixels(corrected.proc / name)


LAYOUTS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunks of two rows": {"chunks": 2},
    "chunks of three rows": {"chunks": 3},
    "chunks that cut frames": {"chunks": "cut"},
    "deflate": {"chunks": 2, "compression": "gzip"},
    "shuffle, deflate, checksum": {"chunks": 1, "compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"chunks": 3, "compression": "lzf"},
    "the other byte order": {"dtype": ">u2"},
}


def store_again(raw: Path, layout: str) -> None:
    """Give the pixels of a raw file another layout."""
    options = dict(LAYOUTS[layout])
    with h5py.File(raw, "r+") as file:
        where = next(w for w in WHERE if w in file)
        values = file[where][...]
        del file[where]
        match options.get("chunks"):
            case int(rows):
                options["chunks"] = (min(rows, values.shape[0]), *values.shape[1:])
            case "cut":
                options["chunks"] = (2, *values.shape[1:-2], 100, 50)
        file.create_dataset(where, data=values.astype(options.pop("dtype", "<u2")), **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["JNGFR01-S00000", "AGIPD00-S00000"])
def test_raw_data_may_be_stored_in_any_way(corrected: Corrected, tmp_path: Path, name: str, layout: str) -> None:
    raw = tmp_path / f"RAW-R0001-{name}.h5"
    shutil.copy(corrected.raw / raw.name, raw)
    store_again(raw, layout)
    out = tmp_path / f"CORR-R0001-{name}.h5"
    calibrate_file(raw, out, corrected.cal)
    assert pixels(out) == pixels(corrected.proc / out.name)


WHERE = (
    "INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data/adc",
    "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/0CH0:xtdf/image/data",
)


def test_a_disk_that_is_full_is_named_and_nothing_is_left(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def full(path: Any, flags: int, *more: Any, **named: Any) -> int:
        return real("/dev/full" if flags & os.O_WRONLY else path, flags, *more, **named)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OutputFailed, match=r"CORR\.h5 cannot be written: No space left on device"):
        calibrate_file(corrected.raw / "RAW-R0001-AGIPD00-S00000.h5", tmp_path / "CORR.h5", corrected.cal)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(corrected: Corrected, tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match=r"CORR\.h5 cannot be written"):
        calibrate_file(corrected.raw / "RAW-R0001-AGIPD00-S00000.h5", tmp_path / "no" / "CORR.h5", corrected.cal)


def test_input_that_changes_while_it_is_read_is_named(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "RAW-R0001-AGIPD00-S00000.h5"
    shutil.copy(corrected.raw / raw.name, raw)

    def replaced(*words: Any) -> Iterator[blocks.Block]:
        shutil.copy(raw, tmp_path / "new")
        (tmp_path / "new").replace(raw)
        return blocks.correct_blocks(*words)

    monkeypatch.setattr(stores, "correct_blocks", replaced)
    with pytest.raises(InputChanged):
        calibrate_file(raw, tmp_path / "CORR.h5", corrected.cal)
    assert list(tmp_path.iterdir()) == [raw]


def test_a_process_killed_while_it_writes_leaves_nothing_under_the_name(corrected: Corrected, tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from xdc_testbed.calibration import blocks, calibrate_file, corrected_file
blocks.BLOCK_BYTES, write = 1, corrected_file.CorrectedFile.write_flags
def once(self, frame, *chunks):
    write(self, frame, *chunks)
    if frame == 3:
        os.kill(os.getpid(), signal.SIGKILL)
corrected_file.CorrectedFile.write_flags = once
calibrate_file(*map(Path, sys.argv[1:]))
"""
    raw, out = corrected.raw / "RAW-R0001-AGIPD00-S00000.h5", tmp_path / "CORR-R0001-AGIPD00-S00000.h5"
    ended = subprocess.run([sys.executable, "-c", code, raw, out, corrected.cal], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    calibrate_file(raw, out, corrected.cal)
    assert pixels(out) == pixels(corrected.proc / out.name)


def test_another_process_gives_the_same_bytes(corrected: Corrected, tmp_path: Path) -> None:
    raw, out = corrected.raw / "RAW-R0001-AGIPD00-S00000.h5", tmp_path / "CORR.h5"
    code = "import sys; from pathlib import Path; from xdc_testbed.calibration import calibrate_file as c; "
    code += "c(*map(Path, sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, raw, out, corrected.cal], check=True, timeout=60)
    want = hashlib.sha256((corrected.proc / "CORR-R0001-AGIPD00-S00000.h5").read_bytes()).hexdigest()
    assert hashlib.sha256(out.read_bytes()).hexdigest() == want


def test_without_legacy_names_there_is_one_source(corrected: Corrected, tmp_path: Path) -> None:
    raw, out = corrected.raw / "RAW-R0001-AGIPD00-S00000.h5", tmp_path / "CORR-R0001-AGIPD00-S00000.h5"
    calibrate_file(raw, out, corrected.cal, parameters=Parameters(legacy_names=False))
    assert problems(tmp_path) == []
    with RunDirectory(str(tmp_path)) as run:
        assert set(run.all_sources) == {"SPB_DET_AGIPD1M-1/CORR/0CH0:output"}


@pytest.mark.parametrize("name", ["JNGFR01-S00001", "AGIPD00-S00000"])
def test_a_file_in_which_no_train_has_data_is_corrected_to_one_without_data(
    corrected: Corrected, tmp_path: Path, name: str
) -> None:
    raw, out = tmp_path / f"RAW-R0001-{name}.h5", tmp_path / f"CORR-R0001-{name}.h5"
    shutil.copy(corrected.raw / raw.name, raw)
    with h5py.File(raw, "r+") as file:
        where = []
        file["INDEX"].visit(lambda key: where.append(key) if re.search(r"(data|image)/(first|count)$", key) else None)
        for key in where:
            file[f"INDEX/{key}"][:] = 0
    manifest = calibrate_file(raw, out, corrected.cal)
    assert (manifest.files[0].trains, manifest.files[0].trains_without_data, manifest.files[0].frames) == (
        2,
        2,
        0,
    )
    raw.unlink()
    assert problems(tmp_path) == []
