"""The dCache emulator as a process of its own, with an authority, users and a token issuer, for tests that speak its
protocols.

Users: tester:secret (uid 1000), other:secret2 (uid 1001), admin (uid 0, role admin by `admin#admin`) as in the
captures. Directories: /data and /public of tester, /tape of tester with a tape behind it, /other of root and closed
to others.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from storage_rig import HOST, Authority, TokenIssuer, folder, running
from storage_rig import free_port as free_port

USERS = {"tester": "secret", "other": "secret2", "admin": "dickerelch"}
_PATIENCE = 30.0
_ISSUED = {"interop": "tester", "demo": "other"}
"""Client of the token issuer, which is the `sub` of its tokens -> user."""


@dataclass
class DcacheUnderTest:
    """A dCache that the cases may use. webdav, frontend, plain: URLs without a trailing slash, plain None when there is
    no unencrypted door; users: name -> password; certificates: user -> (certificate, key); token(scope, user) gives a
    bearer token; root: the emulator's folder; restart: ends it (with a signal), starts it again on the same ports;
    admin: name of the user with the role admin; peer: where it reaches servers on this machine."""

    webdav: str
    frontend: str
    plain: str | None
    ca: Path
    users: Mapping[str, str]
    certificates: Mapping[str, tuple[Path, Path]]
    token: Callable[[str, str], str]
    kafka: str | None
    kind: Literal["emulator", "real"]
    root: Path | None = None
    restart: Callable[[int], None] | None = None
    directory: str = "/data"
    admin: str = "admin"
    peer: str = "127.0.0.1"
    emulator: DcacheEmulator | None = None


class DcacheEmulator:
    """One emulator: its folder, its configuration, its process. tables: what the configuration has beyond the usual."""

    def __init__(
        self,
        home: Path,
        authority: Authority,
        issuer: TokenIssuer | None = None,
        *,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        **entries: Any,
    ) -> None:
        self.home = home
        self.authority = authority
        self.ports = {name: free_port() for name in ("https", "http", "frontend", "pool", "pool_http")}
        self.root = home / "dcache"
        self.file = home / "dcache.toml"
        self.log_file = home / "log"
        home.mkdir(parents=True, exist_ok=True)
        secret = home / "macaroon.secret"
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o600)
        hosts = authority.folder / "hosts"
        values: dict[str, Any] = {
            "root": str(self.root),
            "name": "reference",
            "host": HOST,
            "listen": "127.0.0.1",
            "certificate": str(hosts / f"{HOST}.pem"),
            "key": str(hosts / f"{HOST}.key"),
            "authorities": str(authority.hashed),
            "macaroon_secret": str(secret),
            "billing_file": str(home / "billing.jsonl"),
            **entries,
        }
        sections: dict[str, dict[str, Any]] = {
            "webdav": {"port": self.ports["https"], "http_port": self.ports["http"]},
            "frontend": {"port": self.ports["frontend"]},
            "pool": {"others": ["pool2"], "port": self.ports["pool"], "http_port": self.ports["pool_http"]},
            "qos": {"transition_s": 0.2, "flush_s": 0.3, "stage_s": 0.3},
        }
        for name, table in (tables or {}).items():
            sections[name] = {**sections.get(name, {}), **table}
        self.file.write_text(_toml(values, sections, _users(home), _issuers(issuer), _directories()))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def webdav(self) -> str:
        """URL of the https door."""
        return f"https://{HOST}:{self.ports['https']}"

    @property
    def plain(self) -> str:
        """URL of the unencrypted door."""
        return f"http://{HOST}:{self.ports['http']}"

    @property
    def frontend(self) -> str:
        """URL of the REST interface."""
        return f"https://{HOST}:{self.ports['frontend']}"

    @property
    def pid(self) -> int:
        """Of the emulator's process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until every port answers."""
        command = [sys.executable, "-m", "xdc_testbed.emulators.dcache", "--config", str(self.file)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + _PATIENCE
        for port in self.ports.values():
            while True:
                try:
                    socket.create_connection((HOST, port), 1).close()
                except OSError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise AssertionError(f"port {port} does not answer:\n{self.log()}") from None
                    time.sleep(0.02)
                else:
                    break

    def stop(self, signal_: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal_)
        return self._process.wait(_PATIENCE)

    def restart(self, signal_: int = signal.SIGTERM) -> None:
        """End it and start it again on the same ports."""
        self.stop(signal_)
        self.start()

    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text(errors="replace")

    def billing(self) -> list[dict[str, Any]]:
        """The records of its billing file."""
        file = self.home / "billing.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def emulated(
    authority: Authority, issuer: TokenIssuer | None = None, *, tables: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[DcacheUnderTest]:
    """An emulator for the time of a with block; afterwards nothing of it is left."""
    with folder("dcache") as home, running(DcacheEmulator(home, authority, issuer, tables=tables)) as emulator:
        emulator.start()
        kafka = (tables or {}).get("kafka", {}).get("bootstrap")
        yield DcacheUnderTest(
            webdav=emulator.webdav,
            frontend=emulator.frontend,
            plain=emulator.plain,
            ca=authority.ca,
            users=USERS,
            certificates={"tester": authority.user("tester"), "stranger": authority.user("stranger")},
            token=lambda scope, user: _token(issuer, scope, user),
            kafka=kafka,
            kind="emulator",
            root=emulator.root,
            restart=emulator.restart,
            emulator=emulator,
        )


def until(observe: Callable[[], Any], what: str, patience: float = _PATIENCE) -> Any:
    """The first true value of an observation, with a deadline that names what was waited for."""
    deadline = time.monotonic() + patience
    while not (value := observe()):
        assert time.monotonic() < deadline, f"{what} did not happen within {patience:g} s"
        time.sleep(0.02)
    return value


def _token(issuer: TokenIssuer | None, scope: str, user: str) -> str:
    assert issuer is not None, "this emulator knows no token issuer"
    client = next(client for client, name in _ISSUED.items() if name == user)
    source = issuer.source(client)
    try:
        return source.fetch(scope)
    finally:
        source.close()


def _users(home: Path) -> list[dict[str, Any]]:
    from xdc_testbed.emulators.dcache.passwords import hash_password

    known = {
        "tester": {"uid": 1000, "gid": 1000, "roles": ["qos-user"], "dns": ["/DC=test/DC=xdc/CN=tester"]},
        "other": {"uid": 1001, "gid": 1001},
        "cache": {"uid": 1002, "gid": 1000, "dns": [f"/DC=test/DC=xdc/CN={HOST}"]},
        "admin": {"uid": 0, "gid": 0, "roles": ["admin"]},
    }
    users = []
    for name, entry in known.items():
        if name == "admin":
            file = home / "admin.password"
            file.write_text(USERS[name])
            file.chmod(0o600)
            users.append({"name": name, **entry, "password_file": str(file)})
        elif name not in USERS:
            users.append({"name": name, **entry})
        else:
            users.append({"name": name, **entry, "password_hash": hash_password(USERS[name])})
    return users


def _issuers(issuer: TokenIssuer | None) -> list[dict[str, Any]]:
    if issuer is None:
        return []
    return [{"url": issuer.url, "subjects": _ISSUED, "authority": str(issuer.authority.ca)}]


def _directories() -> list[dict[str, Any]]:
    tape = {"latency": "NEARLINE", "retention": "CUSTODIAL", "storage": "test:tape@osm"}
    return [
        {"path": "/data", "owner": "tester"},
        {"path": "/public", "owner": "tester", "mode": 0o777},
        {"path": "/tape", "owner": "tester", **tape},
        {"path": "/other", "mode": 0o700},
    ]


def _toml(
    values: Mapping[str, Any],
    sections: Mapping[str, Mapping[str, Any]],
    users: list[dict[str, Any]],
    issuers: list[dict[str, Any]],
    directories: list[dict[str, Any]],
) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in values.items()]
    for name, table in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    for name, tables in (("users", users), ("issuers", issuers), ("directories", directories)):
        for table in tables:
            lines += [f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(value)
