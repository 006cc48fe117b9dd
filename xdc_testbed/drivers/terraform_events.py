"""What a run of Terraform said: its `-json` lines become one outcome. Pure; knows nothing of processes.

A run is judged by its exit code and by what was started and not ended, never by drift events: a plan without any change
has eighteen of them. The reason of a failure is in a diagnostic at the very end, not in the event of the resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xdc_testbed.progress import Event, Reporter, silent

Action = Literal["create", "update", "replace", "remove", "read", "keep"]

_ACTIONS: dict[str, Action] = {
    "create": "create",
    "update": "update",
    "replace": "replace",
    "delete": "remove",
    "remove": "remove",
    "read": "read",
    "noop": "keep",
}
_KINDS = {
    "compute_instance_v2": "server",
    "compute_keypair_v2": "key pair",
    "compute_servergroup_v2": "server group",
    "networking_network_v2": "network",
    "networking_subnet_v2": "subnet",
    "networking_router_v2": "router",
    "networking_router_interface_v2": "router interface",
    "networking_port_v2": "port",
    "networking_secgroup_v2": "security group",
    "networking_secgroup_rule_v2": "security group rule",
    "networking_floatingip_v2": "floating address",
    "networking_floatingip_associate_v2": "way to floating address",
    "blockstorage_volume_v3": "volume",
}
_DONE = {"create": "created", "update": "changed", "replace": "replaced", "remove": "removed"}


@dataclass(frozen=True)
class Planned:
    """One change of a plan, by the resource's address."""

    action: Action
    address: str

    @property
    def kind(self) -> str:
        """What it is, in a person's words: `server`."""
        return spoken(self.address)[0]

    @property
    def name(self) -> str:
        """Which one: the key of a map, else its name."""
        return spoken(self.address)[1]


@dataclass(frozen=True)
class Diagnostic:
    """One complaint. address: the resource, when Terraform says it."""

    severity: Literal["error", "warning"]
    summary: str
    detail: str = ""
    address: str | None = None

    @property
    def cause(self) -> str:
        """The innermost message: what the cloud's service said, without the HTTP around it."""
        body = re.search(r"instead: (\{.*)", self.summary, re.DOTALL)
        said = _message(body.group(1)) if body else None
        if said is None and self.cancelled:
            said = "the request was cancelled; the cloud may have carried it out all the same"
        if (
            said is None
            and self.summary in ("Resource precondition failed", "Invalid value for variable")
            and self.detail
        ):
            said = self.detail
        return " ".join((said or self.summary).split())

    @property
    def cancelled(self) -> bool:
        """Whether Terraform was told to stop while the request was on its way."""
        return "context canceled" in self.summary

    @property
    def failed_server(self) -> str | None:
        """Id of a server that ended in ERROR; why is known to the cloud only."""
        found = re.search(r"waiting for instance \(([0-9a-f-]{36})\).*unexpected state 'ERROR'", self.summary)
        return found.group(1) if found else None

    @property
    def orphans(self) -> bool:
        """Whether this is how the cloud speaks of things that exist and are not in Terraform's state."""
        return any(re.search(words, self.summary) for words in _ORPHAN_WORDS)


_ORPHAN_WORDS = (
    r"Port [0-9a-f-]{36} is still in use",
    r"Router already has a port on subnet",
    r"overlaps with another subnet",
    r"SecurityGroupRuleExists",
    r"already attached to instance",
    r"RouterInUse",
)


@dataclass
class Outcome:
    """What one run said. started, completed, errored: address -> action; drift is counted, and means nothing."""

    engine: str = ""
    version: str = ""
    planned: list[Planned] = field(default_factory=list)
    started: dict[str, Action] = field(default_factory=dict)
    completed: dict[str, Action] = field(default_factory=dict)
    errored: dict[str, Action] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    summaries: dict[str, dict[str, int]] = field(default_factory=dict)
    drift: int = 0

    @property
    def errors(self) -> list[Diagnostic]:
        """Errors, without the echo that Terraform adds to each when it is told to stop."""
        return [d for d in self.diagnostics if d.severity == "error" and d.summary != "execution halted"]

    @property
    def in_flight(self) -> list[str]:
        """Resources that were begun and neither made nor failed: after a kill they may exist and be in no state."""
        return sorted(set(self.started) - set(self.completed) - set(self.errored))

    @property
    def finished(self) -> bool:
        """Whether an apply or destroy went to its end: only then there is a last summary."""
        return bool({"apply", "destroy"} & set(self.summaries))

    @property
    def changes(self) -> int:
        """How many resources the plan would change."""
        return sum(self.summaries.get("plan", {}).get(word, 0) for word in ("add", "change", "remove"))


class Reading:
    """Takes lines as they come; tells the reporter; `outcome` is complete after the last."""

    def __init__(self, report: Reporter = silent, phase: str = "terraform") -> None:
        self.outcome = Outcome()
        self._report, self._phase = report, phase

    def line(self, text: str) -> None:
        """Read one line. Lines that are no JSON (a provider's panic, a shell's complaint) are passed over."""
        try:
            event = json.loads(text)
        except ValueError:
            return
        if isinstance(event, dict):
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        out = self.outcome
        match event.get("type"):
            case "version":
                out.engine = "tofu" if "tofu" in event else "terraform"
                out.version = str(event.get(out.engine, ""))
            case "planned_change":
                change = event["change"]
                out.planned.append(Planned(_ACTIONS.get(change["action"], "keep"), change["resource"]["addr"]))
            case "resource_drift":
                out.drift += 1
            case "change_summary":
                counts = dict(event["changes"])
                out.summaries[str(counts.pop("operation"))] = counts
            case "apply_start" | "apply_complete" | "apply_errored" as what:
                self._resource(what, event["hook"])
            case "diagnostic":
                said = event["diagnostic"]
                out.diagnostics.append(
                    Diagnostic(said["severity"], said["summary"], said.get("detail") or "", said.get("address"))
                )

    def _resource(self, what: str, hook: Mapping[str, Any]) -> None:
        address = str(hook["resource"]["addr"])
        action = _ACTIONS.get(hook["action"], "keep")
        if action == "read":
            return
        kind, name = spoken(address)
        if what == "apply_start":
            self.outcome.started[address] = action
            # A replaced resource is removed, then created, under one address.
            self.outcome.completed.pop(address, None)
            self._report(Event("task-start", f"{kind} {name}", phase=self._phase))
            return
        seconds = float(hook.get("elapsed_seconds", 0))
        if what == "apply_complete":
            self.outcome.completed[address] = action
            text = f"{kind} {name} {_DONE.get(action, action)}"
            self._report(Event("step", text, phase=self._phase, status="changed", seconds=seconds))
        else:
            self.outcome.errored[address] = action
            text = f"{kind} {name} failed"
            self._report(Event("step", text, phase=self._phase, status="failed", seconds=seconds))


def read(lines: Iterable[str]) -> Outcome:
    """The outcome of a recorded run."""
    reading = Reading()
    for line in lines:
        reading.line(line)
    return reading.outcome


def spoken(address: str) -> tuple[str, str]:
    """An address in a person's words: `module.nodes.openstack_compute_instance_v2.this["a"]` is (`server`, `a`)."""
    found = re.search(r"(?:^|\.)([a-z0-9]+_[a-z0-9_]+)\.([a-z0-9_]+)(?:\[(.+)\])?$", address)
    if found is None:
        return "resource", address
    kind = found.group(1).removeprefix("openstack_")
    return _KINDS.get(kind, kind.replace("_", " ")), (found.group(3) or found.group(2)).strip('"')


def _message(body: str) -> str | None:
    """The message inside a service's error, whatever it is wrapped in; cut bodies are read as far as they go."""
    try:
        data = json.JSONDecoder().raw_decode(body)[0]
    except ValueError:
        cut = re.search(r'"message": "((?:[^"\\]|\\.)*)', body)
        return cut.group(1) if cut else None
    while isinstance(data, dict):
        if isinstance(data.get("message"), str):
            return str(data["message"])
        data = next((value for value in data.values() if isinstance(value, dict)), None)
    return None
