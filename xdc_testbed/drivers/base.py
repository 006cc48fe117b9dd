"""The contract between a testbed and whatever makes its machines.

A driver returns nodes, takes them away again, and can say what is there in reality. It knows nothing of Ansible,
services or state files.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from xdc_testbed.progress import Reporter


@dataclass(frozen=True)
class Node:
    """A machine that can be reached by SSH; the same for containers, cloud instances and own machines.

    address: inside the testbed's network; ssh_*: how the controller reaches it; host_key: `ssh-ed25519 AAAA...`;
    jump: the node through which it is reached, `user@address:port`, or None for directly;
    published: container port -> port on the controller's loopback;
    installed: the image already holds the roles' install stage.
    """

    name: str
    site: str
    groups: tuple[str, ...]
    fqdn: str
    address: str
    ssh_address: str
    ssh_port: int
    ssh_user: str
    key_file: str
    host_key: str
    driver: str
    resource_id: str
    jump: str | None = None
    published: Mapping[str, int] = field(default_factory=dict)
    installed: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON-safe mapping; `from_json` gives the node back."""
        return asdict(self) | {"groups": list(self.groups), "published": dict(self.published)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Node:
        """The inverse of `to_json`."""
        return cls(**{**data, "groups": tuple(data["groups"])})


@dataclass(frozen=True)
class NodeRequest:
    """A machine that shall exist. memory: MiB; publish: ports to be reachable on the controller's loopback; image: of
    this node, where it is not the request's; volumes: folders outside the layers of the image, gone with the node.
    """

    name: str
    site: str
    groups: tuple[str, ...]
    memory: int
    cpus: float
    publish: tuple[int, ...] = ()
    image: str | None = None
    volumes: tuple[str, ...] = ()


def origin(state_dir: Path) -> str:
    """Mark of what is made from one state folder of one computer: a name alone proves no ownership."""
    return hashlib.sha256(f"{platform.node()}:{state_dir.absolute()}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Seen:
    """What something that exists says of its testbed. Empty: it does not say."""

    name: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Request:
    """Everything a driver needs to make the machines of one testbed. keys: folder with the SSH and host keys."""

    testbed_id: str
    testbed_name: str
    domain: str
    nodes: tuple[NodeRequest, ...]
    state_dir: Path
    image: str
    installed: bool

    @property
    def origin(self) -> str:
        """The mark of the state folder that this comes from."""
        return origin(self.state_dir)


@dataclass(frozen=True)
class Finding:
    """One line of a preflight: what is needed, what was found, and how to get it."""

    what: str
    ok: bool
    found: str
    needed: str = ""
    remedy: str = ""
    level: Literal["requirement", "advice"] = "requirement"


@dataclass(frozen=True)
class Change:
    """One line of a plan."""

    action: Literal["create", "keep", "replace", "start", "remove"]
    kind: str
    name: str


@dataclass(frozen=True)
class Resource:
    """Something that exists in reality and belongs to a testbed."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True)
class Diagnosis:
    """What is known about a node that does not come up: title -> text."""

    node: str
    parts: Mapping[str, str]


class Driver(Protocol):
    """What makes and removes machines. Every method may be called on a half-made or absent testbed."""

    name: str
    boot_seconds: float
    """How long its nodes may take until they can be logged in to."""
    kinds: str
    """What it makes, for the proof that nothing of it is left: `container, volume or network`."""

    def check(self, request: Request) -> list[Finding]:
        """Requirements of this request on this machine; changes nothing."""
        ...

    def plan(self, request: Request) -> list[Change]:
        """What `create` would do."""
        ...

    def create(self, request: Request, report: Reporter) -> list[Node]:
        """Make what is missing, start what is stopped, replace what differs; existing nodes stay untouched."""
        ...

    def nodes(self, request: Request) -> list[Node]:
        """The nodes that exist and run, from reality."""
        ...

    def diagnose(self, request: Request, node: str) -> Diagnosis:
        """Console, state and journal of one node, for a support bundle."""
        ...

    def resources(self, testbed_id: str) -> list[Resource]:
        """Everything of exactly this id that exists."""
        ...

    def destroy(self, testbed_id: str, report: Reporter) -> None:
        """Remove everything of exactly this id; idempotent."""
        ...

    def leftovers(self, testbed_id: str) -> list[Resource]:
        """What is still there: [] after `destroy`."""
        ...

    def testbeds(self) -> dict[str, Seen]:
        """Every testbed of which something exists, by id."""
        ...
