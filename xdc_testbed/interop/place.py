"""One endpoint during a run: its doors by protocol and credential, and the folders that cases work in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from xdc_testbed.clients.digests import adler32
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.interop import capabilities
from xdc_testbed.interop.credentials import Wallet
from xdc_testbed.interop.doors import Door, HttpsDoor, RootDoor
from xdc_testbed.interop.outcome import Skip, require
from xdc_testbed.interop.wire import Wire

_LASTING = frozenset({"token", "x509", "anonymous", "stranger"})  # the same for every folder


class Place:
    """An endpoint, its credentials and its doors. origin: the place behind a cache, which is written
    instead of it.
    """

    def __init__(self, endpoint: Endpoint, wallet: Wallet, *, timeout: float, origin: Place | None = None) -> None:
        self.endpoint = endpoint
        self.wallet = wallet
        self.origin = origin
        self._timeout = timeout
        self._kept: dict[str, WebDav] = {}
        self._roots: dict[str, RootDoor] = {}
        self._lock = threading.Lock()

    @property
    def writable(self) -> Place:
        """Where files for this place are put: itself, or the origin of a cache."""
        return self if self.origin is None else self.origin.writable

    def base(self, protocol: str) -> str:
        """Scheme, host and port of a protocol. Raises Skip."""
        url = self.endpoint.urls.get(protocol)
        if url is None:
            raise Skip(f"{self.endpoint.id} has no {protocol} door")
        return url.rstrip("/")

    def admin(self) -> WebDav:
        """The https door with a credential that may do everything."""
        held = self.endpoint.credentials
        return self.webdav(capabilities.TOKEN if held.issuer and held.client_secret_file else capabilities.X509)

    def door(self, protocol: str, credential: str, folder: str = "/") -> Door:
        """The door of a protocol, opened with a credential for a folder. Raises Skip."""
        if protocol == "https":
            return HttpsDoor(self.webdav(credential, folder))
        return self.root(credential, folder)

    def root(self, credential: str, folder: str = "/") -> RootDoor:
        """The root:// door; a credential that serves every folder is opened once. Raises Skip."""
        with self._lock:
            kept = self._roots.get(credential)
        if kept is not None:
            return kept
        opened = RootDoor.open(
            self.base("root"),
            token=self.wallet.token(credential, folder),
            certificate=self.wallet.certificate(credential),
            ca_directory=self.wallet.ca_directory,
            timeout=self._timeout,
        )
        if credential in _LASTING:
            with self._lock:
                opened = self._roots.setdefault(credential, opened)
        return opened

    def webdav(self, credential: str, folder: str = "/") -> WebDav:
        """The https door as the WebDAV client; a credential that serves every folder is opened once. Raises
        Skip.
        """
        with self._lock:
            kept = self._kept.get(credential)
        if kept is not None:
            return kept
        opened = WebDav(
            self.base("https"),
            ca_file=self.wallet.ca,
            token=self.wallet.token(credential, folder),
            cert=self.wallet.certificate(credential),
            timeout=self._timeout,
        )
        if credential in _LASTING:
            with self._lock:
                opened = self._kept.setdefault(credential, opened)
        return opened

    def webdav_with(self, token: str) -> WebDav:
        """The https door with a given bearer token or macaroon."""
        return WebDav(self.base("https"), ca_file=self.wallet.ca, token=_always(token), timeout=self._timeout)

    def wire(self, credential: str, folder: str = "/") -> Wire:
        """Single requests with a credential. Raises Skip."""
        return Wire(
            self.base("https"),
            ca=self.wallet.ca,
            token=self.wallet.token(credential, folder),
            certificate=self.wallet.certificate(credential),
            timeout=self._timeout,
        )

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            for door in self._kept.values():
                door.close()
            self._kept.clear()


class Folder:
    """Where one case works at one place. path: absolute, the case's own; made and removed by the runner."""

    def __init__(self, place: Place, path: str) -> None:
        self.place = place
        self.path = path
        self._named: set[str] = set()

    @property
    def id(self) -> str:
        """The endpoint's id, for sentences."""
        return self.place.endpoint.id

    def file(self, name: str) -> str:
        """The path of a file that this case may leave; any other file found afterwards is residue."""
        self._named.add(name)
        return f"{self.path}/{name}"

    def put(self, name: str, data: bytes) -> str:
        """Put a file, at the origin of a cache, with a credential that may; returns its path."""
        path = self.file(name)
        self.place.writable.admin().put(path, data)
        return path

    def url(self, path: str) -> str:
        """The https URL of a path here, quoted."""
        return self.place.admin().url(path)

    def exists(self, path: str) -> bool:
        """Whether a path is there, at the origin of a cache."""
        return self.place.writable.admin().exists(path)

    def require_absent(self, path: str, after: str) -> None:
        """Raise Wrong when something is left at a path after something that failed."""
        try:
            left = self.place.writable.admin().head(path, digest=None)
        except NotFound:
            return
        require(False, f"residue: {left.size} bytes are left at {self.id} after {after}")

    def require_content(self, path: str, data: bytes) -> None:
        """Raise Wrong unless the file is there with exactly these bytes, and its checksum is told right."""
        door = self.place.writable.admin()
        found = door.get(path)
        require(found == data, f"the file at {self.id} differs: {difference(found, data)}")
        told = door.head(path).checksums.get("adler32")
        require(
            told == adler32(data),
            f"{self.id} tells adler32 {told or 'nothing'} for bytes whose adler32 is {adler32(data)}",
        )

    def make(self) -> None:
        """Make the folder."""
        self.place.writable.admin().mkcol(self.path)

    def remove(self) -> list[str]:
        """Remove the folder and everything in it; returns the names that the case had not named: residue."""
        found = remove_tree(self.place.writable.admin(), self.path)
        return sorted(name for name in found if name not in self._named)


def remove_tree(door: WebDav, path: str) -> list[str]:
    """Remove a directory with all that is in it; returns the paths of the files, relative to it. Absent is
    fine.
    """
    try:
        entries = door.list(path)
    except NotFound:
        return []
    removed = []
    for entry in entries:
        if entry.is_directory:
            removed += [f"{entry.name}/{inner}" for inner in remove_tree(door, f"{path}/{entry.name}")]
        else:
            door.delete(f"{path}/{entry.name}")
            removed.append(entry.name)
    door.delete(path)
    return removed


def tree(door: WebDav, path: str) -> Iterator[str]:
    """Every path below a directory, with the size of files; nothing when it is absent."""
    try:
        entries = door.list(path)
    except NotFound:
        return
    for entry in entries:
        inner = f"{path}/{entry.name}"
        if entry.is_directory:
            yield inner + "/"
            yield from tree(door, inner)
        else:
            yield f"{inner} {entry.size}"


def difference(found: bytes, wanted: bytes) -> str:
    """Where two contents part, for a message."""
    if len(found) != len(wanted):
        return f"{len(found)} bytes instead of {len(wanted)}"
    if found == wanted:
        return "no byte"
    first = next(index for index, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1])
    return f"first at byte {first} of {len(wanted)}"


def _always(value: str) -> Callable[[], str]:
    return lambda: value
