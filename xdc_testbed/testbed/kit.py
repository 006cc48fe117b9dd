"""The kit as the nodes get it: one reproducible archive of this package, and the list of what it depends on."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from importlib import metadata
from pathlib import Path

import xdc_testbed
from xdc_testbed.testbed.state import write_private

_PACKAGE = Path(xdc_testbed.__file__).resolve().parent
_NODE_EXTRAS = ("calibration", "emulators", "events", "interop")


def archive(folder: Path) -> tuple[Path, str]:
    """Write `xdc-testbed-<hash>.tar.gz` of the package's Python files and data. Returns its path and hash (12 hex).

    The same sources give the same bytes. The controller's content (_content) and plugins stay out.
    """
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w") as bundle,
    ):
        for path in sorted(_PACKAGE.rglob("*")):
            relative = path.relative_to(_PACKAGE.parent)
            if path.is_dir() or "__pycache__" in relative.parts or relative.parts[1] in ("_content", "ansible_plugins"):
                continue
            entry = tarfile.TarInfo(str(relative))
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o755 if os.access(path, os.X_OK) else 0o644
            bundle.addfile(entry, io.BytesIO(data))
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:12]
    target = folder / f"xdc-testbed-{digest}.tar.gz"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("xdc-testbed-*.tar.gz"):
            old.unlink()
        write_private(target, data, 0o644)
    return target, digest


def requirements() -> list[str]:
    """What pip has to install on a node, as requirement lines, from this distribution's metadata."""
    lines: set[str] = set()
    for requirement in metadata.requires("xdc-testbed") or []:
        text, _, marker = requirement.partition(";")
        wanted = not marker or any(f"extra == '{extra}'" in marker.replace('"', "'") for extra in _NODE_EXTRAS)
        if wanted and not text.startswith(("xdc-testbed", "xdc_testbed")):
            lines.add(text.strip())
    return sorted(lines)
