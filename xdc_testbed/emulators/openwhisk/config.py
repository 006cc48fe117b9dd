"""The configuration file of the emulator: TOML, read once at start, checked here and trusted afterwards.

listen = "0.0.0.0:3233" certificate = "/etc/openwhisk/cert.pem"      # with `key`: HTTPS; without both:
HTTP key = "/etc/openwhisk/key.pem" state = "/var/lib/openwhisk"                 # entities, activation
records, folders of running actions python = "/opt/xdc-testbed/venv/bin/python"  # interpreter of the
python kinds: its packages are the runtime image action_user = "openwhisk-action"             # optional;
needs the right to change user

[[users]] namespace = "guest" auth = "/etc/openwhisk/guest.auth"           # holds <uuid>:<key>

[invokers]                                   # optional; the door for invokers on other nodes, see class InvokersConfig
[limits]                                     # the product's defaults, see class Limits [pool]
# see class PoolLimits [images]                                     # image of a blackbox action ->
interpreter that stands for it "xdc/runtime:1" = "/usr/bin/python3"
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from xdc_testbed.errors import WrongUsage

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one namespace, one action and one activation may use. Sizes in bytes, memory in MB, times
    in ms."""

    invocations_per_minute: int = 60
    concurrent_invocations: int = 30
    fires_per_minute: int = 60
    min_timeout: int = 100
    max_timeout: int = 300_000
    std_timeout: int = 60_000
    min_memory: int = 128
    max_memory: int = 512
    std_memory: int = 256
    max_logs: int = 10
    sequence_length: int = 50
    payload: int = 1_048_576
    parameters: int = 1_048_576
    code: int = 48 << 20
    body: int = 50 << 20
    blocking_wait: int = 60_000


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What all action proxies together may use. Memory in MB, times in seconds."""

    memory: int = 1024
    processes: int = 64
    idle: float = 600.0
    records: int = 20_000
    record_bytes: int = 128 << 20
    stop: float = 10.0
    rerun_lost: bool = False
    """Run an activation again whose container died during the run, as the standalone product does."""


@dataclass(frozen=True, slots=True)
class InvokersConfig:
    """The door for invokers on other nodes. token: secret, theirs too; patience: seconds of silence after which one
    is gone."""

    host: str
    port: int
    token: str = field(repr=False)
    patience: float = 10.0


@dataclass(frozen=True, slots=True)
class User:
    """The owner of a namespace; key is secret."""

    namespace: str
    uuid: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the emulator is told."""

    host: str
    port: int
    state: Path
    python: str
    users: tuple[User, ...]
    certificate: Path | None = None
    key: Path | None = None
    api_host: str = ""
    action_user: str | None = None
    limits: Limits = Limits()
    pool: PoolLimits = PoolLimits()
    images: Mapping[str, str] = field(default_factory=dict)
    invokers: InvokersConfig | None = None


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What an invoker on a node of its own is told. host, port: of the controller's door; ca: of its certificate,
    None without TLS; pool.stop: seconds that running actions have when it leaves."""

    host: str
    port: int
    name: str
    state: Path
    python: str
    token: str = field(repr=False)
    ca: Path | None = None
    api_host: str = ""
    action_user: str | None = None
    pool: PoolLimits = PoolLimits()
    images: Mapping[str, str] = field(default_factory=dict)


def load(path: Path) -> Config:
    """Read and check the file, and the auth files it names. Raises WrongUsage with the culprit."""
    raw = _read(path)
    try:
        host, port = _address(raw.pop("listen"))
        certificate, key = raw.pop("certificate", None), raw.pop("key", None)
        scheme = "https" if certificate else "http"
        config = Config(
            host=host.strip("[]"),
            port=port,
            state=Path(raw.pop("state")),
            python=str(raw.pop("python")),
            users=tuple(_user(entry) for entry in raw.pop("users")),
            certificate=Path(certificate) if certificate else None,
            key=Path(key) if key else None,
            api_host=str(raw.pop("api_host", f"{scheme}://{host}:{port}")),
            action_user=raw.pop("action_user", None),
            limits=_section(Limits, raw.pop("limits", {}), "limits"),
            pool=_section(PoolLimits, raw.pop("pool", {}), "pool"),
            images=_images(raw),
            invokers=_invokers(raw.pop("invokers", None)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WrongUsage(f"{path}: {error!r} is missing or wrong") from error
    if raw:
        raise WrongUsage(f"{path}: unknown entries: {', '.join(sorted(raw))}")
    if bool(certificate) != bool(key):
        raise WrongUsage(f"{path}: certificate and key go together")
    if config.pool.memory < config.limits.max_memory:
        raise WrongUsage(f"{path}: pool.memory is less than limits.max_memory: such an action could never run")
    return config


def load_node(path: Path) -> NodeConfig:
    """Read and check the file of an invoker on a node of its own. Raises WrongUsage with the culprit."""
    raw = _read(path)
    try:
        host, port = _address(raw.pop("controller"))
        ca = raw.pop("ca", None)
        config = NodeConfig(
            host=host.strip("[]"),
            port=port,
            name=str(raw.pop("name")),
            state=Path(raw.pop("state")),
            python=str(raw.pop("python")),
            token=_token(raw.pop("token_file")),
            ca=Path(ca) if ca else None,
            api_host=str(raw.pop("api_host", "")),
            action_user=raw.pop("action_user", None),
            pool=_section(PoolLimits, raw.pop("pool", {}), "pool"),
            images=_images(raw),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WrongUsage(f"{path}: {error!r} is missing or wrong") from error
    if raw:
        raise WrongUsage(f"{path}: unknown entries: {', '.join(sorted(raw))}")
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WrongUsage(f"{path}: {error}", remedy="see the head of emulators/openwhisk/config.py") from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = str(text).rpartition(":")
    return host, int(port)


def _images(raw: dict[str, Any]) -> dict[str, str]:
    return {str(image): str(python) for image, python in raw.pop("images", {}).items()}


def _invokers(entries: dict[str, Any] | None) -> InvokersConfig | None:
    if entries is None:
        return None
    host, port = _address(entries.pop("listen"))
    found = InvokersConfig(
        host.strip("[]"), port, _token(entries.pop("token_file")), float(entries.pop("patience", 10.0))
    )
    if entries:
        raise WrongUsage(f"[invokers] has no entry {next(iter(entries))}; it knows listen, token_file, patience")
    return found


def _token(file: str) -> str:
    """The secret that invokers show. Raises WrongUsage when there is none."""
    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise WrongUsage(f"token of the invokers: {error}") from error
    if not token:
        raise WrongUsage(f"{file} holds no token")
    return token


def _section(kind: type[_T], entries: dict[str, Any], name: str) -> _T:
    """One table of the file as its dataclass."""
    known = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in entries.items():
        if key not in known:
            raise WrongUsage(f"[{name}] has no entry {key}; it knows {', '.join(known)}")
        wanted = bool if known[key].type == "bool" else (int, float) if known[key].type == "float" else int
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise WrongUsage(f"[{name}] {key} = {value!r} is not of type {known[key].type}")
    return kind(**entries)


def _user(entry: Mapping[str, str]) -> User:
    """One user with the key from its auth file."""
    path = Path(entry["auth"])
    try:
        uuid, _, key = path.read_text().strip().partition(":")
    except OSError as error:
        raise WrongUsage(f"auth file of namespace {entry['namespace']}: {error}") from error
    if not uuid or not key:
        raise WrongUsage(f"{path} does not hold <uuid>:<key>")
    return User(entry["namespace"], uuid, key)
