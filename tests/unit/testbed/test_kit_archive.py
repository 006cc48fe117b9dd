"""The kit as nodes get it: the same sources give the same bytes, and what is inside runs."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from xdc_testbed.processes import run
from xdc_testbed.testbed import kit


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package in the place of the kit's."""
    folder = tmp_path / "source" / "xdc_testbed"
    for name in (
        "__init__.py",
        "events/model.py",
        "interop/report.html.j2",
        "events/__pycache__/model.cpython-311.pyc",
        "_content/roles/a.yml",
        "ansible_plugins/callback/xdc_events.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    monkeypatch.setattr(kit, "_PACKAGE", folder)
    return folder


def inside(archive: Path) -> list[str]:
    """Names in an archive."""
    with tarfile.open(archive) as opened:
        return opened.getnames()


def test_the_same_sources_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    first, digest = kit.archive(tmp_path / "one")
    for path in package.rglob("*.py"):
        os.utime(path, (1, 1))
    second, same = kit.archive(tmp_path / "two")
    assert digest == same
    assert first.read_bytes() == second.read_bytes()


def test_a_changed_source_gives_another_archive_and_takes_the_old_one_away(package: Path, tmp_path: Path) -> None:
    old, before = kit.archive(tmp_path / "kit")
    (package / "events" / "model.py").write_text("changed = True\n")
    new, after = kit.archive(tmp_path / "kit")
    assert before != after
    assert (old.exists(), new.exists()) == (False, True)


def test_the_archive_holds_code_and_templates_and_nothing_of_the_controller(package: Path, tmp_path: Path) -> None:
    archive, digest = kit.archive(tmp_path / "kit")
    assert inside(archive) == [
        f"{digest}/xdc_testbed/__init__.py",
        f"{digest}/xdc_testbed/events/model.py",
        f"{digest}/xdc_testbed/interop/report.html.j2",
    ]


def test_the_real_archive_is_enough_to_run_the_kit(tmp_path: Path) -> None:
    archive, digest = kit.archive(tmp_path)
    assert not [name for name in inside(archive) if "__pycache__" in name or name.endswith(".pyc")]
    shutil.unpack_archive(archive, tmp_path / "node")  # ours; Debian 12's Python 3.11.2 knows no filter
    code = "import xdc_testbed, xdc_testbed.events.model, xdc_testbed.endpoints; print(xdc_testbed.__file__)"
    done = run(
        [sys.executable, "-c", code], timeout=60, env={"PYTHONPATH": str(tmp_path / "node" / digest)}, cwd=tmp_path
    )
    assert done.text == str(tmp_path / "node" / digest / "xdc_testbed" / "__init__.py")


def test_nodes_are_told_the_requirements_of_services_and_not_those_of_the_controller() -> None:
    names = {line.split(">")[0].split("<")[0].split("=")[0].strip() for line in kit.requirements()}
    assert {"quixstreams", "h5py", "uvicorn", "pydantic"} <= names
    assert not names & {"ansible-core", "mitogen", "pytest", "ruff", "matplotlib", "xdc-testbed"}
    assert not [line for line in kit.requirements() if ";" in line]
