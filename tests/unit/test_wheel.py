"""The wheel: an installed kit has all that it needs, without a checkout."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from xdc_testbed import __version__, content
from xdc_testbed.processes import CommandFailed, Completed, run

ROOT = content.root()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this source tree."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out]
    run(build, timeout=120, cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the wheel alone."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    run([*pip, "--target", target, wheel], timeout=120, cwd=target)
    return target


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """Files in the wheel."""
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def python(installed: Path, code: str) -> Completed:
    """Run Python with the installed package before this checkout's."""
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return run([sys.executable, "-c", code], timeout=60, env=env, cwd=installed)


def test_everything_that_ansible_reads_is_inside(names: set[str]) -> None:
    files = [ROOT / "ansible.cfg"]
    files += [path for part in ("inventory", "playbooks", "roles", "terraform") for path in (ROOT / part).rglob("*")]
    wanted = {
        f"xdc_testbed/_content/{path.relative_to(ROOT)}"
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - names == set()


def test_every_file_of_the_package_is_inside(names: set[str]) -> None:
    package = [path for path in (ROOT / "xdc_testbed").rglob("*") if path.is_file()]
    wanted = {str(path.relative_to(ROOT)) for path in package if "__pycache__" not in path.parts}
    assert wanted - names == set()


def test_the_wheel_has_native_kernels_for_any_python_of_its_platform(wheel: Path, installed: Path) -> None:
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
    code = "from xdc_testbed.calibration import engine, native; print(engine.choose().name, native.__file__)"
    assert python(installed, code).text == f"native {installed}/xdc_testbed/calibration/native/__init__.py"


def test_without_a_compiler_the_kit_installs_and_numpy_corrects(tmp_path: Path) -> None:
    copy = sources(tmp_path)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    told = run(build, timeout=120, cwd=copy, env={**os.environ, "CC": "no-such-compiler"})
    assert "no native kernels (no C compiler no-such-compiler)" in (told.stdout + told.stderr).decode()
    (built,) = (copy / "dist").glob("*.whl")
    assert built.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built) as opened:
        opened.extractall(tmp_path / "there")
    code = "from xdc_testbed.calibration import engine; print(engine.choose())"
    assert python(tmp_path / "there", code).text.startswith("numpy reference (no native kernels: ")
    wanted = "from xdc_testbed.calibration import engine; engine.choose({'XDC_KERNEL': 'native'})"
    with pytest.raises(CommandFailed, match="there are no native kernels here"):
        python(tmp_path / "there", wanted)


def test_nothing_else_is_inside(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert tops == {"xdc_testbed", f"xdc_testbed-{__version__}.dist-info"}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_licence_and_the_command_are_declared(wheel: Path) -> None:
    about = f"xdc_testbed-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        metadata = Parser().parsestr(opened.read(f"{about}/METADATA").decode())
        entries = opened.read(f"{about}/entry_points.txt").decode()
        assert f"{about}/licenses/LICENSE" in opened.namelist()
    assert (metadata["License-Expression"], metadata["Version"]) == ("Apache-2.0", __version__)
    assert "xdc-testbed = xdc_testbed.cli.app:main" in entries


def test_an_installed_kit_finds_its_content_inside_itself(installed: Path) -> None:
    done = python(installed, "from xdc_testbed import content; print(content.root())")
    assert done.text == f"{installed}/xdc_testbed/_content"


def test_an_installed_kit_reads_its_profiles_and_roles(installed: Path) -> None:
    code = "from xdc_testbed.testbed import description as d, variables as v; "
    code += "print(len(d.load(environ={}).description.nodes))"
    assert python(installed, f"{code}; assert v.options(); assert d.groups()").text == "6"


def test_the_installed_command_runs(installed: Path) -> None:
    program = installed / "bin" / "xdc-testbed"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    assert run([program, "--version"], timeout=60, env=env, cwd=installed).text == f"xdc-testbed {__version__}"


def sources(folder: Path) -> Path:
    """A copy of what the wheel is made of."""
    copy = folder / "sources"
    for part in ("xdc_testbed", "inventory", "playbooks", "roles", "terraform"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for file in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "ansible.cfg"):
        shutil.copy(ROOT / file, copy / file)
    return copy


def test_a_copy_of_the_sources_without_git_gives_the_same_files(names: set[str], tmp_path: Path) -> None:
    copy = sources(tmp_path)
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel"], timeout=120, cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        assert set(opened.namelist()) == names
