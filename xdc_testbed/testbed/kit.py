"""The kit as the nodes get it: one reproducible archive of this package, and the list of what it depends on."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import xdc_testbed
from xdc_testbed.testbed.state import write_private

_PACKAGE = Path(xdc_testbed.__file__).resolve().parent
_NODE_EXTRAS = ("calibration", "emulators", "events", "interop")


def archive(folder: Path) -> tuple[Path, str]:
    """Write `xdc-testbed-<hash>.tar.gz` of the package's Python files and data, below a folder named by the hash.

    Returns its path and hash (12 hex digits). The same sources give the same bytes. What only the controller needs
    (_content, ansible_plugins) stays out.
    """
    files = {
        path.relative_to(_PACKAGE.parent): path.read_bytes() for path in sorted(_PACKAGE.rglob("*")) if _wanted(path)
    }
    digest = hashlib.sha256(b"".join(str(name).encode() + b"\0" + data for name, data in files.items())).hexdigest()[
        :12
    ]
    target = folder / f"xdc-testbed-{digest}.tar.gz"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("xdc-testbed-*.tar.gz"):
            old.unlink()
        write_private(target, _packed(digest, files), 0o644)
    return target, digest


def _wanted(path: Path) -> bool:
    relative = path.relative_to(_PACKAGE)
    return (
        path.is_file()
        and "__pycache__" not in relative.parts
        and relative.parts[0] not in ("_content", "ansible_plugins")
    )


def _packed(top: str, files: Mapping[Path, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w") as bundle,
    ):
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = len(data), 0o644
            bundle.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def requirements() -> list[str]:
    """What pip has to install on a node, as requirement lines, from this distribution's metadata."""
    lines: set[str] = set()
    for requirement in metadata.requires("xdc-testbed") or []:
        text, _, marker = requirement.partition(";")
        wanted = not marker or any(f"extra == '{extra}'" in marker.replace('"', "'") for extra in _NODE_EXTRAS)
        if wanted and not text.startswith(("xdc-testbed", "xdc_testbed")):
            lines.add(text.strip())
    return sorted(lines)
