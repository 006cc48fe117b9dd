"""Who asks the door for what: login, the path of a request, and whether it is allowed."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from ..config import Config
from ..entries import BadName, Entry, NotADirectory, NotFound, clean
from ..http1 import Request, Response
from ..identity import Identity, LoginFailed
from ..namespace import Namespace
from ..subject import Subject, permits
from ..web import plain

READ, WRITE, EXECUTE = 4, 2, 1


class Refused(Exception):
    """A request that is not carried out; response: what the client is told."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_line)
        self.response = response


@dataclass(frozen=True, slots=True)
class Call:
    """A request with what is known of it. path: absolute and clean; base: `scheme://host` as the client called it."""

    request: Request
    subject: Subject
    path: str
    query: dict[str, list[str]]
    base: str

    @property
    def method(self) -> str:
        """Of the request."""
        return self.request.method

    def header(self, name: str) -> str | None:
        """A header by its lower-case name."""
        return self.request.headers.get(name)

    def forbidden(self) -> Refused:
        """The refusal of one who is known and may not."""
        return Refused(plain(403, f"Permission denied for {self.method} on path {self.path}"))

    def not_found(self, path: str | None = None) -> Refused:
        """The refusal for a path that is not there."""
        return Refused(plain(404, f"Path not found: {path or self.path}"))


class Access:
    """Logs requests in and checks permissions."""

    def __init__(self, config: Config, namespace: Namespace, identity: Identity) -> None:
        self._config = config
        self._namespace = namespace
        self._identity = identity

    def call(self, request: Request) -> Call:
        """The request with its user. Raises Refused."""
        parts = urlsplit(request.target)
        query = parse_qs(parts.query, keep_blank_values=True)
        secure = request.connection.secure
        try:
            path = clean(unquote(parts.path, errors="strict"))
            subject = self._identity.login(
                request.headers,
                client_certificate=request.certificate(),
                origin=request.client,
                bearer=query.get("authz", [None])[0],
                secure=secure,
            )
        except (BadName, UnicodeDecodeError):
            raise Refused(plain(400, f"Received a bad {request.method} request.")) from None
        except LoginFailed as failed:
            raise Refused(Response(failed.status, headers=list(failed.headers.items()), reason=failed.text)) from failed
        if subject.anonymous and self._anonymous_is_refused(request.method):
            raise Refused(self.login_needed())
        host = request.headers.get("host") or f"{self._config.host}:{request.connection.local[1]}"
        return Call(request, subject, path, query, f"{'https' if secure else 'http'}://{host}")

    def login_needed(self, reason: str = "login failed") -> Response:
        """The answer to one who must say who he is."""
        return Response(401, headers=list(self._identity.challenge.items()), reason=reason)

    def existing(self, call: Call, activity: str, bits: int) -> Entry:
        """The entry of the call's path, when its subject may do the activity and has bits on it. Raises Refused."""
        line = self._walk(call, call.path)
        if not call.subject.may(activity, call.path):
            raise call.forbidden()
        if line[-1].path != call.path:
            raise call.not_found()
        if not permits(call.subject, line[-1], bits):
            raise call.forbidden()
        return line[-1]

    def parent(self, call: Call, activity: str, path: str | None = None) -> list[Entry]:
        """The entries down to a path of which the last existing directory may be written to. Raises Refused."""
        path = path or call.path
        line = self._walk(call, path)
        if not call.subject.may(activity, path):
            raise call.forbidden()
        directories = [entry for entry in line if entry.is_dir and entry.path != path]
        if not permits(call.subject, directories[-1], WRITE | EXECUTE):
            raise call.forbidden()
        return line

    def writable_parent(self, subject: Subject, path: str, activity: str) -> bool:
        """Whether the subject may make path, whose directory exists. Raises NotFound, NotADirectory."""
        above = posixpath.dirname(path)
        line = self._namespace.line(above)
        if line[-1].path != above:
            raise NotFound(above)
        if not line[-1].is_dir:
            raise NotADirectory(above)
        return (
            subject.may(activity, path)
            and all(permits(subject, entry, EXECUTE) for entry in line)
            and permits(subject, line[-1], WRITE)
        )

    def _walk(self, call: Call, path: str) -> list[Entry]:
        line = self._namespace.line(path)
        for entry in line[:-1] if line[-1].path == path else line:
            if not entry.is_dir:
                raise call.not_found(path)
            if not permits(call.subject, entry, EXECUTE):
                raise call.forbidden()
        return line

    def _anonymous_is_refused(self, method: str) -> bool:
        allowed = self._config.webdav.anonymous
        if allowed == "READONLY":
            return method not in {"GET", "HEAD", "OPTIONS", "PROPFIND"}
        return allowed == "NONE"
