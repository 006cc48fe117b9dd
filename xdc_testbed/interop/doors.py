"""One way into a storage: what https and root:// have in common, so that a case can be asked over both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.clients.xroot import Xroot
from xdc_testbed.interop.outcome import Skip


class Door(Protocol):
    """Files of one endpoint over one protocol with one credential. Errors are those of the clients."""

    client: str

    def put(self, path: str, data: bytes) -> None:
        """Write a file, replacing one that is there."""

    def get(self, path: str) -> bytes:
        """The bytes of a file."""

    def size(self, path: str) -> int:
        """The size that the storage tells."""

    def adler32(self, path: str) -> str:
        """The checksum that the storage tells, 8 hex digits; empty when it tells none."""

    def delete(self, path: str) -> None:
        """Remove a file."""


class HttpsDoor:
    """The https door, by the kit's WebDAV client."""

    client = "xdc-testbed webdav"

    def __init__(self, webdav: WebDav) -> None:
        self._webdav = webdav

    def put(self, path: str, data: bytes) -> None:
        self._webdav.put(path, data)

    def get(self, path: str) -> bytes:
        return self._webdav.get(path)

    def size(self, path: str) -> int:
        return self._webdav.head(path, digest=None).size

    def adler32(self, path: str) -> str:
        return self._webdav.head(path).checksums.get("adler32", "")

    def delete(self, path: str) -> None:
        self._webdav.delete(path)


class RootDoor:
    """The root:// door, by XRootD's own command line tools."""

    client = "xrdcp"

    def __init__(self, xroot: Xroot) -> None:
        self._xroot = xroot

    @classmethod
    def open(
        cls,
        base: str,
        *,
        token: Callable[[], str] | None,
        certificate: tuple[Path, Path] | None,
        ca_directory: Path | None,
        timeout: float,
    ) -> RootDoor:
        """The door at root://host:port. Raises Skip without a directory of authorities, which the tools
        want.
        """
        if ca_directory is None:
            raise Skip("the endpoint's credentials name no directory of authorities")
        return cls(Xroot(base, ca_directory=ca_directory, token=token, cert=certificate, timeout=timeout))

    def put(self, path: str, data: bytes) -> None:
        self._xroot.put(path, data)

    def get(self, path: str) -> bytes:
        return self._xroot.get(path)

    def size(self, path: str) -> int:
        return self._xroot.stat(path).size

    def adler32(self, path: str) -> str:
        return self._xroot.checksum(path)

    def delete(self, path: str) -> None:
        self._xroot.rm(path)

    def copy(self, path: str, destination_url: str, *, overwrite: bool) -> None:
        """Third-party copy to a URL: the destination reads from here, and both checksums are compared."""
        self._xroot.tpc(path, destination_url, overwrite=overwrite)
