"""The archive: the same bytes each time, complete, and without the kit installed."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from xdc_testbed import content
from xdc_testbed.actions import package


def test_the_archive_is_the_same_each_time_and_small() -> None:
    first, second = package.build(), package.build()
    assert first.code == second.code
    assert len(first.code) < 550_000
    with zipfile.ZipFile(io.BytesIO(first.code)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == sorted(names)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert "__main__.py" in names


def test_another_checkout_with_other_dates_modes_umask_and_hash_seed_builds_the_same(tmp_path: Path) -> None:
    checkout = tmp_path / "elsewhere" / "xdc_testbed"
    shutil.copytree(Path(package.__file__).parents[1], checkout, ignore=shutil.ignore_patterns("__pycache__"))
    for path in checkout.rglob("*.py"):
        os.utime(path, (86_400, 86_400))
        path.chmod(0o755)
    code = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import xdc_testbed
assert Path(xdc_testbed.__file__).parents[1] == Path(sys.argv[1])
from xdc_testbed.actions import package
package.build().write(Path("actions.zip"))
"""
    subprocess.run(
        [sys.executable, "-c", code, str(checkout.parent)],
        env=os.environ | {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"},
        cwd=tmp_path,
        umask=0o077,
        check=True,
        timeout=60,
    )
    assert (tmp_path / "actions.zip").read_bytes() == package.build().code


def test_the_native_library_that_goes_along_is_the_same_from_any_folder(tmp_path: Path) -> None:
    """With one compiler; it embeds neither paths nor dates."""
    native = Path(package.__file__).parents[1] / "calibration" / "native"
    built = []
    for place in (tmp_path / "here", tmp_path / "much" / "deeper" / "there"):
        sources = place / native.relative_to(content.root())
        shutil.copytree(native, sources, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        program = shutil.copy(content.root() / "hatch_build.py", place)
        subprocess.run([sys.executable, program], cwd=tmp_path, check=True, capture_output=True, timeout=120)
        built += [path.read_bytes() for path in sources.glob("*.so")]
    assert len(built) == 2
    assert built[0] == built[1]


def test_the_verb_writes_it_and_tells_size_and_digest(tmp_path: Path) -> None:
    out = tmp_path / "actions.zip"
    told = json.loads(verb("build", "--out", str(out), "--output", "json").stdout)
    assert told == {
        "path": str(out),
        "size": out.stat().st_size,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "kernels": "native" if package.build().native else "numpy",
    }
    assert list(tmp_path.iterdir()) == [out]


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    told = verb("build", "--out", str(tmp_path / "no" / "such.zip"))
    assert told.returncode == 2
    assert told.stderr.startswith(f"error: {tmp_path}/no/such.zip: No such file or directory\n  -> ")


def test_the_verb_lists_what_is_deployed() -> None:
    listed = json.loads(verb("list", "--output", "json").stdout)
    assert {"calibrate", "transfer", "qos", "catalogue"} <= listed.keys()
    assert listed["calibrate"] == {"memory": 512, "time_limit": 120}


def verb(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from xdc_testbed.cli.app import main; main()"
    command = [sys.executable, "-c", code, "actions", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_it_holds_what_the_actions_need_and_nothing_of_the_rest() -> None:
    modules = set(package.build().modules)
    assert {"xdc_testbed.actions.calibrate", "xdc_testbed.calibration.pipeline", "xdc_testbed.errors"} <= modules
    assert {name.split(".")[1] for name in modules if "." in name} == {
        "actions",
        "calibration",
        "clients",
        "errors",
        "redaction",
    }
    assert not {"xdc_testbed.actions.deploy", "xdc_testbed.actions.package"} & modules


def test_it_needs_the_packages_that_the_page_on_images_installs_and_no_other() -> None:
    found = set()
    with zipfile.ZipFile(io.BytesIO(package.build().code)) as archive:
        for name in filter(re.compile(r"\.py$").search, archive.namelist()):
            for node in ast.walk(ast.parse(archive.read(name))):
                match node:
                    case ast.Import(names=names):
                        found |= {alias.name.partition(".")[0] for alias in names}
                    case ast.ImportFrom(module=str(module), level=0):
                        found.add(module.partition(".")[0])
    needed = found - sys.stdlib_module_names - {"xdc_testbed"}
    page = (content.root() / "docs" / "howto" / "action-image.md").read_text()
    (installed,) = re.findall(r"^RUN pip install --no-cache-dir (.*)$", page, re.MULTILINE)
    assert needed == {re.split(r"\W", word.strip("'"))[0] for word in installed.split()}


def test_every_action_runs_from_the_archive_alone(tmp_path: Path) -> None:
    zipfile.ZipFile(io.BytesIO(package.build().code)).extractall(tmp_path)
    (tmp_path / "__main__.py").rename(tmp_path / "main__.py")  # as the platform's launcher does
    code = """
import sys, json
class NoKit:  # an installed kit must not help
    def find_spec(self, name, path=None, target=None):
        if name.startswith("xdc_testbed") and path is not None and not str(list(path)[0]).startswith(sys.argv[1]):
            raise ImportError(name)
sys.meta_path.insert(0, NoKit())
sys.path.insert(0, sys.argv[1])
import main__
results = {name: getattr(main__, name)({}) for name in ("calibrate", "transfer")}
import xdc_testbed
print(json.dumps([results, xdc_testbed.__file__]))
"""
    told = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, str(tmp_path)],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    results, kit = json.loads(told.stdout)
    assert kit.startswith(str(tmp_path))
    for result in results.values():
        assert result["error"] == {"reason": "the arguments have no object 'event'", "retry": False}
