"""End to end, by the command line only: one testbed of profile demo for the session; removed, proven gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLI = Path(sys.executable).with_name("xdc-testbed")
PYTHON = "/opt/xdc-testbed/venv/bin/python"
"""Python on a node, with the kit."""


@dataclass(frozen=True)
class Said:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The two lines of a failure: cause and what to do."""
        return [line for line in self.err.splitlines() if line.startswith(("error:", "  ->"))]


@dataclass(frozen=True)
class Xdc:
    """The command line with a state folder of its own."""

    state_dir: Path
    program: Path = CLI

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return {**os.environ, "XDC_STATE_DIR": str(self.state_dir), "CI": "true"}

    def __call__(self, *words: str, timeout: float = 600, ok: bool = True, cwd: Path = ROOT) -> Said:
        """Run one command; with ok, exit code 0 is demanded."""
        done = subprocess.run(
            [str(self.program), *words],
            env=self.environment,
            cwd=cwd,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert not ok or said.code == 0, f"xdc-testbed {' '.join(words)} ended with {said.code}\n{said.out}\n{said.err}"
        return said

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one command and leave it running, in a process group of its own."""
        return subprocess.Popen(
            [str(self.program), *words],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def on(self, node: str, *command: str, ok: bool = True, timeout: float = 120) -> Said:
        """Run one command on a node."""
        return self("ssh", node, "--", *command, ok=ok, timeout=timeout)


@pytest.fixture(scope="session")
def xdc(tmp_path_factory: pytest.TempPathFactory) -> Xdc:
    """The command line with one state folder for the session; the image's workspace is kept between sessions."""
    return Xdc(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def testbed(xdc: Xdc) -> Iterator[Xdc]:
    """A running testbed of profile demo."""
    try:
        xdc("up", timeout=1500)
        yield xdc
    finally:
        said = xdc("down", "--yes", ok=False, timeout=120)
        assert said.code == 0, said.err


def resources(testbed_id: str) -> Sequence[str]:
    """Names of containers of this id, asked from the engine, not from the kit."""
    done = subprocess.run(
        ["podman", "ps", "-a", "--filter", f"label=org.xdc.testbed={testbed_id}", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()
