"""Which cases are asked of which endpoints, with which credential, protocol, direction and size. Pure: no
I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from xdc_testbed.endpoints import Endpoint
from xdc_testbed.interop import capabilities
from xdc_testbed.interop.record import size_name
from xdc_testbed.interop.registry import MIB, Case, Scope


@dataclass(frozen=True)
class Cell:
    """One case at one place with one value of every dimension; source is the only endpoint of an endpoint
    case.
    """

    case: Case
    source: Endpoint
    destination: Endpoint | None
    protocol: str
    credential: str
    direction: str | None = None
    size: int | None = None
    variant: str | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The source, and the destination of a pair."""
        return (self.source,) if self.destination is None else (self.source, self.destination)

    @property
    def destination_id(self) -> str:
        """The destination's id, empty for cases of single endpoints."""
        return "" if self.destination is None else self.destination.id

    @property
    def name(self) -> str:
        """Unique in a plan."""
        where = " → ".join(endpoint.id for endpoint in self.endpoints)
        size = None if self.size is None else size_name(self.size)
        parts = (self.protocol, self.credential, self.direction, size, self.variant)
        return f"{self.case.id} [{where}; {', '.join(part for part in parts if part)}]"


def plan(cases: Iterable[Case], endpoints: Sequence[Endpoint]) -> list[Cell]:
    """All cells of the matrix, case by case.

    A pair is ordered and of two different endpoints; a cache is never a destination, as it cannot be
    written. An endpoint takes part where it has the capabilities that the case needs, the protocol and the
    kind of
    credential.
    """
    return [cell for case in cases for places in _places(case, endpoints) for cell in _cells(case, *places)]


def _places(case: Case, endpoints: Sequence[Endpoint]) -> Iterator[tuple[Endpoint, Endpoint | None]]:
    """The endpoints or ordered pairs that have what the case needs."""
    sources = [endpoint for endpoint in endpoints if case.needs <= capabilities.of(endpoint)]
    if case.scope is Scope.ENDPOINT:
        yield from ((source, None) for source in sources)
        return
    destinations = [
        endpoint
        for endpoint in endpoints
        if case.destination_needs <= capabilities.of(endpoint) and capabilities.CACHE not in capabilities.of(endpoint)
    ]
    yield from ((source, target) for source in sources for target in destinations if source.id != target.id)


def _cells(case: Case, source: Endpoint, destination: Endpoint | None) -> Iterator[Cell]:
    """The cells of one case at one place."""
    for protocol, credential, direction, size, variant in product(
        case.protocols, case.credentials, case.directions, case.sizes, case.variants
    ):
        cell = Cell(case, source, destination, protocol, credential, direction, size, variant)
        if _possible(cell) and not _too_dear(cell):
            yield cell


def _too_dear(cell: Cell) -> bool:
    """Whether the cell only repeats a certificate over root:// with another size.

    Every command with a certificate over root:// agrees on keys anew, which takes client and server a third of a
    second of computing each; the size changes nothing in that, so that one size is enough.
    """
    if (cell.protocol, cell.credential) != ("root", capabilities.X509) or cell.size is None:
        return False
    sizes = [size for size in cell.case.sizes if size is not None]
    return cell.size != (MIB if MIB in sizes else sizes[-1])


def _possible(cell: Cell) -> bool:
    """Whether every endpoint speaks the protocol, and the acting ones take the credential and can act like
    this.

    The client speaks to both ends of a pair, unless the cell has a direction: then to the active side alone.
    """
    if any(cell.protocol not in endpoint.urls for endpoint in cell.endpoints):
        return False
    acting = cell.endpoints
    if cell.direction is not None and cell.destination is not None:
        acting = (cell.source if cell.direction == "push" else cell.destination,)
        if capabilities.TPC not in capabilities.of(acting[0]):
            return False
    return all(cell.credential not in _KINDS or cell.credential in _usable(endpoint) for endpoint in acting)


_KINDS = {capabilities.TOKEN, capabilities.X509}  # which an endpoint may lack; wrong ones can always be tried


def _usable(endpoint: Endpoint) -> set[str]:
    """Kinds of credential that the endpoint takes and that are at hand."""
    has = capabilities.of(endpoint)
    held = endpoint.credentials
    usable = set()
    if held.issuer and held.client_id and held.client_secret_file:
        usable.add(capabilities.TOKEN)
    if held.certificate and held.private_key:
        usable.add(capabilities.X509)
    return usable & has
