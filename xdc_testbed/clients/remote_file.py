"""A file on a storage as something to read from at any place, which tells when it is no longer the same."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.webdav import WebDav


class RemoteFile:
    """One file as it is now; usable from several threads. Raises as WebDav.

    size: bytes; adler32: as the storage says, empty where it has none.
    """

    def __init__(self, dav: WebDav, path: str) -> None:
        self._dav, self._path = dav, path
        self._stat = dav.head(path)
        self.name = PurePosixPath(path).name
        self.size = self._stat.size
        self.adler32 = self._stat.checksums.get("adler32", "")

    def read_into(self, at: int, room: memoryview) -> None:
        """Fill all of the room with the bytes from `at` on."""
        self._dav.read_into(self._path, at, room)

    def unchanged(self) -> bool:
        """Whether the file still has the size, times, tag and checksum that it had."""
        try:
            return self._dav.head(self._path) == self._stat
        except NotFound:
            return False
