"""The state folder of one testbed: what must survive an interruption, and nothing else.

    state.json (schema number, written atomically)   lock   keys/   pki/   secrets.yml   inventory/
    logs/<run>/   reports/<run>/

Everything is below one folder of mode 0700. A run that is killed leaves the last whole state.json behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xdc_testbed.errors import WrongUsage, XdcError

SCHEMA = 1
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


class PhaseRecord(BaseModel):
    """A phase that has ended well: what it was made from, when, and how long it took (seconds)."""

    fingerprint: str
    finished: float
    seconds: float


class State(BaseModel):
    """What state.json holds. description: as given to `up`; counts: of scaled nodes, where `scale` has changed them."""

    model_config = ConfigDict(extra="forbid")

    schema_number: int = SCHEMA
    id: str
    name: str
    driver: str
    created: float
    description: dict[str, Any] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    nodes: list[dict[str, Any]] = Field(default_factory=list)
    phases: dict[str, PhaseRecord] = Field(default_factory=dict)


def base_dir(override: Path | None = None) -> Path:
    """The folder that holds all testbeds of this user."""
    if override is not None:
        return override.absolute()
    if given := os.environ.get("XDC_STATE_DIR"):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "xdc-testbed"


def names(base: Path) -> list[str]:
    """Names of the testbeds that have a state."""
    return sorted(path.parent.name for path in base.glob("*/state.json"))


class StateFolder:
    """The folder of one testbed."""

    def __init__(self, base: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise WrongUsage(
                f"'{name}' is not a name: small letters, digits and hyphens", remedy="choose another --name"
            )
        self.path = base / name
        self.name = name

    keys = property(lambda self: self.path / "keys")
    pki = property(lambda self: self.path / "pki")
    secrets_file = property(lambda self: self.path / "secrets.yml")
    inventory = property(lambda self: self.path / "inventory")

    @property
    def exists(self) -> bool:
        """Whether a testbed of this name has been begun."""
        return (self.path / "state.json").is_file()

    def read(self) -> State:
        """The last whole state. Raises XdcError when it was written by a newer kit or is damaged."""
        try:
            raw = json.loads((self.path / "state.json").read_text())
            number = raw.get("schema_number")
        except (OSError, ValueError, AttributeError) as error:
            raise XdcError(
                f"{self.path / 'state.json'} cannot be read: {error}",
                remedy=f"xdc-testbed down --name {self.name}  removes by label",
            ) from None
        if number != SCHEMA:
            raise XdcError(
                f"state of testbed '{self.name}' has schema {number}, this kit writes {SCHEMA}",
                remedy="use the kit that made it, or remove it with down",
            )
        try:
            return State.model_validate(raw)
        except ValidationError as error:
            fault = error.errors()[0]
            raise XdcError(
                f"{self.path / 'state.json'} is damaged: {'.'.join(map(str, fault['loc']))}: {fault['msg']}",
                remedy=f"xdc-testbed down --name {self.name}  removes by label",
            ) from None

    def write(self, state: State) -> None:
        """Replace state.json in one step."""
        write_private(self.path / "state.json", state.model_dump_json(indent=1).encode())

    def open(self, driver: str) -> State:
        """The state of this testbed; a new one with a new id when there is none."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        if self.exists:
            return self.read()
        state = State(id=secrets.token_hex(5), name=self.name, driver=driver, created=time.time())
        self.write(state)
        return state

    def run_dir(self, kind: str, run_id: str) -> Path:
        """A folder for one run's logs or reports."""
        path: Path = self.path / kind / run_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def remove(self) -> None:
        """Forget the testbed. Reports are kept beside the folder's place, since people want them after `down`."""
        shutil.rmtree(self.path, ignore_errors=False)

    @contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Hold the testbed against a second command. Raises XdcError that names the holder."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        with (self.path / "lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.seek(0)
                holder = handle.read().strip() or "another command"
                raise XdcError(
                    f"testbed '{self.name}' is in use by {holder}", remedy="wait for it to end, or end it"
                ) from None
            handle.seek(0)
            handle.truncate()
            handle.write(f"`xdc-testbed {command}` (process {os.getpid()})\n")
            handle.flush()
            yield


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that appears whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
