"""What storage tests stand on: an authority and a token issuer of their own, and servers as processes on loopback.

XRootD runs with the configuration that the roles write (storage_servers), and never as root.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from xdc_testbed.clients import proxies
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.testbed import pki

ROOT = Path(__file__).resolve().parents[3]
HOST = "localhost"
SECRETS = {"interop": "interop-secret", "demo": "demo-secret"}
SCOPES = {
    "interop": ["storage.read:/", "storage.modify:/", "storage.create:/", "storage.stage:/"],
    "demo": ["storage.read:/data", "storage.modify:/data"],
}
ALL = " ".join(SCOPES["interop"][:3])
_DEADLINE = 30.0  # seconds for a server to answer


def unprivileged() -> str:
    """The user that servers run as: this one, or Debian's `xrootd` when the tests run as root."""
    return "xrootd" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def give_away(folder: Path) -> None:
    """Make a folder and all in it the property of the unprivileged user."""
    if os.geteuid() == 0:
        user = unprivileged()
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                shutil.chown(path, user, user)


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """A folder that the unprivileged user can reach; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix=f"xdc-{name}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, *, alive: Callable[[], str | None] = lambda: None) -> None:
    """Wait for a condition; alive: says why it can no longer come true, or None."""
    deadline = time.monotonic() + _DEADLINE
    pause = threading.Event()
    while not condition():
        reason = alive()
        if reason is not None or time.monotonic() > deadline:
            raise AssertionError(f"{what}: {reason or 'not within the deadline'}")
        pause.wait(0.02)


class Process:
    """A server process with its log; stopped for good when left."""

    def __init__(self, arguments: list[str], log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(arguments, stdout=output, stderr=output, env=dict(env), cwd=cwd)

    def ended(self) -> str | None:
        """Why it is not running, None while it is."""
        status = self._process.poll()
        tail = self.log.read_text(errors="replace")[-3000:]
        return None if status is None else f"ended with {status}\n{tail}"

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(frozen=True)
class Authority:
    """The testbed's own authority, as `xdc_testbed.testbed.pki` makes it, and the hashed folder grid software wants."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        pki.ensure(folder, testbed_id="contract", hosts={HOST: (HOST, "127.0.0.1")})
        hashed = folder / "certificates"
        hashed.mkdir()
        name = (folder / "ca.hash").read_text().strip()
        shutil.copy(folder / "ca.pem", hashed / f"{name}.0")
        shutil.copy(folder / "ca.signing_policy", hashed / f"{name}.signing_policy")
        return cls(folder)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def hashed(self) -> Path:
        return self.folder / "certificates"

    def user(self, name: str) -> tuple[Path, Path]:
        return self.folder / "users" / f"{name}.pem", self.folder / "users" / f"{name}.key"

    def host(self, where: Path) -> None:
        """Copy the host certificate and key to a folder, as a role does."""
        shutil.copy(self.folder / "hosts" / f"{HOST}.pem", where / "hostcert.pem")
        shutil.copy(self.folder / "hosts" / f"{HOST}.key", where / "hostkey.pem")
        (where / "hostkey.pem").chmod(0o400)
        proxies.write(where / "hostcert.pem", where / "hostkey.pem", where / "hostproxy.pem")


class TokenIssuer:
    """The testbed's token issuer as a process."""

    def __init__(self, home: Path, authority: Authority) -> None:
        self.port = free_port()
        self.url = f"https://{HOST}:{self.port}"
        self.authority = authority
        (home / "secrets.toml").write_text("".join(f"{name} = '{secret}'\n" for name, secret in SECRETS.items()))
        clients = "".join(f"[clients.{name}]\nscopes = {json.dumps(scopes)}\n" for name, scopes in SCOPES.items())
        (home / "issuer.toml").write_text(
            f"issuer = '{self.url}'\nlisten = '127.0.0.1'\nport = {self.port}\n"
            f"certificate = '{authority.folder}/hosts/{HOST}.pem'\n"
            f"private_key = '{authority.folder}/hosts/{HOST}.key'\n"
            f"state_directory = '{home}'\nsecrets_file = '{home}/secrets.toml'\n{clients}"
        )
        self._home = home
        self.start()

    def start(self) -> None:
        config = str(self._home / "issuer.toml")
        arguments = [sys.executable, "-m", "xdc_testbed.emulators.token_issuer", "--config", config]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = Process(arguments, self._home / "issuer.log", environment, self._home)
        try:
            until(lambda: listening(self.port), "token issuer answers", alive=self.process.ended)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.stop()

    def source(self, client: str = "interop", scope: str = ALL) -> TokenSource:
        return TokenSource(self.url, client, SECRETS[client], self.authority.ca, scope)


class _Stoppable(Protocol):
    def stop(self) -> None: ...


S = TypeVar("S", bound=_Stoppable)


@contextlib.contextmanager
def running(server: S) -> Iterator[S]:
    """Stop a server at the end, whatever happens."""
    try:
        yield server
    finally:
        server.stop()
