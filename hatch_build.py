"""Build hook: compile the calibration's C kernels into the package when there is a C compiler.

Without one the package is built all the same, for any platform, and corrects with numpy; a line says so. The library
is a plain shared object without any Python in it, so a wheel with it serves every Python 3 of its platform.
Instruction sets are separate objects, chosen at run time: nothing is built for the machine that builds.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("xdc_testbed/calibration/native")
LIBRARY = SOURCES / "libcalibration.so"

# No fused multiply-add: every instruction set gives the same bits. No errno, no traps: nobody looks at them.
_FLAGS = "-std=gnu11 -O3 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-trapping-math -Wall -Wextra"
_SETS = {
    "generic": "",
    "avx2": "-mavx2",
    "avx512": "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512",
}


class CalibrationKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Adds libcalibration.so to wheels and editable installations."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        try:
            compile_library(root / SOURCES, root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            (root / LIBRARY).unlink(missing_ok=True)  # an old one of other sources must not go along
            self.app.display_warning(f"calibration: no native kernels ({error}); numpy corrects, slower")
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_library(sources: Path, library: Path, *, flags: str = "") -> None:
    """Compile the C sources of a folder into `library`, which appears whole or not at all.

    flags: more flags, for sanitizers. Raises FileNotFoundError without a compiler, CalledProcessError when it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not shutil.which(compiler[0]):
        raise FileNotFoundError(f"no C compiler {compiler[0]}")
    base = [*compiler, *shlex.split(_FLAGS), *shlex.split(flags)]
    sets = _SETS if platform.machine() in ("x86_64", "AMD64") else {"generic": ""}
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".build-") as folder:
        objects = [Path(folder, "driver.o"), Path(folder, "file.o")]
        _run([*base, f'-DSOURCES="{digest(sources)}"', "-c", sources / "driver.c", "-o", objects[0]])
        _run([*base, "-c", sources / "file.c", "-o", objects[1]])
        for name, more in sets.items():
            for source in ("kernels", "packing"):
                objects.append(Path(folder, f"{source}-{name}.o"))
                _run([*base, *shlex.split(more), f"-DSET={name}", "-c", sources / f"{source}.c", "-o", objects[-1]])
        built = Path(folder, library.name)
        _run([*base, "-shared", "-pthread", *objects, "-o", built])
        built.replace(library)


def digest(sources: Path) -> str:
    """What the library is made of; `calibration.native` compares it with the sources that lie beside it."""
    files = sorted(file for file in sources.iterdir() if file.suffix in (".c", ".h"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _run(command: list[Any]) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


if __name__ == "__main__":  # after a change of a C source: python hatch_build.py
    here = Path(__file__).resolve().parent
    compile_library(here / SOURCES, here / LIBRARY)
