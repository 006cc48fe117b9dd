"""Start the OpenWhisk emulator as a process of its own, for tests that speak HTTP to it."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

GUEST = "6f0c3a52-9d1b-4e87-8a44-2f5b7c1d9e03:" + "guestkey" * 8
OTHER = "44444444-4444-4444-8444-444444444444:" + "otherkey" * 8
_PATIENCE = 20.0


class Emulator:
    """One emulator: its address, its folder, and its process."""

    def __init__(self, folder: Path, *, tables: dict[str, dict[str, Any]], entries: dict[str, Any]) -> None:
        self.folder = folder
        self.port = free_port()
        self.state = folder / "state"
        self.file = folder / "openwhisk.toml"
        folder.mkdir(parents=True, exist_ok=True)
        for name, auth in (("guest", GUEST), ("other", OTHER)):
            (folder / f"{name}.auth").write_text(auth)
        values = {"listen": f"127.0.0.1:{self.port}", "state": str(self.state), "python": sys.executable} | entries
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())]
        for name in ("guest", "other"):
            lines += ["[[users]]", f'namespace = "{name}"', f"auth = {json.dumps(str(folder / f'{name}.auth'))}"]
        self.file.write_text("\n".join(lines) + "\n")
        self.scheme = "https" if "certificate" in entries else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "xdc_testbed.emulators.openwhisk", "--config", str(self.file)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the emulator does not start:\n{self.log()}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, signal_: int = signal.SIGTERM) -> None:
        """End it and wait for its end."""
        assert self._process is not None
        self._process.send_signal(signal_)
        self._process.wait(_PATIENCE)

    @property
    def pid(self) -> int:
        """Of the emulator's process."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def proxies(self) -> list[int]:
        """Process ids of the action proxies that it has started and not yet removed."""
        found = []
        for note in (self.state / "containers").glob("*.pid"):
            with suppress(FileNotFoundError):  # removed since the folder was listed
                found.append(int(note.read_text().split()[0]))
        return found

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """One plain HTTP request with exactly these headers: status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            connection.putheader("Accept", "*/*")
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, response.read()
        finally:
            connection.close()


@contextmanager
def running(folder: Path, *, tables: dict[str, dict[str, Any]] | None = None, **entries: Any) -> Iterator[Emulator]:
    """An emulator for the time of a with block; afterwards nothing of it runs."""
    emulator = Emulator(folder, tables=tables or {}, entries=entries)
    emulator.start()
    try:
        yield emulator
    finally:
        if emulator._process is not None and emulator._process.poll() is None:
            emulator.stop()


def free_port() -> int:
    """A free port of four digits: as long as 3233, so that sizes in captured messages stay true."""
    for port in random.sample(range(4000, 9999), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port between 4000 and 9999")


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Any, what: str, patience: float = _PATIENCE) -> None:
    """Wait for something observable."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {patience} s"
        time.sleep(0.02)


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    text = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)
