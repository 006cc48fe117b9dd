"""Files damaged anywhere: corrected, or a failure with a name; never a crash, never a hang.

More of it: damage_files.py takes any seeds.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import pytest
from finder_file import write_finder

from xdc_testbed.demo.detector_data import DetectorPlan, RunPlan, write_run

NUMBER = 120
PROGRAM = Path(__file__).with_name("damage_files.py")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one module and two frames, and a lit frame finder that tells of them."""
    folder = tmp_path_factory.mktemp("small")
    agipd = DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=(0,))
    write_run(folder, RunPlan(detectors=(agipd,)))
    (raw,) = (folder / "raw").rglob("*.h5")
    with h5py.File(raw) as file:
        trains = file["INDEX/trainId"][:]
    write_finder(raw.parent, {int(train): (0,) for train in trains if train})
    return folder


@pytest.mark.parametrize("kind", ["RAW", "CONSTANTS", "LIT"])
def test_a_file_damaged_anywhere_is_corrected_or_a_named_failure(small: Path, tmp_path: Path, kind: str) -> None:
    (raw,) = (small / "raw").rglob("*AGIPD*.h5")
    words = [sys.executable, PROGRAM, kind, raw, small / "cal", tmp_path, "0", str(NUMBER)]
    ended = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, timeout=300)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, f"after seed {lines[-1]}\n{ended.stderr[-2000:]}"
    found = Counter(line.split()[1].rstrip(":") for line in lines[1:])
    assert sum(found.values()) == NUMBER
    assert 0 < found["corrected"] < NUMBER, found  # the damage is neither always harmless nor always fatal
