"""How long an HDF5 file says it is, read from its superblock: the one honest test for a file that was cut
off.

Source: HDF5 File Format Specification 3.0, section II.A (superblock versions 0 to 3).
"""

from __future__ import annotations

import os
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from xdc_testbed.calibration.failures import InputInvalid, InputTruncated

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# version: position of the end-of-file address, and of the byte that holds the size of an address
_LAYOUT = {0: (40, 13), 1: (44, 13), 2: (28, 9), 3: (28, 9)}


def declared_size(file: BinaryIO) -> int:
    """Bytes the file should have.

    Raises InputInvalid for something that is not HDF5, InputTruncated for an empty file.
    """
    file.seek(0)
    head = file.read(64)
    if not head:
        raise InputTruncated("input is truncated: file is empty")
    if not head.startswith(SIGNATURE[: len(head)]):
        raise InputInvalid("input is not an HDF5 file")
    if len(head) < 64:
        raise InputTruncated(f"input is truncated: file has {len(head)} bytes, its superblock is incomplete")
    position, width_at = _LAYOUT.get(head[8], (0, 0))
    if not position or head[width_at] != 8:
        raise InputInvalid(f"input is HDF5 with an unknown superblock, version {head[8]}")
    (end,) = struct.unpack_from("<Q", head, position)
    return int(end)


def require_complete(source: Path | BinaryIO) -> None:
    """Raise InputTruncated when the file is shorter than it says, and as `declared_size`."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        declared, size = declared_size(file), file.seek(0, os.SEEK_END)
    if size < declared:
        raise InputTruncated(
            f"input is truncated: file has {size} bytes, HDF5 end of file is {declared}",
            remedy="transfer the file again from where it was written",
        )
