"""Images that machines boot, kept by id: each is a file, whole or not at all. Knows nothing of nova and glance."""

import os
import time
from pathlib import Path

FOLDER = Path("/var/lib/xdc-openstack/images")


def kept(image_id, fetch):
    """The data of an image as a file. fetch: writes it to a path and looks at it, when it is not there yet."""
    path = FOLDER / image_id
    if path.is_file():
        os.utime(path)
        return path
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        fetch(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def forget(used, *, seconds):
    """Remove what nobody has used for this long, and what a fetch that was killed has left. used: files to be kept."""
    for path in FOLDER.glob("*"):
        if path not in used and path.stat().st_mtime < time.time() - seconds:
            path.unlink()
