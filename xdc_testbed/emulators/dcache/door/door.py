"""One WebDAV door: finds the method's function, and answers for what goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType

from .. import records
from ..billing import Billing
from ..config import Config
from ..entries import Entry, NamespaceError
from ..http1 import ConnectionLost, Request
from ..identity import Identity
from ..namespace import Namespace
from ..pool.mover import Pool
from ..records import Status, Transfer
from ..web import answer, plain, server_name
from . import macaroon_requests, reading, tpc, writing
from .access import Access, Call, Refused

_log = logging.getLogger(__name__)
Method = Callable[["Door", Call], bool]
Stager = Callable[[Entry], Entry]


@dataclass(slots=True)
class Door:
    """Both doors, the encrypted and the plain one. stager: brings a file back from tape, and returns it when it is
    there; ports: secure -> port of the pool for clients of that door."""

    config: Config
    namespace: Namespace
    identity: Identity
    pool: Pool
    billing: Billing
    stager: Stager | None = None
    ports: dict[bool, int] = field(default_factory=dict)

    @property
    def access(self) -> Access:
        """Login and permissions."""
        return Access(self.config, self.namespace, self.identity)

    @property
    def server(self) -> str:
        """The Server header."""
        return server_name(self.config)

    def cell(self, secure: bool) -> str:
        """The name of the door in records."""
        plain_name = self.config.door_cell
        return plain_name.replace("WebDAV-", "WebDAV-S-", 1) if secure else plain_name

    def pool_url(self, secure: bool) -> str:
        """Where the movers listen."""
        return f"{'https' if secure else 'http'}://{self.config.host}:{self.ports[secure]}"

    def transfer(self, call: Call, *, is_write: bool, protocol: str) -> Transfer:
        """A new transfer in the name of a caller."""
        cell = self.cell(call.request.connection.secure)
        domain = self.config.domain
        return Transfer(
            door=cell,
            domain=domain,
            session=records.door_session(cell, domain),
            subject=call.subject,
            path=call.path,
            client=call.request.client,
            is_write=is_write,
            protocol=protocol,
            host=call.request.client,
            port=call.request.connection.peer[1],
        )

    def stage(self, call: Call, entry: Entry) -> Entry:
        """Wait until a file that is on tape only is in the pool again. Raises Refused."""
        if self.stager is None or not entry.on_tape:
            self.billing.warned("PoolManager", Status(10025, f"No read pools online for {entry.path}"))
            raise Refused(plain(500, f"No read pools online for {entry.path}"))
        if not call.subject.may("STAGE", call.path):
            raise call.forbidden()
        return self.stager(entry)

    def handle(self, request: Request) -> bool:
        """Answer one request."""
        try:
            return METHODS.get(request.method, _unknown)(self, self.access.call(request))
        except Refused as refused:
            return answer(request, refused.response, self.server)
        except ConnectionLost:
            raise
        except NamespaceError as error:
            _log.warning("%s failed: %s", request.method, type(error).__name__)
            return answer(request, plain(409, f"Received a bad {request.method} request."), self.server)
        except Exception:
            _log.exception("%s failed inside the emulator", request.method)
            return answer(request, plain(500, "Internal problem with server"), self.server)


def _unknown(door: Door, call: Call) -> bool:
    return answer(call.request, plain(501, f"Method {call.method} is not implemented."), door.server)


METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {
        "GET": reading.get,
        "HEAD": reading.head,
        "OPTIONS": reading.options,
        "PROPFIND": reading.propfind,
        "PUT": writing.put,
        "MKCOL": writing.mkcol,
        "DELETE": writing.delete,
        "MOVE": writing.move,
        "COPY": tpc.copy,
        "POST": macaroon_requests.post,
    }
)
