"""What a fault is, what the agent remembers of it, and what it answers; not how a fault is made."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

MAX_LEFT_KIB = 1_048_576  # what a full disk may still take lives in the node's memory: at most 1 GiB


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Delay(_Strict):
    """Packets between this node and the peers take longer: the round trip grows by `milliseconds`."""

    kind: Literal["delay"] = "delay"
    peers: tuple[IPv4Network, ...] = Field(min_length=1)
    milliseconds: float = Field(gt=0, le=10_000)

    def __str__(self) -> str:
        return f"round trip to {_joined(self.peers)} takes {self.milliseconds:g} ms more"


class Partition(_Strict):
    """Nothing goes between this node and the peers, except SSH, so that the fault can be undone."""

    kind: Literal["partition"] = "partition"
    peers: tuple[IPv4Network, ...] = Field(min_length=1)
    ssh_port: int = Field(default=22, ge=1, le=65535)

    def __str__(self) -> str:
        return f"cut off from {_joined(self.peers)}"


class How(StrEnum):
    """How a service goes away: in good order, by SIGKILL, or frozen by SIGSTOP with its connections open."""

    STOP = "stop"
    KILL = "kill"
    FREEZE = "freeze"


def _full_names(units: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(unit if "." in unit else f"{unit}.service" for unit in units)


class Stop(_Strict):
    """Units are down, and nothing brings them back before the fault is cleared."""

    kind: Literal["stop"] = "stop"
    units: tuple[str, ...] = Field(min_length=1)
    how: How = How.STOP

    _full = field_validator("units")(_full_names)

    def __str__(self) -> str:
        done = {How.STOP: "stopped", How.KILL: "killed", How.FREEZE: "frozen"}[self.how]
        return f"{', '.join(self.units)} {done}"


class DiskFull(_Strict):
    """Writing below `path` gives ENOSPC after `leave_kib` KiB; what was there stays readable."""

    kind: Literal["disk-full"] = "disk-full"
    path: PurePosixPath
    leave_kib: int = Field(default=64, ge=0, le=MAX_LEFT_KIB)

    @field_validator("path")
    @classmethod
    def _below_the_root(cls, value: PurePosixPath) -> PurePosixPath:
        if not value.is_absolute() or len(value.parts) < 2 or ".." in value.parts:
            raise ValueError(f"'{value}' is not the absolute path of a folder below /")
        return value

    def __str__(self) -> str:
        return f"{self.path} takes {self.leave_kib} KiB and is full then"


class Kill(_Strict):
    """Units die by SIGKILL once, and systemd starts them again; nothing is held down.

    processes: only the processes of the units with this text in their command line, such as `proxy.py`; the units go
    on. within: seconds that the units have to come back.
    """

    kind: Literal["kill"] = "kill"
    units: tuple[str, ...] = Field(min_length=1)
    processes: str | None = Field(default=None, min_length=1)
    within: float = Field(default=60.0, gt=0, le=600)

    _full = field_validator("units")(_full_names)

    def __str__(self) -> str:
        units = ", ".join(self.units)
        return f"processes '{self.processes}' of {units} killed" if self.processes else f"{units} killed once"


class ClockSkew(_Strict):
    """The token issuer's clock is off: its tokens are dated so many seconds ahead, or behind when negative.

    lifetime: seconds that its tokens live at most. A clock that is behind does harm only when that is less than the
    clock is off, or when a token nears its end.
    """

    kind: Literal["clock-skew"] = "clock-skew"
    seconds: float = Field(ge=-86_400, le=86_400)
    lifetime: int | None = Field(default=None, ge=1)
    unit: str = "token-issuer.service"

    @field_validator("seconds")
    @classmethod
    def _is_off(cls, value: float) -> float:
        if value == 0:
            raise ValueError("a clock that is 0 seconds off is right")
        return value

    def __str__(self) -> str:
        direction = "ahead" if self.seconds > 0 else "behind"
        shortened = f", its tokens live {self.lifetime} s" if self.lifetime else ""
        return f"clock of {self.unit} is {abs(self.seconds):g} s {direction}{shortened}"


Fault = Annotated[Delay | Partition | Stop | DiskFull | Kill | ClockSkew, Field(discriminator="kind")]


class Order(_Strict):
    """One fault for one node. id: the same on all nodes that one command of the user reaches."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{2,40}$")
    node: str
    fault: Fault


class Means(_Strict):
    """What the agent chose or found when it applied a fault, and needs to undo it.

    method: `netem`, `queue`, `iptables`, `systemd`, `signal` or `overlay`; number: queue or class, unique on the node;
    devices: interfaces that carry a class; active: units that ran before.
    """

    method: str
    number: int = 0
    devices: tuple[str, ...] = ()
    active: tuple[str, ...] = ()


class Record(_Strict):
    """What the node remembers of a fault, from before the first change until after the last one is undone.

    applied_at: epoch seconds.
    """

    id: str
    node: str
    fault: Fault
    applied_at: float
    means: Means


class Status(_Strict):
    """One line of the agent's answer. in_force: seen on the node now (a reboot ends it, not the record);
    back_after: seconds until what was killed ran again.
    """

    id: str
    node: str
    fault: Fault
    applied_at: float
    method: str
    in_force: bool
    outcome: Literal["applied", "already", "listed", "cleared"]
    back_after: float | None = None

    @property
    def text(self) -> str:
        """The fault as a sentence."""
        return str(self.fault)


FAULT: TypeAdapter[Fault] = TypeAdapter(Fault)


def _joined(peers: tuple[IPv4Network, ...]) -> str:
    shown = [str(peer).removesuffix("/32") for peer in peers[:4]]
    return ", ".join(shown) + (f" and {len(peers) - 4} more" if len(peers) > 4 else "")
