"""What all parts of the REST interface share, and who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from ..config import Config
from ..entries import Entry
from ..identity import Identity
from ..namespace import Namespace
from ..subject import Subject, permits
from ..transitions import Transitions
from .answers import Problem
from .channels import Registrar
from .ratelimit import RateLimiter
from .watches import Watches

if TYPE_CHECKING:
    from .bulk import Requests
    from .policies import Policies

READ, WRITE, EXECUTE = 4, 2, 1


@dataclass(slots=True)
class Context:
    """The services behind the interface."""

    config: Config
    namespace: Namespace
    identity: Identity
    transitions: Transitions
    policies: Policies
    registrar: Registrar = field(init=False)
    watches: Watches = field(init=False)
    limiter: RateLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.registrar = Registrar(self.config.frontend)
        self.watches = Watches(self.namespace.changes)
        self.limiter = RateLimiter(self.config.frontend)


def context_of(request: Request) -> Context:
    """The context of the application that a request has come to."""
    found: Context = request.app.state.context
    return found


def bulk_of(request: Request) -> Requests:
    """The bulk requests of the application that a request has come to."""
    found: Requests = request.app.state.bulk
    return found


def policies_of(request: Request) -> Policies:
    """The policies of the application that a request has come to."""
    found: Policies = request.app.state.context.policies
    return found


def subject_of(request: Request) -> Subject:
    """Who asks; nobody where that is allowed."""
    found: Subject = request.scope["subject"]
    return found


def user_of(request: Request, *, media: str = "application/json") -> Subject:
    """Who asks. Raises Problem 401 for nobody; media: of that answer."""
    subject = subject_of(request)
    if subject.anonymous:
        raise Problem(401, media=media)
    return subject


def api_url(request: Request) -> str:
    """`https://<host as the client calls it>/api/v1`."""
    host = request.headers.get("host") or context_of(request).config.host
    return f"{request.url.scheme}://{host}/api/v1"


def may(subject: Subject, activity: str, entry: Entry, bits: int = 0) -> bool:
    """Whether the credential and the mode bits of an entry allow something."""
    return subject.may(activity, entry.path) and permits(subject, entry, bits)
