"""The demonstration's raw run: what EXtra-data says of it, what its manifest promises, and that it is repeatable."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from extra_data import RunDirectory
from extra_data.components import AGIPD1M, JUNGFRAU
from extra_data.validation import FileAccess, FileValidator

from xdc_testbed.demo.detector_data import DetectorPlan, FileId, RunManifest, RunPlan, write_run
from xdc_testbed.demo.detector_geometry import Kind, layout
from xdc_testbed.demo.diffraction import Scene

SMALL = RunPlan(
    detectors=(
        DetectorPlan(kind="JUNGFRAU", detector_id="SPB_IRDA_JF4M", modules=(4,), sequences=2, cells=1),
        DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=(3,), cells=2),
    ),
    missing=FileId(module="JNGFR04", sequence=0),
    truncated=FileId(module="JNGFR04", sequence=1),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunManifest]:
    """The small run; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder, SMALL)


def test_whole_files_have_no_problem_and_the_other_one_does_not_open(written: tuple[Path, RunManifest]) -> None:
    folder, manifest = written
    for file in manifest.files:
        if file.expected == "failed":
            with pytest.raises(OSError, match="truncated file"):
                FileAccess(folder / file.path)
            continue
        assert FileValidator(FileAccess(folder / file.path)).run_checks() == []


def test_extra_data_reads_both_detectors_as_raw(written: tuple[Path, RunManifest]) -> None:
    with RunDirectory(str(written[0] / "raw" / "r0001")) as run:
        jungfrau = JUNGFRAU(run, raw=True)
        assert jungfrau["data.adc"].ndarray().shape == (1, 1, 1, 512, 1024)
        assert run.get_data_counts("SPB_IRDA_JF4M/DET/JNGFR04:daqOutput", "data.adc").tolist() == [1, 0]
        agipd = AGIPD1M(run, raw=True)
        assert agipd["image.data"].ndarray().shape == (1, 4, 2, 512, 128)
        assert run.run_metadata()["dataFormatVersion"] == "1.2"


def test_the_manifest_tells_every_file(written: tuple[Path, RunManifest]) -> None:
    folder, manifest = written
    assert RunManifest.model_validate_json((folder / "run.json").read_text()) == manifest
    there = {str(p.relative_to(folder)) for top in ("raw", "cal") for p in (folder / top).rglob("*.h5")}
    assert there == {file.path for file in (*manifest.files, *manifest.constants)}
    for file in (*manifest.files, *manifest.constants):
        data = (folder / file.path).read_bytes()
        assert (file.size, file.adler32) == (len(data), f"{zlib.adler32(data):08x}")
    assert [(f.module, f.sequence, f.trains, f.frames, f.expected) for f in manifest.files] == [
        ("JNGFR04", 0, 1, 1, "corrected"),
        ("JNGFR04", 1, 2, 2, "failed"),
        ("AGIPD03", 0, 2, 4, "corrected"),
    ]
    assert manifest.size == sum((folder / file.path).stat().st_size for file in manifest.files)


def test_the_same_plan_gives_the_same_bytes_and_another_seed_others(
    written: tuple[Path, RunManifest], tmp_path: Path
) -> None:
    assert write_run(tmp_path / "again", SMALL) == written[1]
    other = write_run(tmp_path / "other", SMALL.model_copy(update={"seed": 1}))
    assert not {file.adler32 for file in other.files} & {file.adler32 for file in written[1].files}


def test_raw_pixels_use_all_gain_stages_and_hold_wrong_gain_bits(written: tuple[Path, RunManifest]) -> None:
    folder = written[0]
    with h5py.File(folder / "raw" / "r0001" / "RAW-R0001-JNGFR04-S00000.h5") as file:
        codes = file["INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR04:daqOutput/data/gain"][...]
    assert set(np.unique(codes)) == {0, 1, 2, 3}
    with h5py.File(folder / "truth" / "r0001" / "TRUTH-R0001-AGIPD03-S00000.h5") as file:
        assert {0, 1} <= set(np.unique(file["stage"][...]))


def test_burst_mode_stores_all_cells_of_a_train_in_one_row(tmp_path: Path) -> None:
    burst = DetectorPlan(kind="JUNGFRAU", detector_id="SPB_IRDA_JF4M", modules=(1,), trains=1, cells=3)
    write_run(tmp_path, RunPlan(detectors=(burst,)))
    with RunDirectory(str(tmp_path / "raw" / "r0001")) as run:
        detector = JUNGFRAU(run, raw=True)
        assert detector["data.adc"].ndarray().shape == (1, 1, 3, 512, 1024)
        assert detector.cell_ids().tolist() == [0, 1, 2]


@pytest.mark.parametrize(("plan", "files", "megabytes"), [(RunPlan.default(), 32, 67), (RunPlan.tiny(), 5, 12)])
def test_plans_have_the_size_they_say(plan: RunPlan, files: int, megabytes: int) -> None:
    pixels = {"JUNGFRAU": 512 * 1024 * 3, "AGIPD": 512 * 128 * 4}
    size = sum(len(d.modules) * d.sequences * d.trains * d.cells * pixels[d.kind] for d in plan.detectors)
    assert sum(len(d.modules) * d.sequences for d in plan.detectors) == files
    assert abs(size / 1e6 - megabytes) < 3  # one train is missing, one file is cut off, files have heads


@pytest.mark.parametrize("kind", ["JUNGFRAU", "AGIPD"])
def test_modules_do_not_overlap_and_leave_the_beam_free(kind: Kind) -> None:
    plan = layout(kind)
    covered = np.zeros(plan.canvas, int)
    for module in plan.origins:
        canvas = plan.assemble({module: np.ones(plan.frame, np.float32)})
        covered += np.isfinite(canvas)
    assert covered.max() == 1
    assert covered.sum() == len(plan.origins) * plan.frame[0] * plan.frame[1]
    row, column = (int(at) for at in plan.beam)
    assert not covered[row - 15 : row + 15, column - 15 : column + 15].any()


def test_coordinates_are_those_of_the_assembled_image() -> None:
    for kind, module in (("JUNGFRAU", 6), ("AGIPD", 9)):
        plan = layout(kind)
        row, column = plan.coordinates(module)
        radius = np.hypot(row, column)
        canvas = plan.assemble({module: radius})
        rows, columns = np.nonzero(np.isfinite(canvas))
        want = np.hypot(rows - plan.beam[0], columns - plan.beam[1])
        assert np.allclose(canvas[rows, columns], want, rtol=1e-4)


def test_frames_differ_and_neighbouring_modules_see_one_picture() -> None:
    scene = Scene(layout("JUNGFRAU"), seed=3)
    background = scene.background(2)
    first, second = (scene.photons(2, frame, background) for frame in (0, 1))
    assert not np.array_equal(first, second)
    assert first.max() > 500
    edge, next_edge = scene.background(1)[:, -1], scene.background(5)[:, 0]
    assert np.abs(edge[100:400] - next_edge[100:400]).mean() < 0.2
