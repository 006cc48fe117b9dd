"""The driver `openstack`: instances in one project of any OpenStack in clouds.yaml, made by Terraform.

Terraform's state is never the last word. Before anything is made, what the cloud has and the state has not (an apply
that was killed) is swept; after everything is removed, the project is asked again. Removal works without the state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from xdc_testbed.drivers import ownership, provider, quota
from xdc_testbed.drivers.base import Change, Diagnosis, Finding, Node, NodeRequest, Request, Resource, Seen
from xdc_testbed.drivers.cloud import Cloud, Flavor
from xdc_testbed.drivers.ownership import Thing
from xdc_testbed.drivers.terraform import Backend, Engine, Plan, Terraform, TerraformFailed, Workspace
from xdc_testbed.errors import XdcError
from xdc_testbed.progress import Event, Reporter, silent


@dataclass(frozen=True)
class NodeOptions:
    """What one node gets. flavor: None for that of all; boot_gb: None for no boot volume; volumes: label -> GB."""

    flavor: str | None = None
    boot_gb: int | None = None
    volumes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """Options of the driver. ports: rows of the port table with numbers; public: nodes with a floating address."""

    cloud: str
    image: str
    flavor: str
    external_network: str
    admin_cidrs: tuple[str, ...]
    public: tuple[str, ...]
    cidr: str
    dns_servers: tuple[str, ...]
    spread: bool
    availability_zone: str | None
    volume_type: str | None
    expires_hours: int
    terraform: str
    provider_mirror: str
    backend: Backend
    nodes: Mapping[str, NodeOptions]
    ports: Sequence[Mapping[str, Any]]


class OpenStack:
    """The driver `openstack`. state_dir: the testbed's folder, or None when it is lost."""

    name = "openstack"
    boot_seconds = 900.0
    kinds = "server, volume, port, network, router, floating address, security group, server group or key pair"

    def __init__(self, options: Options, *, state_dir: Path | None, cloud: Cloud | None = None) -> None:
        self._options, self._state_dir = options, state_dir
        self.cloud = cloud or Cloud(options.cloud)
        self._plan: Plan | None = None
        self._lost: list[Thing] = []
        self._reasons: dict[str, str] = {}

    # -- contract ---------------------------------------------------------------------------------------------------

    def check(self, request: Request) -> list[Finding]:
        """Engine, provider, credentials, services, image, flavors, network, and the quota in one table."""
        found: list[Finding] = []
        if not self._options.admin_cidrs:
            needed = "networks that people come from"
            remedy = 'set openstack.admin_cidrs = ["<your address>/32"]: nobody else reaches the nodes by SSH'
            found.append(Finding("admin_cidrs", False, "none given", needed=needed, remedy=remedy))
        engine = _attempt(found, "terraform", lambda: self._engine)
        if engine:
            found.append(Finding("terraform", True, f"{engine.kind} {engine.version}, {engine.path}"))
        mirror = _attempt(
            found, "provider", lambda: provider.mirror_for(self._options.provider_mirror) or "the registry"
        )
        if mirror:
            found.append(Finding("provider", True, f"from {mirror}"))
        project = _attempt(found, "cloud", lambda: self.cloud.project)
        if not project or not engine:
            return found
        found.append(Finding("cloud", True, f"{self._options.cloud}, project {project}"))
        volumes = any(n.boot_gb or n.volumes for n in self._options.nodes.values())
        for service in ("compute", "network", "image", *(["block-storage"] if volumes else [])):
            if not self.cloud.has(service):
                needed, where = "in the catalogue", "see region_name of this entry in clouds.yaml"
                found.append(Finding(f"service {service}", False, "not there", needed=needed, remedy=where))
        variables = _attempt(found, "description", lambda: self._variables(request))
        if variables is None or not all(finding.ok for finding in found):
            return found
        found.append(Finding("image", True, f"{self._options.image}: {variables['image_id']}"))
        network = variables["external_network"] or "none: nodes are reached by their own addresses"
        found.append(Finding("external network", True, network))
        rows = _attempt(found, "quota", lambda: self._quota(request, variables))
        return found + (rows or [])

    def plan(self, request: Request) -> list[Change]:
        """What Terraform would do, and what the cloud has of this testbed that no state knows."""
        runner = self._runner(request, silent)
        runner.prepare(self._variables(request))
        self._plan = runner.plan()
        # Asked last: what an apply that was killed has ordered may still be coming.
        self._lost = self._orphans(request.testbed_id, _known(runner))
        changes = [Change("remove", f"lost {thing.kind}", thing.name or thing.id) for thing in self._lost]
        actions = {"create": "create", "update": "start", "replace": "replace", "remove": "remove"}
        changes += [Change(actions[one.action], one.kind, one.name) for one in self._plan.changes]  # type: ignore[arg-type]
        touched = {change.name for change in changes if change.kind == "server"}
        return changes + [Change("keep", "server", node.name) for node in request.nodes if node.name not in touched]

    def create(self, request: Request, report: Reporter) -> list[Node]:
        """Sweep what an earlier apply lost, then apply what `plan` has shown. Raises TerraformFailed."""
        runner = self._runner(request, report)
        if self._plan is None:
            self.plan(request)
        if self._lost:
            report(Event("note", f"{len(self._lost)} things of an interrupted apply are removed first"))
            self._sweep_orphans(request.testbed_id, runner, report)
        plan, self._plan = self._plan, None
        assert plan is not None  # noqa: S101 - self.plan has made it
        try:
            runner.apply(plan)
        except TerraformFailed as failure:
            raise self._explained(failure) from None
        return self.nodes(request)

    def nodes(self, request: Request) -> list[Node]:
        """The servers that are active, in the order of the request."""
        runner = self._runner(request, silent)
        if not runner.workspace.state.is_file():
            return []
        made: dict[str, dict[str, Any]] = runner.output().get("nodes", {})
        active = {server.id for server in self.cloud.servers() if server.status == "ACTIVE"}
        return [
            self._node(request, wanted, made)
            for wanted in request.nodes
            if wanted.name in made and made[wanted.name]["resource_id"] in active
        ]

    def diagnose(self, request: Request, node: str) -> Diagnosis:
        """Console, server, fault, ports of one node; asked before anything is cleaned up."""
        name = f"xdc-{request.testbed_id}-{node}"
        parts = {}
        for server in self.cloud.servers():
            if server.owner == request.testbed_id and server.name == name:
                for title, ask in (("state", self.cloud.state_of), ("console", self.cloud.console)):
                    try:
                        parts[title] = ask(server.id)
                    except XdcError as error:
                        parts[title] = error.message
        return Diagnosis(node, parts or {"state": f"there is no server {name}"})

    def resources(self, testbed_id: str) -> list[Resource]:
        """Everything of exactly this id in the project."""
        return [Resource(thing.kind, thing.id, thing.name or thing.id) for thing in self._owned(testbed_id)]

    def destroy(self, testbed_id: str, report: Reporter) -> None:
        """Sweep what the state does not know, let Terraform remove the rest, then sweep everything of this id."""
        self._terraform_destroy(testbed_id, report)
        self._reasons = self._sweep(lambda: self._owned(testbed_id), report)

    def leftovers(self, testbed_id: str) -> list[Resource]:
        """What is still there, each with the reason that the cloud gave."""
        return [
            Resource(t.kind, t.id, f"{t.name or t.id} ({self._reasons.get(t.id, 'still there')})")
            for t in self._owned(testbed_id)
        ]

    def testbeds(self) -> dict[str, Seen]:
        """Every testbed of the project, by id."""
        return ownership.testbeds(self.cloud.things())

    def expired(self, now: datetime) -> list[str]:
        """Ids of testbeds whose time is over."""
        return ownership.expired(self.cloud.things(), now)

    # -- what Terraform is told ---------------------------------------------------------------------------------------

    def _variables(self, request: Request) -> dict[str, Any]:
        """Variables of terraform/openstack. What must not change later (expiry, numbers, image) is kept in a file."""
        options = self._options
        kept_file = request.state_dir / "terraform" / "kept.json"
        kept: dict[str, Any] = json.loads(kept_file.read_text()) if kept_file.is_file() else {}
        if kept.get("image") != options.image:
            kept |= {"image": options.image, "image_id": self.cloud.image(options.image)}
        later = datetime.now(UTC) + timedelta(hours=options.expires_hours)
        kept.setdefault("expires", later.strftime("%Y%m%dT%H%M%SZ"))
        indexes: dict[str, int] = kept.setdefault("indexes", {})
        for node in request.nodes:
            if node.name not in indexes:
                indexes[node.name] = min(set(range(len(indexes) + 1)) - set(indexes.values()))
        kept_file.parent.mkdir(parents=True, exist_ok=True)
        kept_file.write_text(json.dumps(kept, indent=1))
        external = self.cloud.external_network(options.external_network)
        keys = request.state_dir / "keys"
        return {
            "cloud": options.cloud,
            "testbed_id": request.testbed_id,
            "testbed_name": request.testbed_name,
            "testbed_origin": request.origin,
            "domain": request.domain,
            "expires": kept["expires"],
            "networks": {"lan": {"cidr": options.cidr}},
            "external_network": external[1] if external else None,
            "external_network_id": external[0] if external else None,
            "nodes": {node.name: self._described(node, indexes[node.name], request) for node in request.nodes},
            "ports": list(options.ports),
            "admin_cidrs": list(options.admin_cidrs),
            "spread": options.spread,
            "image_id": kept["image_id"],
            "flavor_ids": {node.name: self._flavor(node).id for node in request.nodes},
            "dns_servers": list(options.dns_servers),
            "ssh_public_key": (keys / "id_ed25519.pub").read_text().strip(),
            "host_keys_dir": str(keys / "hosts"),
            "availability_zone": options.availability_zone,
            "volume_type": options.volume_type,
        }

    def _described(self, node: NodeRequest, index: int, request: Request) -> dict[str, Any]:
        given = self._options.nodes.get(node.name, NodeOptions())
        return {
            "index": index,
            "site": node.site,
            "groups": list(node.groups),
            "public": node.name in self._public(request),
            "boot_gb": given.boot_gb,
            "volumes": dict(given.volumes),
        }

    def _public(self, request: Request) -> tuple[str, ...]:
        """Nodes with a floating address: as described, else the client's node, else the first."""
        clients = [node.name for node in request.nodes if "client" in node.groups]
        return self._options.public or tuple((clients or [request.nodes[0].name])[:1])

    def _flavor(self, node: NodeRequest) -> Flavor:
        given = self._options.nodes.get(node.name, NodeOptions()).flavor
        return self.cloud.flavor(given or self._options.flavor, ram=node.memory)

    def _quota(self, request: Request, variables: Mapping[str, Any]) -> list[Finding]:
        """Need by the layout module's own arithmetic, minus what is there already, against the limits."""
        space = Workspace.of_the_kit("modules/layout", request.state_dir / "terraform" / "layout")
        layout = Terraform(self._engine, space, logs=request.state_dir / "terraform" / "logs")
        words = ("testbed_id", "testbed_name", "testbed_origin", "domain", "expires", "networks", "external_network")
        layout.prepare({w: variables[w] for w in (*words, "nodes", "ports", "admin_cidrs", "spread")})
        need = dict(layout.evaluated(layout.plan())["need"])
        flavors = {node.name: self._flavor(node) for node in request.nodes}
        need |= {"cores": sum(f.vcpus for f in flavors.values()), "ram": sum(f.ram for f in flavors.values())}
        return quota.findings(need, self._there(request, flavors), self.cloud.limits())

    def _there(self, request: Request, flavors: Mapping[str, Flavor]) -> dict[str, int]:
        """What is there already of this testbed, by the words of the quota."""
        own = self._owned(request.testbed_id)
        kinds = {
            "server": "instances",
            "network": "networks",
            "subnet": "subnets",
            "router": "routers",
            "port": "ports",
            "router interface": "ports",
            "floating address": "floating_ips",
            "security group": "security_groups",
            "security group rule": "security_group_rules",
            "server group": "server_groups",
            "volume": "volumes",
        }
        have: dict[str, int] = {}
        for thing in own:
            if thing.kind in kinds:
                have[kinds[thing.kind]] = have.get(kinds[thing.kind], 0) + 1
        servers = {thing.name for thing in own if thing.kind == "server"}
        made = [flavor for name, flavor in flavors.items() if f"xdc-{request.testbed_id}-{name}" in servers]
        return have | {"cores": sum(f.vcpus for f in made), "ram": sum(f.ram for f in made)}

    # -- how ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _engine(self) -> Engine:
        return Engine.find(self._options.terraform)

    def _runner(self, request: Request, report: Reporter) -> Terraform:
        return self._terraform(request.state_dir, report)

    def _terraform(self, state_dir: Path, report: Reporter) -> Terraform:
        folder = state_dir / "terraform"
        space = Workspace.of_the_kit(
            "openstack",
            folder,
            mirror=provider.mirror_for(self._options.provider_mirror),
            environment=_clouds_yaml(),
        )
        return Terraform(self._engine, space, logs=folder / "logs", report=report, backend=self._options.backend)

    def _owned(self, testbed_id: str) -> list[Thing]:
        return ownership.owned(self.cloud.things(), testbed_id)

    def _orphans(self, testbed_id: str, known: Collection[str]) -> list[Thing]:
        return ownership.orphans(self._owned(testbed_id), known)

    def _sweep_orphans(self, testbed_id: str, runner: Terraform, report: Reporter) -> None:
        known = _known(runner)  # once: a sweep changes no state
        self._sweep(lambda: self._orphans(testbed_id, known), report)

    def _sweep(self, find: Any, report: Reporter) -> dict[str, str]:
        left = ownership.sweep(self.cloud, find, report)
        return {thing.id: reason for thing, reason in left.items()}

    def _terraform_destroy(self, testbed_id: str, report: Reporter) -> None:
        """Terraform's part; whatever goes wrong here, the full sweep follows."""
        if self._state_dir is None or not (self._state_dir / "terraform" / "terraform.tfstate").is_file():
            return
        try:
            runner = self._terraform(self._state_dir, report)
            runner.prepare(json.loads(runner.workspace.variables.read_text()))
            self._sweep_orphans(testbed_id, runner, report)
            runner.apply(runner.plan(destroy=True))
        except (XdcError, OSError, ValueError) as problem:
            if getattr(problem, "exit_code", 1) == 130:
                raise
            report(Event("warning", f"Terraform could not remove all of it, the sweep goes on: {problem}"))

    def _node(self, request: Request, wanted: NodeRequest, made: Mapping[str, Mapping[str, Any]]) -> Node:
        one = made[wanted.name]
        jump = made[one["jump"]]["ssh_address"] if one["jump"] else None
        public = (request.state_dir / "keys" / "hosts" / f"{wanted.name}.pub").read_text()
        return Node(
            name=wanted.name,
            site=wanted.site,
            groups=wanted.groups,
            fqdn=one["fqdn"],
            address=one["address"],
            ssh_address=one["ssh_address"],
            ssh_port=22,
            ssh_user="root",
            key_file=str(request.state_dir / "keys" / "id_ed25519"),
            host_key=" ".join(public.split()[:2]),
            driver=self.name,
            resource_id=one["resource_id"],
            jump=f"root@{jump}:22" if jump else None,
        )

    def _explained(self, failure: TerraformFailed) -> XdcError:
        """A failed apply with the reason that only the cloud knows, and what to do."""
        servers = [error.failed_server for error in failure.outcome.errors if error.failed_server]
        faults = [fault for server in servers if (fault := self._fault(server))]
        message = failure.message
        if faults:
            message = f"{message}: {faults[0]}" if "ERROR" in message else f"{message}; a server failed: {faults[0]}"
        remedy = "when the cause is mended, run up again: it resumes; or xdc-testbed down"
        if any(error.orphans or error.cancelled for error in failure.outcome.errors):
            remedy = "run up again: it removes first what an interrupted run has left in the cloud; or xdc-testbed down"
        return TerraformFailed(message, failure.outcome, remedy=f"{remedy}. {failure.remedy}")

    def _fault(self, server: str) -> str | None:
        try:
            return self.cloud.fault(server)
        except XdcError:
            return None


def _known(runner: Terraform) -> set[str]:
    """Ids of what is in the state."""
    return set(runner.known().values())


def _attempt(found: list[Finding], what: str, ask: Any) -> Any:
    """What `ask` answers; None, and a finding, when it cannot be had."""
    try:
        return ask()
    except XdcError as error:
        found.append(Finding(what, False, error.message, remedy=error.remedy or ""))
        return None


def _clouds_yaml() -> dict[str, str]:
    """Terraform works in another folder: a clouds.yaml of the current one is named, as openstacksdk would find it."""
    if "OS_CLIENT_CONFIG_FILE" not in os.environ and Path("clouds.yaml").is_file():
        return {"OS_CLIENT_CONFIG_FILE": str(Path("clouds.yaml").absolute())}
    return {}
