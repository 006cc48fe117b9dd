"""What a testbed, or an existing site, offers to clients: the only thing that interop and demo need to know.

A list of endpoints is what `xdc-testbed status --output json` prints, and what `interop` reads, so that the suites run
the same against a testbed and against sites described in a file. Secrets are never inside: credentials are references.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

STORAGES = frozenset({"xrootd", "dcache", "eos"})  # products that keep files of their own
CACHES = frozenset({"xcache"})

Kind = Literal["real", "emulator", "external"]


class Credentials(BaseModel):
    """Where the reader of this endpoint finds its credentials; paths are valid on the machine that uses them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str | None = None
    client_id: str | None = None
    client_secret_file: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    ca_file: Path | None = None
    ca_directory: Path | None = None


class Endpoint(BaseModel):
    """One service at one site.

    id: unique in the testbed; urls: by protocol (`https`, `root`, `kafka`, ...), without path;
    kind: real product, emulator of one, or external (not made by this testbed);
    origin: id of the endpoint behind a cache.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    site: str
    product: str
    version: str
    kind: Kind
    urls: dict[str, str]
    credentials: Credentials = Credentials()
    capabilities: tuple[str, ...] = ()
    origin: str | None = None


def storages(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Those that keep files of their own, in their order; a cache does not."""
    return [endpoint for endpoint in endpoints if endpoint.product in STORAGES]


_LIST = TypeAdapter(list[Endpoint])


def load(path: Path) -> list[Endpoint]:
    """Read a list of endpoints from a JSON file. Raises pydantic.ValidationError on unknown or missing fields."""
    return _LIST.validate_json(path.read_bytes())


def dump(endpoints: list[Endpoint]) -> str:
    """Render a list of endpoints as JSON, for `status --output json` and for the nodes."""
    return _LIST.dump_json(endpoints, indent=2).decode()
