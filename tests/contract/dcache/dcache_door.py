"""The WebDAV door of the dCache under test, as one user, in a folder of the test's own."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from dcache_rig import DcacheUnderTest
from dcache_wire import Answer, Wire


@dataclass(frozen=True)
class Door:
    """url: of the door; folder: path of the folder; headers: how the user says who he is."""

    wire: Wire
    url: str
    folder: str
    headers: dict[str, str]

    def at(self, name: str) -> str:
        """The URL of a name in the folder."""
        return self.url + quote(self.path(name))

    def path(self, name: str) -> str:
        """The path of a name in the folder."""
        return f"{self.folder}/{name}" if name else self.folder

    def ask(
        self,
        method: str,
        name: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        late: bool = False,
        broken: bool = False,
    ) -> Answer:
        """One request about a name."""
        return self.wire.ask(method, self.at(name), {**self.headers, **(headers or {})}, body, late=late, broken=broken)

    def put(self, name: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Upload through the door."""
        answer = self.ask("PUT", name, headers, body)
        assert answer.code == 201, answer

    def put_redirected(self, name: str, body: bytes, headers: dict[str, str] | None = None, **how: bool) -> Answer:
        """Upload to the pool to which the door redirects, and the pool's answer."""
        wanted = {"Expect": "100-continue", "Content-Length": str(len(body)), **(headers or {})}
        first = self.ask("PUT", name, wanted, body, late=True)
        assert first.code == 307, first
        return self.wire.ask("PUT", first.header("location"), wanted, body, late=True, **how)

    def get(self, name: str, headers: dict[str, str] | None = None) -> Answer:
        """Read, following the redirect without the credentials."""
        answer = self.ask("GET", name, headers)
        if answer.code != 302:
            return answer
        return self.wire.ask("GET", answer.header("location"), headers or {})

    def exists(self, name: str) -> bool:
        """Whether there is such a name."""
        return self.ask("HEAD", name).code == 200

    def listing(self, name: str = "") -> str:
        """The body of a PROPFIND of depth 1."""
        answer = self.ask("PROPFIND", name, {"Depth": "1"})
        assert answer.code == 207, answer
        return answer.body.decode()


def basic(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """The header of a bearer token."""
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def opened(dcache: DcacheUnderTest, *, plain: bool = False) -> Iterator[Door]:
    """The door as the first user, with a folder that is removed at the end."""
    name, password = next(iter(dcache.users.items()))
    folder = f"{dcache.directory}/contract-{secrets.token_hex(6)}"
    door = Door(Wire(dcache.ca), str(dcache.plain) if plain else dcache.webdav, folder, basic(name, password))
    assert door.ask("MKCOL", "").code == 201
    try:
        yield door
    finally:
        door.ask("DELETE", "")
