"""The code version names the code that computes, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from xdc_testbed import calibration
from xdc_testbed.calibration.manifest import code_version, sources_hash


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, named as the original is."""
    copy = tmp_path / "calibration"
    shutil.copytree(Path(calibration.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    assert sources_hash(copy) == code_version()
    return copy


@pytest.mark.parametrize("source", ["reference.py", "jungfrau.py", "native/kernels.c", "native/lanes.h"])
def test_other_code_that_computes_is_another_version(package: Path, source: str) -> None:
    with (package / source).open("a") as file:
        file.write("\n")
    assert sources_hash(package) != code_version()


def test_other_pages_and_pictures_are_the_same_version(package: Path) -> None:
    for shown in (package / "report").iterdir():
        shown.write_text("other")
    assert sources_hash(package) == code_version()
