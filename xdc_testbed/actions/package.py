"""Build the archive of the actions: one zip with `__main__.py` and those modules of the kit that it leads to.

The same sources give the same bytes: entries are sorted, dated 1980 and stored uncompressed. The native
calibration kernels go along where they are built. The archive needs an interpreter with numpy, h5py, isal, xxhash,
httpx2 and pydantic; the kit itself need not be installed there.
"""

from __future__ import annotations

import ast
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

KIT = "xdc_testbed"
ENTRY = f"{KIT}.actions.entry"
NATIVE = f"{KIT}.calibration.native"
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16


@dataclass(frozen=True)
class Archive:
    """code: the zip; modules: names of what is in it, sorted; native: whether the compiled kernels go along."""

    code: bytes
    modules: tuple[str, ...]
    native: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.code).hexdigest()

    def write(self, file: Path) -> None:
        """Put it into a file, whole or not at all. Raises OSError."""
        part = file.with_name(f"{file.name}.part")
        try:
            part.write_bytes(self.code)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


def build() -> Archive:
    """The archive of the kit that is running."""
    modules = _reached(ENTRY)
    entries = {_entry_name(name): _source(name) for name in modules} | {"__main__.py": _source(ENTRY)}
    entries |= _kernels() if NATIVE in modules else {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = _MODE
            info.create_system = 3  # Unix, whatever builds it
            archive.writestr(info, entries[name])
    native = any(name.endswith(".so") for name in entries)
    return Archive(buffer.getvalue(), tuple(sorted(modules)), native)


def _kernels() -> dict[str, bytes]:
    """The native kernels, where they are built, and their sources, which the version of the code counts."""
    folder = files(NATIVE)
    return {
        f"{NATIVE.replace('.', '/')}/{file.name}": file.read_bytes()
        for file in folder.iterdir()
        if file.name.endswith((".so", ".c", ".h"))
    }


def _reached(start: str) -> set[str]:
    """All modules of the kit that importing `start` and calling its functions can import, with their
    packages.
    """
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found or _find(name) is None:
            continue
        found.add(name)
        waiting += [parent for parent, _, _ in _parents(name)]
        waiting += _imports(_source(name))
    return found


def _imports(source: bytes) -> Iterator[str]:
    """Names in import statements, at any depth; for `from a import b` both `a` and `a.b`, which may be a
    module.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)


def _parents(name: str) -> Iterator[tuple[str, str, str]]:
    while "." in name:
        parts = name.rpartition(".")
        yield parts
        name = parts[0]


def _find(name: str) -> Traversable | None:
    """The file of a module of the kit; None for anything else."""
    package, *rest = name.split(".")
    if package != KIT:
        return None
    place = files(KIT).joinpath(*rest)
    for candidate in (
        place.joinpath("__init__.py"),
        files(KIT).joinpath(*rest[:-1], f"{(rest or [''])[-1]}.py"),
    ):
        if candidate.is_file():
            return candidate
    return None


def _source(name: str) -> bytes:
    file = _find(name)
    assert file is not None  # noqa: S101  (only names that were found are read)
    return file.read_bytes()


def _entry_name(name: str) -> str:
    file = _find(name)
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if file is not None and file.name == "__init__.py" else f"{path}.py"
