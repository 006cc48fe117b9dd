"""What can go wrong between a client and a service.

XdcError
├── Unreachable            no answer: name, connection, TLS, or the connection ended in the middle
├── TokenRefused           the issuer answered and gave no token
└── StorageError           the storage answered, and not with what was asked for (status, body)
    ├── StorageDenied      401 and 403: no credential, or one that does not allow this
    │   └── TokenNotValid  the same, and the token sent is not valid yet or no longer
    ├── NotFound           404
    └── AlreadyExists      412: the destination is there and overwriting was not allowed
"""

from __future__ import annotations

from xdc_testbed import redaction
from xdc_testbed.clients.token_times import fault_of
from xdc_testbed.errors import XdcError

_BODY_SHOWN = 300  # characters of a body that go into a message


class Unreachable(XdcError):
    """No answer: unknown name, refused connection, failed TLS handshake or a connection cut short."""


class TokenRefused(XdcError):
    """The token issuer answered and gave no token. error: OAuth 2 error code, e.g. `invalid_scope`."""

    def __init__(self, message: str, *, status: int, error: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.error = error


class StorageError(XdcError):
    """The storage answered, and not with what was asked for. status: HTTP, 0 for root://; body: its text."""

    def __init__(self, message: str, *, status: int = 0, body: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.body = body


class StorageDenied(StorageError):
    """No credential, or one that does not allow this."""


class TokenNotValid(StorageDenied):
    """The token that was sent is not valid yet, or no longer: the message says since when or until when."""


class NotFound(StorageError):
    """The path is not there."""


class AlreadyExists(StorageError):
    """The destination is there, and overwriting was not allowed."""


def storage_error(what: str, status: int, body: str, *, authorization: str | None = None) -> StorageError:
    """The error for an HTTP answer of a storage. what: method and URL, without credentials; authorization: the
    header that was sent, of which nothing but the dates is told.
    """
    shown = redaction.text(" ".join(body.split()))[:_BODY_SHOWN]  # a storage may repeat the token that it refuses
    message = f"{what}: HTTP {status}" + (f": {shown}" if shown else "")
    match status:
        case 401 | 403 if fault := _dates(authorization):
            return TokenNotValid(
                f"{message}: {fault}",
                status=status,
                body=body,
                remedy="set the clocks of the issuer and of this node",
            )
        case 401 | 403:
            return StorageDenied(
                message,
                status=status,
                body=body,
                remedy="check the token's scopes or the certificate's mapping",
            )
        case 404:
            return NotFound(message, status=status, body=body)
        case 412:
            return AlreadyExists(message, status=status, body=body)
        case _:
            return StorageError(message, status=status, body=body)


def unreachable(method: str, url: str, error: Exception) -> Unreachable:
    """The error for a request that got no answer."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"{method} {without_query(url)}: {reason}", remedy="is it up, and is its name known here?")


def without_query(url: str) -> str:
    """A URL for a message: redirecting storages carry capabilities in the query."""
    return url.partition("?")[0]


def _dates(authorization: str | None) -> str | None:
    """What is wrong with the dates of a bearer token."""
    scheme, _, token = (authorization or "").partition(" ")
    return fault_of(token) if scheme.lower() == "bearer" else None
