"""The native code under the address and undefined-behaviour sanitizers: the tests of the kernels, in a child process.

The child imports a copy of the package with a library that is built for this. Arrays of numpy end where they should, so
a read or a store beside one is seen.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from xdc_testbed import content

FLAGS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, its native library compiled with sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    package = folder / "xdc_testbed"
    shutil.copytree(content.root() / "xdc_testbed", package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    native = package / "calibration" / "native"
    builder().compile_library(native, native / "libcalibration.so", flags=FLAGS)
    return folder


def builder() -> ModuleType:
    """hatch_build.py, which compiles the library."""
    spec = importlib.util.spec_from_file_location("hatch_build", content.root() / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def child(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    compiler = os.environ.get("CC", "cc")
    asan = subprocess.run([compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "LD_PRELOAD": asan.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter keeps what it has until its end
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, text=True, env=environment, timeout=300, cwd=copy
    )


def test_the_kernels_touch_nothing_beside_their_arrays(copy: Path) -> None:
    tests = sorted(str(path) for path in {*HERE.glob("test_*_kernels.py"), *HERE.glob("test_native_*.py")})
    ended = child(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *tests)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert " passed" in ended.stdout


def test_the_sanitizers_are_at_work(copy: Path) -> None:
    """A call that lies about its arrays ends as it should: by the sanitizer, not by luck."""
    code = """
import ctypes, numpy as np
from pathlib import Path
from xdc_testbed.calibration import native
assert Path(native.__file__).is_relative_to(Path.cwd()), native.__file__
planes = native.Planes(*(np.zeros((1, 3, 8, 8), kind) for kind in (np.float32, np.float32, np.uint32)))
native._check = lambda *words, **named: None
native.correct(np.zeros((1, 8, 8), np.uint16), np.zeros((1, 8, 8), np.uint8), np.zeros(1, int), planes,
               native.Coding(native.CODE_IN_BYTE), energy=np.zeros((1, 8, 4), np.float32))
"""
    ended = child(copy, "-c", code)
    assert ended.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in ended.stderr
