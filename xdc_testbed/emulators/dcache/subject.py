"""Who asks, and what their credential and the mode bits of an entry let them do."""

from __future__ import annotations

import posixpath
import time
from dataclasses import dataclass

from .entries import Entry

ACTIVITIES = frozenset({"LIST", "UPLOAD", "DOWNLOAD", "DELETE", "MANAGE", "READ_METADATA", "UPDATE_METADATA", "STAGE"})
"""What a macaroon may limit."""

_SEEN = {"LIST", "READ_METADATA"}
_SCOPES = {
    "storage.read": {"DOWNLOAD", *_SEEN},
    "storage.create": {"UPLOAD", "MANAGE", *_SEEN},
    "storage.modify": {"UPLOAD", "MANAGE", "DELETE", "UPDATE_METADATA", *_SEEN},
    "storage.stage": {"STAGE", "DOWNLOAD", *_SEEN},
}
"""WLCG Common JWT Profiles 1.0, capability -> activities, as the product maps them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the caveats of a macaroon leave. activities None: all; any of them implies READ_METADATA; paths: all of
    them must contain the path; before: seconds since 1970."""

    activities: frozenset[str] | None = None
    paths: tuple[str, ...] = ()
    before: float | None = None
    root: str = "/"
    home: str | None = None
    largest_upload: int | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """An authenticated user, or nobody. scopes: of a token, None without one; limits: of a macaroon."""

    username: str
    uid: int
    gids: tuple[int, ...]
    roles: frozenset[str] = frozenset()
    dn: str | None = None
    scopes: tuple[str, ...] | None = None
    limits: Limits | None = None
    token_id: str = ""
    """Of a macaroon: its random name and the beginning of its signature."""
    origin: str = ""
    method: str = "none"
    """How it logged in: none, basic, x509, token or macaroon."""

    @property
    def anonymous(self) -> bool:
        """Whether nobody logged in."""
        return self.uid < 0

    @property
    def gid(self) -> int:
        """The primary group, -1 for nobody."""
        return self.gids[0] if self.gids else -1

    def may(self, activity: str, path: str) -> bool:
        """Whether the credential allows the activity there; the mode bits are another question, see permits."""
        if self.scopes is not None and not any(_scope_allows(scope, activity, path) for scope in self.scopes):
            return False
        limits = self.limits
        if limits is None:
            return True
        if limits.before is not None and limits.before < time.time():
            return False
        if limits.activities is not None and activity not in limits.activities | {"READ_METADATA"}:
            return False
        return all(within(path, limit) or (activity in _SEEN and within(limit, path)) for limit in limits.paths)


NOBODY = Subject("", -1, ())


def within(path: str, top: str) -> bool:
    """Whether path is top or lies below it."""
    return top == "/" or (path + "/").startswith(top.rstrip("/") + "/")


def permits(subject: Subject, entry: Entry, bits: int) -> bool:
    """Whether the mode of an entry gives the subject all of bits (4 read, 2 write, 1 execute). Root may everything."""
    if subject.uid == 0:
        return True
    if subject.uid == entry.uid:
        granted = entry.mode >> 6
    elif entry.gid in subject.gids:
        granted = entry.mode >> 3
    else:
        granted = entry.mode
    return granted & bits == bits


def _scope_allows(scope: str, activity: str, path: str) -> bool:
    capability, _, given = scope.partition(":")
    allowed = _SCOPES.get(capability, set())
    if activity not in allowed:
        return False
    top = posixpath.normpath("/" + given.lstrip("/"))
    return within(path, top) or (activity in _SEEN and within(top, path))
