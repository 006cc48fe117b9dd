"""Constants kept on the node that runs the functions: a folder per content, so that a file there never
changes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xdc_testbed.actions.storage import Storage
from xdc_testbed.calibration import ConstantsMissing
from xdc_testbed.calibration.detector import Module
from xdc_testbed.calibration.versions import begin_of
from xdc_testbed.clients.digests import Content

KEPT = 64
"""Files of constants kept; the ones unused for longest go first."""


@dataclass(frozen=True)
class ConstantsCache:
    """root: a folder of this user alone."""

    root: Path

    @classmethod
    def at(cls, folder: object = None) -> ConstantsCache:
        """The cache in this folder, by default in one of the user's own below the temporary folder."""
        if isinstance(folder, str) and folder:
            root = Path(folder)
        else:
            root = Path(tempfile.gettempdir()) / f"xdc-constants-{os.getuid()}"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.is_symlink() or root.stat().st_uid != os.getuid():  # somebody else's: not to be trusted
            root = Path(tempfile.mkdtemp(prefix="xdc-constants-"))
        return cls(root)

    @property
    def packed(self) -> Path:
        """Where constants are kept as the kernels read them; it looks after its own size."""
        return self.root / ".packed"

    def file(self, name: str, content: Content, fetch: Callable[[Path], object]) -> Path:
        """The file `name` with this content; `fetch` writes it when it is not there yet.

        The file appears by a rename, so that several functions at once do no harm.
        """
        folder = self.root / f"{content.adler32 or 'unknown'}-{content.size}"
        file = folder / name
        if content.adler32 and file.is_file() and file.stat().st_size == content.size:
            os.utime(folder)
            return file
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent)
        os.close(handle)
        try:
            fetch(Path(part))
            Path(part).replace(file)
        finally:
            Path(part).unlink(missing_ok=True)
        self._shrink()
        return file

    def _shrink(self) -> None:
        kept = [folder for folder in self.root.iterdir() if folder != self.packed]
        folders = sorted(kept, key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in folders[KEPT:]:
            shutil.rmtree(folder, ignore_errors=True)  # another function may be doing the same


def gather(storage: Storage, place: str, module: Module, cache: ConstantsCache, folder: Path) -> None:
    """Put every version of a module's constants below `folder`. place: path on the storage that constants are below.

    Each is downloaded once. Raises ConstantsMissing when there is none.
    """
    below = module.constants_folder
    (folder / below).mkdir(parents=True, exist_ok=True)
    found = False
    for name in storage.names(f"{place}/{below}"):
        path = f"{place}/{below}/{name}"
        content = storage.stat(path) if begin_of(name) else None
        if content is None:
            continue  # something else, or gone since it was listed
        kept = cache.file(f"{below}/{name}", content, partial(storage.fetch, path, expected=content))
        (folder / below / name).unlink(missing_ok=True)
        (folder / below / name).symlink_to(kept)
        found = True
    if not found:
        raise ConstantsMissing(
            f"constants are missing: {place}/{below}/cal.<begin of validity>.h5",
            remedy="put them there, or make darks",
        )
