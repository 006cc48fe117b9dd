"""Start an emulator with a door for invokers, and invokers as processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openwhisk_emulator import Emulator, free_port, running, until

PATIENCE = 30.0


class Invoker:
    """One invoker: its name, its folder and its process. Its actions see the name as `__OW_API_HOST`."""

    def __init__(self, name: str, folder: Path, door: int, token: Path, **pool: float) -> None:
        self.name, self.folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "controller": f"127.0.0.1:{door}",
            "name": name,
            "api_host": name,
            "token_file": str(token),
            "state": str(folder / "state"),
            "python": sys.executable,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["[pool]", *(f"{key} = {json.dumps(value)}" for key, value in pool.items())]
        (folder / "invoker.toml").write_text("\n".join(lines) + "\n")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, again."""
        command = [sys.executable, "-m", "xdc_testbed.emulators.openwhisk.node"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(self.folder / "invoker.toml")], stdout=log, stderr=log
            )
        return self.process

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for its end. Returns the exit code."""
        return self.process.wait(PATIENCE)

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")


class Platform:
    """An emulator with a door, and the invokers that were started for it."""

    def __init__(self, emulator: Emulator, folder: Path, door: int, token: Path) -> None:
        self.emulator, self._folder, self._door, self._token = emulator, folder, door, token
        self.invokers: list[Invoker] = []

    def states(self) -> dict[str, str]:
        """Name and state of every invoker, as the controller tells."""
        status, _, body = self.emulator.request("GET", "/invokers")
        assert status == 200
        return dict(json.loads(body))

    def add(self, name: str, *, token: Path | None = None, **pool: float) -> Invoker:
        """Start an invoker."""
        invoker = Invoker(name, self._folder / name, self._door, token or self._token, **pool)
        self.invokers.append(invoker)
        return invoker

    def up(self, name: str, **pool: float) -> Invoker:
        """Start an invoker and wait until it takes activations."""
        invoker = self.add(name, **pool)
        until(lambda: self.states().get(name) == "up", f"invoker {name} up:\n{invoker.log()}", PATIENCE)
        return invoker


@contextmanager
def platform(folder: Path, *, patience: float = 10.0, **pool: Any) -> Iterator[Platform]:
    """An emulator whose own invoker has this pool; afterwards nothing of it runs."""
    door, token = free_port(), folder / "invokers.token"
    folder.mkdir(parents=True, exist_ok=True)
    token.write_text("of these tests")
    tables: dict[str, dict[str, Any]] = {
        "invokers": {"listen": f"127.0.0.1:{door}", "token_file": str(token), "patience": patience},
        "limits": {"invocations_per_minute": 60_000, "concurrent_invocations": 1000},
        "pool": {"memory": 512} | pool,
    }
    with running(folder / "controller", tables=tables) as emulator:
        bed = Platform(emulator, folder, door, token)
        try:
            yield bed
        finally:
            for invoker in bed.invokers:
                if invoker.process.poll() is None:
                    invoker.signal(signal.SIGCONT)
                    invoker.signal(signal.SIGKILL)
                    invoker.ended()
