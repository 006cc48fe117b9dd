"""What was written while the disk was full is there afterwards."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from xdc_testbed.faults.full_disk import carry_over


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    upper.mkdir()
    lower.mkdir()
    (lower / "kept").write_text("before")
    return upper, lower


def test_what_was_there_and_not_touched_stays(layers: tuple[Path, Path]) -> None:
    carry_over(*layers)
    assert (layers[1] / "kept").read_text() == "before"


def test_a_file_that_found_room_is_kept_with_its_mode_and_time(layers: tuple[Path, Path]) -> None:
    upper, lower = layers
    (upper / "new").write_text("small")
    (upper / "new").chmod(0o640)
    os.utime(upper / "new", (1e9, 1e9))
    carry_over(upper, lower)
    found = (lower / "new").stat()
    assert (lower / "new").read_text() == "small"
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o640, 1e9)


def test_a_changed_file_takes_the_place_of_the_old_one(layers: tuple[Path, Path]) -> None:
    upper, lower = layers
    (upper / "kept").write_text("after")
    carry_over(upper, lower)
    assert [path.name for path in lower.iterdir()] == ["kept"]
    assert (lower / "kept").read_text() == "after"


def test_a_deleted_file_is_deleted(layers: tuple[Path, Path]) -> None:
    upper, lower = layers
    os.mknod(upper / "kept", stat.S_IFCHR, os.makedev(0, 0))
    carry_over(upper, lower)
    assert list(lower.iterdir()) == []


def test_folders_are_merged(layers: tuple[Path, Path]) -> None:
    upper, lower = layers
    for layer in layers:
        (layer / "run").mkdir()
    (lower / "run" / "old").touch()
    (upper / "run" / "new").touch()
    carry_over(upper, lower)
    assert sorted(path.name for path in (lower / "run").iterdir()) == ["new", "old"]


def test_a_folder_that_took_the_place_of_a_file_does_so_below_too(layers: tuple[Path, Path]) -> None:
    upper, lower = layers
    (upper / "kept").mkdir()
    (upper / "kept" / "inside").touch()
    carry_over(upper, lower)
    assert (lower / "kept" / "inside").is_file()
