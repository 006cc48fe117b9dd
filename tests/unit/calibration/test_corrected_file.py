"""Corrected files as EXtra-data sees them, and as bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from corrected_run import Corrected
from extra_data import RunDirectory
from extra_data.components import AGIPD1M, JUNGFRAU
from extra_data.validation import FileAccess, FileValidator
from extra_data.validation import main as extra_data_validate

from xdc_testbed.calibration import CalibrationManifest, Parameters, calibrate_file, pipeline


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


def test_pixels_do_not_depend_on_how_many_frames_are_taken_at_a_time(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BLOCK_FRAMES", 3)
    name, where = "CORR-R0001-AGIPD00-S00000.h5", "INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image"
    calibrate_file(corrected.raw / name.replace("CORR", "RAW"), tmp_path / name, corrected.cal)
    with h5py.File(tmp_path / name) as have, h5py.File(corrected.proc / name) as want:
        for key in ("data", "gain", "mask"):
            assert have[f"{where}/{key}"][...].tobytes() == want[f"{where}/{key}"][...].tobytes()


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
