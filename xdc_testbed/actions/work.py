"""What an action is asked to do: the storage event, where storages are, and with which credential.

Parameters bound to the package: issuer, client_id, client_secret, ca_pem, endpoints {id: {protocol: url}}, and
storage_credentials {id: {issuer, client_id, client_secret}} for storages that trust another issuer.
Given by the caller: event (a StorageEvent as JSON), work_id, and the parameters of the rule.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from xdc_testbed.actions.outcome import ActionFailed, Arguments
from xdc_testbed.actions.storage import Access, Storage, open_storage

SCOPE = "storage.read:/data storage.modify:/data/proc storage.modify:/data/catalogue"
_SPARE = 2.0  # seconds kept back from the deadline to say what happened


@dataclass(frozen=True)
class Work:
    """One piece of work.

    path: of the file on `endpoint`; size, adler32: as the event says, None where it does not; work_id: the
    same for every try.
    """

    endpoint: str
    path: str
    size: int | None
    adler32: str | None
    work_id: str
    arguments: Arguments

    @classmethod
    def read(cls, arguments: Arguments) -> Work:
        """Take the work out of the arguments. Raises ActionFailed, final, when they are not complete."""
        event = _mapping(arguments, "event")
        data = _mapping(event, "data")
        checksums = data.get("checksums") or {}
        size = data.get("size")
        return cls(
            endpoint=_text(data, "endpoint"),
            path=_text(event, "subject"),
            size=size if isinstance(size, int) else None,
            adler32=checksums.get("adler32") if isinstance(checksums, dict) else None,
            work_id=_text(arguments, "work_id"),
            arguments=arguments,
        )

    def storage(self, endpoint: str | None = None) -> Storage:
        """The storage of an endpoint, by default of the one with the file. Raises ActionFailed for an unknown
        one.
        """
        name = endpoint or self.endpoint
        return open_storage(self.url(name, "https"), self.access(name))

    def url(self, endpoint: str, protocol: str) -> str:
        """Where an endpoint speaks a protocol. Raises ActionFailed where the actions know of none."""
        urls = _mapping(self.arguments, "endpoints").get(endpoint)
        if not isinstance(urls, dict):
            raise ActionFailed(f"endpoint {endpoint} is not among those of the actions", retry=False)
        if not isinstance(urls.get(protocol), str):
            raise ActionFailed(f"endpoint {endpoint} has no {protocol} URL for the actions", retry=False)
        return str(urls[protocol])

    def token(self) -> str:
        """A token that reads this work's file, for a storage that fetches it by itself."""
        return self.access(self.endpoint).token()

    def parameter(self, name: str, default: str | None = None) -> str:
        """A parameter of the rule. Raises ActionFailed when it is missing and has no default."""
        if default is not None and name not in self.arguments:
            return default
        return _text(self.arguments, name)

    def part(self, path: str) -> str:
        """A name to write under until the content is checked; each try has its own, so that two never mix."""
        activation = os.environ.get("__OW_ACTIVATION_ID", "")[:8]
        return f"{path}.part-{self.work_id}" + (f"-{activation}" if activation else "")

    def access(self, endpoint: str) -> Access:
        """The credential of the actions at an endpoint."""
        own = self.arguments.get("storage_credentials")
        held = own[endpoint] if isinstance(own, dict) and isinstance(own.get(endpoint), dict) else self.arguments
        return Access(
            issuer=_text(held, "issuer"),
            client_id=_text(held, "client_id"),
            client_secret=_text(held, "client_secret"),
            ca_file=_ca_file(_text(self.arguments, "ca_pem")),
            scope=self.parameter("scope", SCOPE),
        )


def seconds_left(at_most: float) -> float:
    """Seconds until the platform ends this activation, less a little to answer in; at least 1.

    Source: OpenWhisk sets `__OW_DEADLINE`, epoch milliseconds as a string.
    """
    try:
        left = int(os.environ.get("__OW_DEADLINE", "")) / 1000 - time.time() - _SPARE
    except ValueError:
        return at_most
    return max(1.0, min(at_most, left))


@cache
def _ca_file(pem: str) -> str:
    """The authorities as a file of this container: an OpenWhisk that is not the testbed's has none of its files."""
    descriptor, name = tempfile.mkstemp(prefix="xdc-ca-", suffix=".pem")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{pem}\n")
    return name


def _mapping(holder: Arguments, name: str) -> dict[str, Any]:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise ActionFailed(f"the arguments have no object {name!r}", retry=False)
    return value


def _text(holder: Arguments, name: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str) or not value:
        raise ActionFailed(f"the arguments have no text {name!r}", retry=False)
    return value
