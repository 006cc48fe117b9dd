"""One "container": an action proxy in its own processes, spoken to by HTTP over a socket that only the two
have.

The process tree ends when the controller ends it, when the controller ends, and when the proxy ends. It
runs as its own user when one is given, without new privileges, in its own folder, which is removed
afterwards.
"""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple, cast

from xdc_testbed.errors import RequirementMissing, WrongUsage

from .logs import Logs
from .trees import descendants, kill, private_bytes, proxies, start_time

_log = logging.getLogger(__name__)


class ProxyAnswer(NamedTuple):
    """Status, body (at most the bytes asked for) and true length of an answer of the proxy."""

    status: int
    body: bytes
    length: int


class Lost(Exception):
    """The proxy ended before it answered."""


class Connection(asyncio.Protocol):
    """HTTP/1.1 client of one proxy: one request at a time, answers with Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[ProxyAnswer] | None = None
        self._buffer = b""
        self._parts: list[bytes] = []
        self._status = self._length = self._received = self._most = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop; an open request ends as Lost."""
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(str(exc or "closed")))

    def request(self, path: str, body: bytes, most: int) -> asyncio.Future[ProxyAnswer]:
        """POST a body; the answer's body is cut after `most` bytes."""
        self._answer = asyncio.get_running_loop().create_future()
        self._buffer, self._parts, self._received, self._most = b"", [], 0, most
        if self.lost or self._transport is None:
            self._answer.set_exception(Lost("closed"))
        else:
            head = f"POST {path} HTTP/1.1\r\nHost: proxy\r\nAccept: application/json\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if not self._parts:
            head, separator, data = (self._buffer + data).partition(b"\r\n\r\n")
            if not separator:
                self._buffer = head
                return
            lines = head.split(b"\r\n")
            self._status = int(lines[0].split(b" ")[1])
            lengths = [line[15:] for line in lines if line[:15].lower() == b"content-length:"]
            self._length = int(lengths[0]) if lengths else 0
        if self._received < self._most or not self._parts:
            self._parts.append(data)
        self._received += len(data)
        if self._received >= self._length and self._answer is not None and not self._answer.done():
            body = b"".join(self._parts)[: self._most]
            self._answer.set_result(ProxyAnswer(self._status, body, self._length))

    def close(self) -> None:
        """Close; the proxy takes it as the end."""
        if self._transport is not None:
            self._transport.abort()


class Runtime(NamedTuple):
    """How containers are started here. python, environment: of every proxy; user: to change to, or None."""

    state: Path
    python: str
    user: str | None
    environment: dict[str, str]

    @property
    def folders(self) -> Path:
        """Where every container has its folder, with a note of its process id beside it."""
        return self.state / "containers"

    @property
    def programs(self) -> Path:
        """Where the proxy and the launcher are, for every user to read, wherever the kit is installed."""
        return self.state / "runtime"

    def prepare(self) -> None:
        """Make the folders and copy the programs. Raises OSError."""
        self.state.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.folders.mkdir(mode=0o711, exist_ok=True)
        self.programs.mkdir(mode=0o755, exist_ok=True)
        for name in ("proxy.py", "launcher.py"):
            copy = self.programs / f".{name}"
            copy.unlink(missing_ok=True)
            copy.write_bytes(Path(__file__).with_name(name).read_bytes())
            copy.chmod(0o444)
            copy.replace(self.programs / name)


class Container:
    """A started proxy. `key` names the action version that it is initialised for."""

    def __init__(self, runtime: Runtime, folder: Path, process: subprocess.Popen[bytes], logs: Logs) -> None:
        self._runtime, self._folder, self._process = runtime, folder, process
        self.connection = Connection()
        self.logs = logs
        self.key: tuple[str, str] = ("", "")
        self.memory = 0
        self.initialised = False
        self.exhausted = False
        self.since = 0.0
        """Monotonic time since which it is busy, or idle."""

    @classmethod
    async def start(cls, runtime: Runtime, python: str, memory: int) -> Container:
        """Start a proxy whose actions run in `python` with `memory` MB. Raises OSError when that fails."""
        loop = asyncio.get_running_loop()
        folder = runtime.folders / os.urandom(8).hex()
        folder.mkdir(mode=0o700)
        if runtime.user is not None:
            folder.chmod(0o770)
            shutil.chown(folder, group=runtime.user)
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        where = f"fd:{theirs.fileno()}"
        program = str(runtime.programs / "proxy.py")
        command = [runtime.python, "-I", "-S", program, where, str(folder), python, str(memory)]
        try:
            process = subprocess.Popen(
                [*_as_user(runtime.user), *command],
                stdin=subprocess.DEVNULL,
                stdout=out_write,
                stderr=err_write,
                pass_fds=(theirs.fileno(),),
                env=runtime.environment,
                cwd=folder,
                start_new_session=True,
            )
        except OSError:
            for fd in (out_read, err_read):
                os.close(fd)
            ours.close()
            _remove(runtime, folder)
            raise
        finally:
            theirs.close()
            os.close(out_write)
            os.close(err_write)
        proxies.add(process.pid)
        (folder.parent / f"{folder.name}.pid").write_text(f"{process.pid} {start_time(process.pid)}")
        container = cls(runtime, folder, process, Logs(out_read, err_read))
        container.memory = memory
        ours.setblocking(False)
        await loop.create_unix_connection(lambda: container.connection, sock=ours)
        return container

    @property
    def alive(self) -> bool:
        """False once the proxy has closed its side or ended."""
        return not self.connection.lost and self._process.poll() is None

    def used_memory(self) -> int:
        """Bytes that the processes have for themselves: resident, without what they share with files."""
        return sum(private_bytes(pid) for pid in descendants(self._process.pid))

    def kill(self) -> None:
        """End all processes of the container, now; `remove` takes the rest away."""
        kill(self._process.pid)
        self.connection.close()
        self.logs.close()

    def remove(self) -> None:
        """Wait for the end of the processes and remove the folder: blocks, for a thread."""
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            _log.warning("process %d of a container does not end", self._process.pid)
        proxies.discard(self._process.pid)
        _remove(self._runtime, self._folder)


def check_user(user: str) -> None:
    """Raises WrongUsage when the user or its group is not there, RequirementMissing when it cannot be
    changed to."""
    try:
        pwd.getpwnam(user)
        grp.getgrnam(user)
    except KeyError:
        raise WrongUsage(
            f"no user and group {user} for actions", remedy=f"useradd --system --user-group {user}"
        ) from None
    command = [*_as_user(user), "true"]
    try:
        changed = subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        raise RequirementMissing("setpriv is not installed", remedy="apt-get install util-linux") from None
    if not changed:
        remedy = "run as root, or with the capabilities CAP_SETUID, CAP_SETGID and CAP_KILL"
        raise RequirementMissing(f"this process may not change to the user {user}", remedy=remedy)


def end_leftovers(runtime: Runtime) -> int:
    """End what a killed controller left: processes that are still those it started, and all folders. Returns
    how many."""
    found = 0
    for note in runtime.folders.glob("*.pid"):
        pid, _, started = note.read_text().partition(" ")
        if pid.isdecimal() and start_time(int(pid)) == started:
            found += kill(int(pid))
    for folder in runtime.folders.iterdir():
        if folder.is_dir():
            _remove(runtime, folder)
    return found


def _as_user(user: str | None) -> list[str]:
    """The command before a command that changes the user and gives up every capability."""
    if user is None:
        return []
    capabilities = ["--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *capabilities, "--"]


def _remove(runtime: Runtime, folder: Path) -> None:
    """Remove a container's folder and note; what another user made is removed as that user."""
    if runtime.user is not None:
        emptied = subprocess.run(
            [*_as_user(runtime.user), "find", str(folder), "-mindepth", "1", "-delete"], check=False
        )
        if emptied.returncode:
            _log.warning("folder %s of a container could not be emptied", folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.pid").unlink(missing_ok=True)
