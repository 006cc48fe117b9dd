"""The configuration file of the emulator: TOML, read once at start, checked here and trusted afterwards.

root = "/var/lib/dcache"                     # names.sqlite, pools/<pool>/data, tape/
host = "dcache.example.org"                  # as clients call it: it stands in every URL that the emulator gives
certificate = "/etc/grid-security/hostcert.pem"
key = "/etc/grid-security/hostkey.pem"
authorities = "/etc/grid-security/certificates"   # PEM files of the authorities trusted for clients and third parties
macaroon_secret = "/etc/dcache/macaroon.secret"   # file, 0600; without it no macaroons are given or taken

[webdav]                                     # class WebDav
[frontend]                                   # class Frontend
[pool]                                       # class Pool
[kafka]                                      # class Kafka; without this table nothing is published
[qos]                                        # class Qos

[[users]]                                    # class User
[[issuers]]                                  # class Issuer
[[directories]]                              # class Directory: made at start when missing
"""

from __future__ import annotations

import functools
import socket
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xdc_testbed.errors import WrongUsage

Port = int
_ANY = "https://wlcg.cern.ch/jwt/v1/any"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebDav(_Table):
    """The doors. A port of None: that door is not opened; 0: any free one. Times in seconds."""

    port: int | None = Field(default=2881, ge=0, le=65535)
    """The https door."""
    http_port: int | None = Field(default=None, ge=0, le=65535)
    """The plain door: no bearer tokens, no macaroons; off unless asked for."""
    anonymous: Literal["NONE", "READONLY", "FULL"] = "NONE"
    redirect_on_read: bool = True
    redirect_on_write: bool = True
    mover_timeout: float = Field(default=300.0, gt=0)
    """How long a pool waits for the client that was redirected to it."""
    marker_period: float = Field(default=5.0, gt=0)
    """Between two performance markers of a third-party copy."""
    cell: str = ""
    """Name of the door in records; `WebDAV-<short host name>` when empty."""


class Frontend(_Table):
    """The REST interface. Times in seconds."""

    port: int | None = Field(default=3880, ge=0, le=65535)
    anonymous: Literal["NONE", "READONLY", "FULL"] = "NONE"
    channels_per_user: int = Field(default=128, ge=1)
    max_backlog: int = Field(default=16383, ge=1)
    disconnect_default: int = Field(default=300, ge=1)
    disconnect_maximum: int = Field(default=86400, ge=1)
    errors_allowed: int = Field(default=1000, ge=1)
    """Failed logins within errors_window after which an address is refused."""
    errors_window: float = Field(default=20.0, gt=0)
    block: float = Field(default=10.0, gt=0)
    io_suppression: float = Field(default=10.0, ge=0)
    """At most one IN_ACCESS and IN_MODIFY per open file in this time."""


class Pool(_Table):
    """The pool: name, and the ports of its movers (0: any free one). Sizes in bytes."""

    name: str = Field(default="pool1", pattern=r"^[A-Za-z0-9._-]+$")
    others: tuple[str, ...] = ()
    """Further pools, on which copies of a file may lie."""
    port: int = Field(default=20000, ge=0, le=65535)
    http_port: int = Field(default=20001, ge=0, le=65535)
    """Used by the plain door only, and opened with it."""
    largest_file: int = Field(default=1 << 44, ge=1)


class Publish(_Table):
    """One publishing path: its topic, and whether it is on."""

    enable: bool = False
    topic: str = "billing"


class Kafka(_Table):
    """The broker and the two publishing paths of the product: doors and pools themselves, and the billing cell."""

    bootstrap: str
    doors: Publish = Publish()
    """Path A, `dcache.enable.kafka`."""
    billing: Publish = Publish(enable=True)
    """Path B, `dcache.billing.enable.kafka`."""
    cache_hits: bool = True
    """`poolmanager.enable.cache-hit-message`: records of type hit on path B."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "SASL_SSL"
    authority: Path | None = None
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password_file: Path | None = None
    delivery_timeout: float = Field(default=120.0, gt=0)
    """Seconds after which a record that no broker takes is dropped, as in the product."""


class Qos(_Table):
    """Delays of the storage classes and of the fake tape, seconds."""

    transition_s: float = Field(default=1.0, ge=0)
    flush_s: float = Field(default=2.0, ge=0)
    stage_s: float = Field(default=2.0, ge=0)
    tape: bool = True
    """Whether there is a tape behind the pool."""
    evict_s: float | None = Field(default=None, ge=0)
    """How long the disk copy of a file of class tape stays when nothing pins it; None: for ever, as in a product whose
    pools are not full."""


class User(_Table):
    """A user. password_hash: by identity.hash_password; or password_file, which holds the password itself, 0600."""

    name: str
    uid: int = Field(ge=0)
    gid: int = Field(ge=0)
    groups: tuple[int, ...] = ()
    roles: frozenset[str] = frozenset()
    dns: tuple[str, ...] = ()
    """Subjects of the certificates that are this user, as `/C=DE/O=X/CN=name` or `CN=name,O=X,C=DE`."""
    password_hash: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    home: str = "/"


class Issuer(_Table):
    """A token issuer. prefix is put before the paths of its scopes; subjects maps `sub` to a user of this file."""

    url: str = Field(pattern=r"^https://[^ ]+$")
    audience: tuple[str, ...] = (_ANY,)
    prefix: str = "/"
    subjects: dict[str, str] = Field(default_factory=dict)
    user: str | None = None
    """The user of every subject that is not mapped; None refuses those."""
    authority: Path | None = None
    """Authority of the issuer's own certificate; the system's when None."""
    clock_skew: float = Field(default=60.0, ge=0)


class Directory(_Table):
    """A directory that the emulator makes at start: absolute path, owner, mode and storage class of new files."""

    path: str = Field(pattern=r"^/.*$")
    owner: str | None = None
    mode: int = Field(default=0o755, ge=0, le=0o777)
    latency: Literal["ONLINE", "NEARLINE"] = "ONLINE"
    retention: Literal["REPLICA", "CUSTODIAL"] = "REPLICA"
    storage: str = Field(default="test:default@osm", pattern=r"^[^:@]+:[^:@]+@[^:@]+$")
    """`<store>:<group>@<hsm>` of new files, as records name it."""


class Config(_Table):
    """Everything that the emulator is told."""

    root: Path
    name: str = "dcache"
    host: str = "localhost"
    listen: str = "0.0.0.0"  # noqa: S104  a service of the testbed's network
    version: str = "11.2.5"
    domain: str = "dCacheDomain"
    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None
    macaroon_secret: Path | None = None
    longest_macaroon: float = Field(default=7 * 86400.0, gt=0)
    billing_file: Path | None = None
    """JSON lines of every billing record, as with `billing.format.json`."""
    webdav: WebDav = WebDav()
    frontend: Frontend = Frontend()
    pool: Pool = Pool()
    kafka: Kafka | None = None
    qos: Qos = Qos()
    users: tuple[User, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    directories: tuple[Directory, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Config:
        secure = self.webdav.port is not None or self.frontend.port is not None
        if secure and (self.certificate is None or self.key is None):
            raise ValueError("certificate and key are needed: the https door and the frontend speak TLS only")
        names = {user.name for user in self.users}
        if len(names) != len(self.users):
            raise ValueError("two users have the same name")
        wanted = [entry.owner for entry in self.directories if entry.owner]
        wanted += [name for issuer in self.issuers for name in (*issuer.subjects.values(), issuer.user) if name]
        if missing := sorted(set(wanted) - names):
            raise ValueError(f"no such user: {', '.join(missing)}")
        for user in self.users:
            if user.password_hash and user.password_file:
                raise ValueError(f"user {user.name}: password_hash or password_file, not both")
        return self

    @property
    def door_cell(self) -> str:
        """Name of the WebDAV door in records."""
        return self.webdav.cell or f"WebDAV-{_short_host()}"

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool; the first one takes uploads."""
        return (self.pool.name, *self.pool.others)


@functools.cache
def _short_host() -> str:
    return socket.gethostname().split(".")[0]


def load(path: Path) -> Config:
    """Read and check the file. Raises WrongUsage with the culprit."""
    try:
        return Config.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WrongUsage(f"{path}: {error}", remedy="see the head of emulators/dcache/config.py") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise WrongUsage(f"{path}: {where}: {first['msg']}") from error
