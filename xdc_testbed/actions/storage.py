"""A storage as actions use it: files by checked content, and publishing under a final name in one step.

Clients are kept between the runs of a warm container, with their connections and their token.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from xdc_testbed.actions.outcome import ActionFailed
from xdc_testbed.clients.digests import Content
from xdc_testbed.clients.errors import NotFound, StorageError
from xdc_testbed.clients.remote_file import RemoteFile
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.clients.webdav import Stat, WebDav
from xdc_testbed.errors import XdcError

log = logging.getLogger(__name__)

_EXISTS = frozenset({405, 409, 412, 500})


@dataclass(frozen=True)
class Access:
    """Who the actions are. scope: space-separated WLCG scopes; client_secret never appears in a
    representation.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    ca_file: str
    scope: str

    def token(self) -> str:
        """A valid token; asked for again only when the last one nears its end."""
        return _tokens(self).token()


class Storage:
    """One storage. dav: the client, for everything that is not about publishing."""

    def __init__(self, dav: WebDav) -> None:
        self.dav = dav
        self._folders: set[str] = set()

    def stat(self, path: str) -> Content | None:
        """Size and Adler-32 of a file, None when it is not there. The checksum is empty where the storage has
        none.
        """
        try:
            found: Stat = self.dav.head(path)
        except NotFound:
            return None
        return Content(found.size, found.checksums.get("adler32", ""))

    def names(self, path: str) -> list[str]:
        """Names of the files in a folder, sorted; none when it is not there."""
        try:
            return sorted(entry.name for entry in self.dav.list(path) if not entry.is_directory)
        except NotFound:
            return []

    def fetch(self, path: str, file: Path, expected: Content) -> Content:
        """Download and compare with what the storage said. Raises ActionFailed when they differ."""
        content = self.dav.receive(path, file)
        require_same(f"{path} as downloaded", content, expected)
        return content

    def send(self, path: str, data: bytes | Path) -> Content:
        """Upload and compare with what the storage then says of the file. Raises ActionFailed when they
        differ.
        """
        content = self.dav.put(path, data)
        require_same(f"{path} as stored", self.stat(path), content)
        return content

    def open(self, path: str) -> RemoteFile:
        """A file to be read by ranges. Raises NotFound."""
        return RemoteFile(self.dav, path)

    def receive(self, path: str, size: int, parts: Iterator[memoryview]) -> None:
        """Upload bytes that come one after the other; what was begun is removed when that fails."""
        with self.removing(path):
            self.dav.upload(path, size, parts)

    def publish(self, part: str, final: str) -> None:
        """Give a complete file its final name, replacing what has it.

        Some storages refuse to replace by MOVE (XRootD: the target exists); there the old file goes first.
        """
        try:
            self.dav.move(part, final)
        except StorageError as error:
            if error.status not in _EXISTS or not self.dav.exists(final):
                raise
            self.dav.delete(final)
            self.dav.move(part, final)

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it, below the first one, which is the storage's own."""
        if path in self._folders:
            return
        for folder in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)][2:]:
            self.dav.mkcol(str(folder))
        self._folders.add(path)

    def forget_folders(self) -> None:
        """Look again next time; after a failure a folder may have gone."""
        self._folders.clear()

    @contextmanager
    def removing(self, part: str) -> Iterator[None]:
        """When the block fails, remove the unfinished file; that this fails too is logged, not raised."""
        try:
            yield
        except BaseException:
            self.forget_folders()
            try:
                self.dav.delete(part)
            except NotFound:
                pass  # it never came to be
            except XdcError as error:
                log.warning("residue %s is left: %s", part, error.message)
            raise


def open_storage(url: str, access: Access) -> Storage:
    """The storage at this URL; the same object while the container lives."""
    return _storage(url, access)


def require_same(what: str, have: Content | None, want: Content) -> None:
    """Compare size and, where both sides know it, Adler-32. Raises ActionFailed, to be retried."""
    if have is None:
        raise ActionFailed(f"{what} is not there", retry=True)
    if have.size != want.size:
        raise ActionFailed(f"size of {what} is {have.size}, expected {want.size}", retry=True)
    if have.adler32 and want.adler32 and have.adler32 != want.adler32:
        raise ActionFailed(f"adler32 of {what} is {have.adler32}, expected {want.adler32}", retry=True)


@cache
def _tokens(access: Access) -> TokenSource:
    return TokenSource(access.issuer, access.client_id, access.client_secret, access.ca_file, access.scope)


@cache
def _storage(url: str, access: Access) -> Storage:
    return Storage(WebDav(url, ca_file=access.ca_file, token=access.token))
