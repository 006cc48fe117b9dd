"""What a testbed shall be: `testbed.toml` over a profile over defaults, validated, with the origin of each value.

Layers, later wins: defaults of the models, inventory/profiles/<profile>.toml, testbed.toml, environment (XDC_DRIVER,
XDC_PROFILE, XDC_NAME), command line. An unknown key is an error that names the nearest right one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from xdc_testbed import content
from xdc_testbed.errors import WrongUsage, nearest
from xdc_testbed.testbed import sources, variables
from xdc_testbed.testbed.variables import printable, read_yaml

MOST_SCALED = 20
DEFAULT_FILE = Path("testbed.toml")
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Group(_Strict):
    """One line of inventory/groups.yml: a service that a testbed can contain."""

    purpose: str
    units: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    always: bool = False
    drain: bool = False
    kind: Literal["real", "emulator"] | None = None
    product: str | None = None
    image: str = "node"
    volumes: tuple[str, ...] = ()


class NodeDescription(_Strict):
    """One machine: where it stands, which services it gets, and its limits."""

    site: str = Field(
        description="Where it stands; nodes of one site share a block of addresses and are delayed together."
    )
    groups: tuple[str, ...] = Field(description="Services that it gets, by name.")
    memory: int = Field(default=1024, ge=128, le=1_048_576, description="Limit in MiB, not a reservation.")
    cpus: float = Field(default=2.0, gt=0, le=1024, description="Limit in cores.")
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Variables of roles by name, for this node alone; they win over all others."
    )

    @field_validator("site")
    @classmethod
    def _site_is_a_label(cls, value: str) -> str:
        return _label(value, "site")


class ScaledDescription(NodeDescription):
    """Machines of one kind, as many as are wanted: `<name>-1`, `<name>-2` and so on."""

    count: int = Field(
        default=0,
        ge=0,
        le=MOST_SCALED,
        description="How many there are at first; `xdc-testbed scale` changes it later.",
    )


class ContainerOptions(_Strict):
    """Options of the local driver."""

    engine: Literal["auto", "podman", "docker"] = Field(default="auto", description="`auto` takes podman, else docker.")
    subnet: str = Field(default="auto", description="A /24 such as 10.89.77.0/24; `auto` takes a free one.")
    base_image: str = Field(
        default="auto",
        description="Image of Debian 12 that nodes are made from; `auto` takes debian:12, else mmdebstrap builds one.",
    )
    extra_ca_files: tuple[str, ...] = Field(
        default=("/usr/local/share/ca-certificates/*.crt",),
        description="Certificates that nodes trust while packages are installed: files of this machine, by pattern.",
    )


class MachineDescription(_Strict):
    """A machine that somebody already has; the key of the table is the node's name."""

    address: str = Field(description="Name or address by which the controller reaches it.")
    inside: str | None = Field(
        default=None, description="Address by which the other nodes reach it; `address` when it is left away."
    )
    port: int = Field(default=22, ge=1, le=65535, description="Port of SSH.")
    user: str | None = Field(default=None, description="Who logs in; `hosts.user` when it is left away.")
    key_file: str | None = Field(default=None, description="Private key; `hosts.key_file` when it is left away.")
    host_key: str | None = Field(
        default=None,
        description="Host key, `ssh-ed25519 AAAA...`; that of your own known_hosts when it is left away.",
    )


class HostsOptions(_Strict):
    """Options of the driver `hosts`: machines that stay when the testbed goes."""

    user: str = Field(default="root", description="Who logs in: root, or somebody who may sudo without a password.")
    key_file: str = Field(default="~/.ssh/id_ed25519", description="Private key that logs in.")
    machines: dict[str, MachineDescription] = Field(default_factory=dict)


class InstanceDescription(_Strict):
    """What one node gets on OpenStack; the key of the table is the node's name."""

    flavor: str | None = Field(default=None, description="Its flavor; `openstack.flavor` when it is left away.")
    boot_gb: int | None = Field(
        default=None, ge=1, description="Boots from a volume of this many GB; from the image's copy when left away."
    )
    volumes: dict[str, int] = Field(
        default_factory=dict, description="Further volumes: label and GB; each is mounted at /srv/<label>."
    )


class OpenStackOptions(_Strict):
    """Options of the driver `openstack`."""

    cloud: str = Field(default="openstack", description="Entry of clouds.yaml; credentials are there and nowhere else.")
    image: str = Field(default="debian-12", description="Image with cloud-init, by name or id.")
    flavor: str = Field(default="auto", description="By name or id; `auto` takes the smallest with the node's memory.")
    external_network: str = Field(
        default="auto",
        description="Where floating addresses come from; `auto` takes the only one there is, `none` gives none.",
    )
    admin_cidrs: tuple[str, ...] = Field(
        default=(), description="Where you come from: nobody else reaches the nodes by SSH. Must be given."
    )
    public: tuple[str, ...] = Field(
        default=(), description="Nodes with a floating address; the client's node when it is left away."
    )
    cidr: str = Field(default="10.77.0.0/24", description="Addresses of the nodes among themselves.")
    dns_servers: tuple[str, ...] = Field(default=(), description="Name servers of the nodes; the cloud's when empty.")
    spread: bool = Field(default=True, description="Whether the nodes of a site shall stand on different hosts.")
    availability_zone: str | None = Field(default=None, description="Where servers and volumes stand.")
    volume_type: str | None = Field(default=None, description="Type of volumes; the cloud's default when left away.")
    expires_hours: int = Field(
        default=168, ge=1, description="After how many hours `sweep --expired` may take the testbed away."
    )
    terraform: str = Field(
        default="auto", description="Terraform or OpenTofu, by name or path; `auto` takes the one of PATH."
    )
    provider_mirror: str = Field(
        default="auto",
        description="Folder of the provider; `auto` takes what `provider build` has made, else the registry.",
    )
    backend: Literal["subprocess", "python-terraform"] = Field(
        default="subprocess", description="How Terraform is run; `python-terraform` tells events late."
    )
    nodes: dict[str, InstanceDescription] = Field(default_factory=dict)


class Description(_Strict):
    """A whole testbed."""

    name: str = Field(default="demo", description="Name of the testbed; that of the profile when it is not given.")
    profile: str = Field(default="demo", description="What the description builds on.")
    driver: Literal["podman", "openstack", "hosts"] = Field(
        default="podman",
        description="Where machines come from: `podman` makes them here, `openstack` in a cloud, `hosts` takes yours.",
    )
    domain: str = Field(default="xdc.test", description="Domain of the nodes: a node is `<name>.<domain>`.")
    strategy: Literal["mitogen_linear", "linear"] = Field(
        default="mitogen_linear", description="How Ansible runs tasks; `linear` is slower and needs no mitogen."
    )
    podman: ContainerOptions = ContainerOptions()
    hosts: HostsOptions = HostsOptions()
    openstack: OpenStackOptions = OpenStackOptions()
    nodes: dict[str, NodeDescription] = Field(default_factory=dict)
    scaled: dict[str, ScaledDescription] = Field(default_factory=dict)
    vars: dict[str, Any] = Field(
        default_factory=dict,
        description="Variables of roles by name, for every node; they win over the roles' own values.",
    )

    @field_validator("name")
    @classmethod
    def _name_is_a_label(cls, value: str) -> str:
        return _label(value, "name")

    @field_validator("nodes")
    @classmethod
    def _nodes_are_labels(cls, value: dict[str, NodeDescription]) -> dict[str, NodeDescription]:
        for name in value:
            _label(name, "node name")
        return value

    @field_validator("scaled")
    @classmethod
    def _scaled_are_labels(cls, value: dict[str, ScaledDescription]) -> dict[str, ScaledDescription]:
        for name in value:
            _label(f"{name}-{MOST_SCALED}", "name of scaled nodes")
        return value

    def expanded(self, counts: Mapping[str, int] | None = None) -> Description:
        """With the scaled nodes among the nodes: as many as `counts` says, else as the description does."""
        wanted = {name: one.count for name, one in self.scaled.items()} | dict(counts or {})
        several = {
            f"{name}-{number}": NodeDescription(**one.model_dump(exclude={"count"}))
            for name, one in self.scaled.items()
            for number in range(1, wanted[name] + 1)
        }
        return self.model_copy(update={"nodes": self.nodes | several})

    @property
    def memory(self) -> int:
        """MiB that all nodes may use together."""
        return sum(node.memory for node in self.nodes.values())


@dataclass(frozen=True)
class Explained:
    """A description, and for each dotted key the layer that gave its value."""

    description: Description
    origins: Mapping[str, str]


def groups() -> dict[str, Group]:
    """Every service that a testbed can contain, from inventory/groups.yml."""
    raw = read_yaml(content.root() / "inventory" / "groups.yml")
    return {name: Group(**fields) for name, fields in raw.items()}


def profiles() -> list[str]:
    """Names of the profiles that come with the kit."""
    return sorted(path.stem for path in (content.root() / "inventory" / "profiles").glob("*.toml"))


def load(
    file: Path | None = None,
    *,
    profile: str | None = None,
    name: str | None = None,
    driver: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Explained:
    """Read and validate the description of a testbed.

    file: testbed.toml, or None to take the one in the current folder when there is one.
    Raises WrongUsage with one line that names the culprit and the nearest right word.
    """
    file_layer, file_origin = _file_layer(file)
    environment = {
        key: environ[f"XDC_{key.upper()}"] for key in ("name", "profile", "driver") if f"XDC_{key.upper()}" in environ
    }
    flags = {
        key: value for key, value in (("name", name), ("profile", profile), ("driver", driver)) if value is not None
    }
    chosen = str(flags.get("profile") or environment.get("profile") or file_layer.get("profile") or "demo")
    if chosen not in profiles():
        raise WrongUsage(
            f"unknown profile '{printable(chosen)}'{nearest(chosen, profiles())}",
            remedy=f"profiles: {', '.join(profiles())}",
        )
    profile_layer = _read_toml(content.root() / "inventory" / "profiles" / f"{chosen}.toml")
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("default", {"name": chosen, "profile": chosen}),
        (f"profile {chosen}", profile_layer),
        (file_origin, file_layer),
        ("environment", environment),
        ("command line", flags),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        merge(merged, layer)
        origins.update(dict.fromkeys((key for key, _ in _flat(layer)), origin))
    try:
        description = Description.model_validate(merged)
    except ValidationError as error:
        raise WrongUsage(
            _first_fault(error),
            remedy="see: xdc-testbed config explain, or docs/reference/description.md",
        ) from None
    _check_groups(description)
    _check_vars(description)
    sources.check(description.expanded({name: max(1, one.count) for name, one in description.scaled.items()}))
    return Explained(description, {key: origins.get(key, "default") for key, _ in _flat(description.model_dump())})


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree as dotted keys."""
    return dict(_flat(tree))


def _file_layer(file: Path | None) -> tuple[dict[str, Any], str]:
    if file is None:
        if not DEFAULT_FILE.is_file():
            return {}, "file"
        file = DEFAULT_FILE
    if not file.is_file():
        raise WrongUsage(
            f"no such description file: {file}",
            remedy="give an existing file with -f, or leave -f away to take a profile",
        )
    return _read_toml(file), str(file)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} is not TOML: {error}", remedy="mend the line that the message names") from None


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Lay a layer over a tree: tables go together key by key, any other value of the layer wins; it stays unchanged."""
    for key, value in layer.items():
        if isinstance(value, Mapping):
            below = into.get(key)
            if not isinstance(below, dict):
                below = into[key] = {}
            merge(below, value)
        else:
            into[key] = value


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _label(value: str, what: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError(
            f"'{value}' is not a {what}: small letters, digits and hyphens, at most 40, beginning with a letter"
        )
    return value


def _first_fault(error: ValidationError) -> str:
    """One line for the first fault: the dotted key, what is wrong, and the nearest right key."""
    fault = error.errors()[0]
    where = printable(".".join(str(part) for part in fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'{nearest(str(fault['loc'][-1]), _keys_at(fault['loc'][:-1]))}"
    if fault["type"] == "missing":
        return f"missing key '{where}'"
    return f"{where}: {printable(str(fault['msg']).removeprefix('Value error, '))}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Description
    if location[:1] == ("podman",):
        model = ContainerOptions
    elif location[:2] == ("hosts", "machines"):
        model = MachineDescription
    elif location[:2] == ("openstack", "nodes"):
        model = InstanceDescription
    elif location[:1] == ("openstack",):
        model = OpenStackOptions
    elif location[:1] == ("hosts",):
        model = HostsOptions
    elif location[:1] == ("scaled",):
        model = ScaledDescription
    elif location[:1] == ("nodes",):
        model = NodeDescription
    return list(model.model_fields)


def _check_groups(description: Description) -> None:
    if not description.nodes and not description.scaled:
        raise WrongUsage(
            "the description has no nodes",
            remedy="take a profile, or add [nodes.<name>] with site and groups",
        )
    for name in description.nodes:
        kind, _, number = name.rpartition("-")
        if kind in description.scaled and number.isdecimal():
            raise WrongUsage(
                f"nodes.{name}: is a name of the nodes of scaled.{kind}", remedy="give one of them another name"
            )
    known = groups()
    for where, node in _tables(description).items():
        for group in node.groups:
            if group not in known:
                raise WrongUsage(
                    f"{where}.groups: unknown group '{printable(group)}'{nearest(group, list(known))}",
                    remedy=f"groups: {', '.join(g for g, d in known.items() if not d.always)}",
                )
        if len(images := {known[group].image: group for group in node.groups if not known[group].always}) > 1:
            raise WrongUsage(
                f"{where}.groups: {' and '.join(images.values())} are in different images",
                remedy="give each a node of its own",
            )


def _check_vars(description: Description) -> None:
    variables.check("vars", description.vars)
    for where, node in _tables(description).items():
        variables.check(f"{where}.vars", node.vars)


def _tables(description: Description) -> dict[str, NodeDescription]:
    """Every table that describes nodes, by its dotted key."""
    nodes = {f"nodes.{name}": node for name, node in description.nodes.items()}
    return nodes | {f"scaled.{name}": node for name, node in description.scaled.items()}
