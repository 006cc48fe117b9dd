"""What a namespace holds: actions, packages, triggers and rules; as they are stored, and as the API shows
them.

All are immutable: an update makes a new one with the next version. Times are epoch milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Document: TypeAlias = dict[str, Any]
FIRST_VERSION = "0.0.1"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key and value of parameters or annotations. init: it goes to /init's environment instead of the
    arguments."""

    key: str
    value: Any
    init: bool = False

    def document(self) -> Document:
        """As the API shows it."""
        shown: Document = {"key": self.key, "value": self.value}
        if self.init:
            shown["init"] = True
        return shown


Parameters: TypeAlias = tuple[Parameter, ...]


def merge(*levels: Iterable[Parameter]) -> Parameters:
    """Later levels win; a key stays where it first stood."""
    merged: dict[str, Parameter] = {}
    for level in levels:
        merged.update((parameter.key, parameter) for parameter in level)
    return tuple(merged.values())


def shown(parameters: Parameters) -> list[Document]:
    """As the API shows them."""
    return [parameter.document() for parameter in parameters]


def value_of(parameters: Parameters, key: str) -> Any:
    """The value of a key, or None."""
    return next((parameter.value for parameter in parameters if parameter.key == key), None)


@dataclass(frozen=True, slots=True)
class Exec:
    """What an action runs. Its code is kept by the store; components are full names."""

    kind: str
    binary: bool = False
    main: str | None = None
    image: str | None = None
    components: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """timeout in ms, memory and logs in MB."""

    timeout: int
    memory: int
    logs: int
    concurrency: int = 1
    instances: int | None = None

    def document(self) -> Document:
        """As the API and the activation records show them."""
        limits: Document = {"concurrency": self.concurrency}
        if self.instances is not None:
            limits["instances"] = self.instances
        return limits | {"logs": self.logs, "memory": self.memory, "timeout": self.timeout}


@dataclass(frozen=True, slots=True)
class Entity:
    """What all entities have. path: the namespace, or namespace/package of an action in a package."""

    path: str
    name: str
    annotations: Parameters
    publish: bool
    version: str
    updated: int

    @property
    def full_name(self) -> str:
        """The key of the entity: unique over all collections."""
        return f"{self.path}/{self.name}"

    def _head(self) -> Document:
        return {
            "annotations": shown(self.annotations),
            "name": self.name,
            "namespace": self.path,
            "publish": self.publish,
            "updated": self.updated,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Action(Entity):
    """A function, or a sequence of them."""

    exec: Exec
    parameters: Parameters
    limits: ActionLimits

    def document(self, code: str | None, parameters: Parameters | None = None) -> Document:
        """In full; code None hides it. parameters: those merged with the package's, where the API shows
        these."""
        spec: Document = {"kind": self.exec.kind}
        if self.exec.kind == "sequence":
            spec["components"] = [f"/{component}" for component in self.exec.components]
        else:
            spec["binary"] = self.exec.binary
            if code is not None and (code or self.exec.kind != "blackbox"):
                spec["code"] = code
            if self.exec.main is not None:
                spec["main"] = self.exec.main
            if self.exec.image is not None:
                spec["image"] = self.exec.image
        merged = self.parameters if parameters is None else parameters
        return self._head() | {"exec": spec, "limits": self.limits.document(), "parameters": shown(merged)}

    def summary(self) -> Document:
        """As lists show it."""
        return self._head() | {"exec": {"binary": self.exec.binary}, "limits": self.limits.document()}


@dataclass(frozen=True, slots=True)
class Package(Entity):
    """A folder of actions with parameters; or, with `binding` (namespace, name), a second view of one."""

    parameters: Parameters
    binding: tuple[str, str] | None

    @property
    def target(self) -> str | None:
        """Full name of the package that this one is bound to."""
        return "/".join(self.binding) if self.binding else None

    def document(self, parameters: Parameters | None = None) -> Document:
        """In full, without its actions."""
        binding = dict(zip(("namespace", "name"), self.binding, strict=True)) if self.binding else {}
        merged = self.parameters if parameters is None else parameters
        return self._head() | {"binding": binding, "parameters": shown(merged)}

    def summary(self) -> Document:
        """As lists show it."""
        binding: Any = self.document()["binding"] or False
        return self._head() | {"binding": binding}


@dataclass(frozen=True, slots=True)
class Link:
    """One rule in its trigger. action: full name."""

    rule: str
    action: str
    active: bool

    def document(self) -> Document:
        """As the trigger shows it."""
        return {"action": reference(self.action), "status": status(self.active)}


@dataclass(frozen=True, slots=True)
class Trigger(Entity):
    """An event channel; links in the order in which a fire takes them."""

    parameters: Parameters
    links: tuple[Link, ...] = ()

    def document(self) -> Document:
        """In full."""
        found = self._head() | {"limits": {}, "parameters": shown(self.parameters)}
        if self.links:
            found["rules"] = {link.rule: link.document() for link in self.links}
        return found

    def summary(self) -> Document:
        """As lists show it."""
        return self._head()

    def link(self, rule: str) -> Link | None:
        """The entry of a rule."""
        return next((link for link in self.links if link.rule == rule), None)

    def with_link(self, link: Link) -> Trigger:
        """With this rule last, as a change of its status moves it."""
        others = self.without(link.rule).links
        return dataclasses.replace(self, links=(*others, link))

    def without(self, rule: str) -> Trigger:
        """Without this rule."""
        return dataclasses.replace(self, links=tuple(link for link in self.links if link.rule != rule))


@dataclass(frozen=True, slots=True)
class Rule(Entity):
    """trigger and action are full names. Whether it is active is kept by its trigger."""

    trigger: str
    action: str

    def document(self, active: bool | None) -> Document:
        """In full, or without status (None), as lists show it."""
        found = self._head() | {"trigger": reference(self.trigger), "action": reference(self.action)}
        return found if active is None else found | {"status": status(active)}


Any_: TypeAlias = Action | Package | Trigger | Rule
Collection: TypeAlias = Literal["actions", "packages", "triggers", "rules"]
COLLECTION: Mapping[type[Entity], Collection] = {
    Action: "actions",
    Package: "packages",
    Trigger: "triggers",
    Rule: "rules",
}


def reference(full_name: str) -> Document:
    """`guest/pk/act` as the API refers to an entity."""
    path, _, name = full_name.rpartition("/")
    return {"path": path, "name": name}


def status(active: bool) -> str:
    """The word for it."""
    return "active" if active else "inactive"


def next_version(version: str) -> str:
    """0.0.1 -> 0.0.2."""
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def stored(entity: Entity) -> Document:
    """As the store keeps it."""
    return dataclasses.asdict(entity)


def restored(collection: str, kept: Document) -> Entity:
    """The entity of `stored`."""
    kept["annotations"] = _parameters(kept["annotations"])
    if collection == "rules":
        return Rule(**kept)
    kept["parameters"] = _parameters(kept["parameters"])
    if collection == "triggers":
        kept["links"] = tuple(Link(**link) for link in kept["links"])
        return Trigger(**kept)
    if collection == "packages":
        kept["binding"] = tuple(kept["binding"]) if kept["binding"] else None
        return Package(**kept)
    kept["exec"]["components"] = tuple(kept["exec"]["components"])
    kept["exec"], kept["limits"] = Exec(**kept["exec"]), ActionLimits(**kept["limits"])
    return Action(**kept)


def _parameters(kept: list[Document]) -> Parameters:
    return tuple(Parameter(**entry) for entry in kept)
