"""Local nodes: containers that boot systemd and are plain SSH hosts, made by podman or docker.

Everything made carries the label org.xdc.testbed=<exact id>. Engine quirks of this machine are in one generated file in
the state folder (containers.conf); nothing in /etc is changed. The facts behind each option: docs/explanation/nodes.md.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xdc_testbed.drivers.base import Change, Diagnosis, Finding, Node, NodeRequest, Request, Resource, Seen
from xdc_testbed.drivers.engine import Engine, NodeContainer
from xdc_testbed.drivers.requirements import findings
from xdc_testbed.errors import RequirementMissing, WrongUsage, XdcError
from xdc_testbed.progress import Event, Reporter

LABEL = "org.xdc.testbed"
POOL = ipaddress.IPv4Network("10.89.64.0/18")
"""Where testbeds take their /24 from; unreachable as a whole outside them: no test traffic leaves this machine."""

SITE_BLOCK = 32
"""Addresses of one site: a /27 of the testbed's /24; the first block is the network's own."""


class Containers:
    """The driver `podman` (and docker behind the same code)."""

    name = "podman"
    boot_seconds = 90.0  # a node boots in about two on a quiet machine of two cores
    kinds = "container, volume, network, bridge, firewall rule or process"

    def __init__(self, *, engine: str, subnet: str, state_dir: Path | None) -> None:
        self._subnet = subnet
        self._subnets: set[str] = set()  # what destroy has seen, so that leftovers can look for their traces
        self._bridges: set[str] = set()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if state_dir is None:  # `down` without a state folder
            self._scratch = tempfile.TemporaryDirectory(prefix="xdc-testbed-")
            state_dir = Path(self._scratch.name)
        self.engine = Engine.find(engine, state_dir)

    # -- contract ---------------------------------------------------------------------------------------------------

    def check(self, request: Request) -> list[Finding]:
        """Engine, limits, memory, disk of this machine against the request."""
        have = {c["Names"][0] for c in self._containers(request.testbed_id)}
        missing = [n for n in request.nodes if self._container(request, n) not in have]
        return findings(self.engine, memory_mib=sum(n.memory for n in missing), nodes=len(missing))

    def plan(self, request: Request) -> list[Change]:
        """What `create` would do, node by node."""
        have = {c["Names"][0]: c for c in self._containers(request.testbed_id)}
        changes: list[Change] = []
        for node in request.nodes:
            found = have.pop(self._container(request, node), None)
            action = "create" if found is None else self._difference(request, node, found)
            changes.append(Change(action, "node", node.name))  # type: ignore[arg-type]
        changes += [Change("remove", "node", c["Labels"].get(f"{LABEL}.node", name)) for name, c in have.items()]
        return changes

    def create(self, request: Request, report: Reporter) -> list[Node]:
        """Make the network and the nodes, all at once; each node is a systemd that was started, not yet reached."""
        changes = self.plan(request)
        self._network(request)
        for change in changes:
            if change.action in ("replace", "remove"):
                self.engine.remove([f"xdc-{request.testbed_id}-{change.name}"], grace=2)
        wanted = {node.name: node for node in request.nodes}
        places = self._addresses(request)
        work: list[Callable[[], None]] = []
        for change in changes:
            if change.action in ("create", "replace"):
                work.append(lambda name=change.name: self._run_node(request, wanted[name], places[name]))  # type: ignore[misc]
            elif change.action == "start":
                work.append(lambda name=change.name: self._start_node(request, name))  # type: ignore[misc]
        with ThreadPoolExecutor(max_workers=4) as pool:
            for future in [pool.submit(job) for job in work]:
                future.result()
        for change in changes:
            report(
                Event(
                    "step",
                    f"node {change.name}: {change.action}",
                    host=change.name,
                    status="ok" if change.action == "keep" else "changed",
                )
            )
        return self.nodes(request)

    def nodes(self, request: Request) -> list[Node]:
        """The nodes that run now, in the order of the request."""
        found = {c["Names"][0]: c for c in self._containers(request.testbed_id) if c["State"] == "running"}
        places = self._addresses(request) if found else {}
        nodes: list[Node] = []
        for wanted in request.nodes:
            container = found.get(self._container(request, wanted))
            if container is None:
                continue
            ports = {int(p["container_port"]): int(p["host_port"]) for p in container.get("Ports") or []}
            nodes.append(
                Node(
                    name=wanted.name,
                    site=wanted.site,
                    groups=wanted.groups,
                    fqdn=f"{wanted.name}.{request.domain}",
                    address=str(places[wanted.name]),
                    ssh_address="127.0.0.1",
                    ssh_port=ports[22],
                    ssh_user="root",
                    key_file=str(request.state_dir / "keys" / "id_ed25519"),
                    host_key=_public(request.state_dir / "keys" / "hosts" / f"{wanted.name}.pub"),
                    driver=self.name,
                    resource_id=container["Id"],
                    published={str(k): v for k, v in ports.items() if k != 22},
                    installed=request.installed,
                )
            )
        return nodes

    def diagnose(self, request: Request, node: str) -> Diagnosis:
        """State, console and journal of one node."""
        name = f"xdc-{request.testbed_id}-{node}"
        parts = {}
        for title, args in {
            "state": ("inspect", "--format", "{{json .State}}", name),
            "console": ("logs", "--tail", "200", name),
            "failed units": ("exec", name, "systemctl", "--failed", "--no-pager"),
            "journal": ("exec", name, "journalctl", "-b", "-n", "300", "--no-pager"),
        }.items():
            done = self.engine.run(*args, timeout=20, check=False)
            parts[title] = (done.stdout + done.stderr).decode(errors="replace")
        return Diagnosis(node, parts)

    def resources(self, testbed_id: str) -> list[Resource]:
        """Containers, volumes and networks that carry exactly this id, and this id's bridge."""
        found = [Resource("container", c["Id"][:12], c["Names"][0]) for c in self._containers(testbed_id)]
        found += [Resource("volume", name, name) for name in self.engine.volumes(f"{LABEL}={testbed_id}")]
        networks = [n["name"] for n in self._networks() if n.get("labels", {}).get(LABEL) == testbed_id]
        return found + [Resource("network", name, name) for name in networks]

    def destroy(self, testbed_id: str, report: Reporter) -> None:
        """Two passes over everything of exactly this id: containers with their anonymous volumes, volumes, network."""
        own = [n for n in self._networks() if n.get("labels", {}).get(LABEL) == testbed_id]
        self._subnets |= {part["subnet"] for network in own for part in network.get("subnets") or []}
        self._bridges |= {network["network_interface"] for network in own if network.get("network_interface")}
        for attempt in (1, 2):
            found = self.resources(testbed_id)
            if not found:
                break
            containers = [r.id for r in found if r.kind == "container"]
            if containers:
                self.engine.remove(containers, grace=3, check=attempt == 2)
            for resource in found:
                if resource.kind == "volume":
                    self.engine.run("volume", "rm", "-f", resource.id, timeout=60, check=attempt == 2)
                if resource.kind == "network":
                    self.engine.remove_network(resource.id, check=attempt == 2)
                report(Event("step", f"{resource.kind} {resource.name} removed", status="changed"))
        self._forget_route()

    def leftovers(self, testbed_id: str) -> list[Resource]:
        """What of this id is left: engine objects, bridge, firewall rules, processes."""
        left = self.resources(testbed_id)
        bridges = sorted({self._bridge(testbed_id), *self._bridges})
        left += [Resource("bridge", name, name) for name in bridges if Path("/sys/class/net", name).exists()]
        if os.geteuid() == 0 and shutil.which("iptables-save"):
            from xdc_testbed.processes import run

            rules = run(["iptables-save"], timeout=20, check=False).text.splitlines()
            for subnet in sorted(self._subnets):
                left += [Resource("firewall rule", rule, rule) for rule in rules if subnet in rule]
        left += [Resource("process", pid, command) for pid, command in _processes_naming(f"xdc-{testbed_id}-")]
        return left

    def testbeds(self) -> dict[str, Seen]:
        """Every testbed of which something exists, by id."""
        labelled = [container["Labels"] for container in self.engine.containers(LABEL)]
        labelled += [network.get("labels") or {} for network in self._networks()]
        return {
            labels[LABEL]: Seen(labels.get(f"{LABEL}.name", ""), labels.get(f"{LABEL}.origin", ""))
            for labels in labelled
            if LABEL in labels
        }

    # -- network ----------------------------------------------------------------------------------------------------

    def _network(self, request: Request) -> None:
        name = f"xdc-{request.testbed_id}"
        if any(n["name"] == name for n in self._networks()):
            self._keep_route()
            return
        taken = [ipaddress.ip_network(s["subnet"]) for n in self._networks() for s in n.get("subnets") or []]
        subnet = self._choose_subnet(request.testbed_id, taken)
        self.engine.run(
            "network",
            "create",
            "--driver",
            "bridge",
            "--subnet",
            str(subnet),
            "--label",
            f"{LABEL}={request.testbed_id}",
            "--label",
            f"{LABEL}.name={request.testbed_name}",
            "--label",
            f"{LABEL}.origin={request.origin}",
            *self.engine.bridge_option(self._bridge(request.testbed_id)),
            name,
            timeout=60,
        )
        self._keep_route()

    def _choose_subnet(self, testbed_id: str, taken: list[Any]) -> ipaddress.IPv4Network:
        if self._subnet != "auto":
            try:
                wanted = ipaddress.IPv4Network(self._subnet)
            except ValueError as error:
                raise WrongUsage(f"podman.subnet: {error}", remedy="give a /24 such as 10.89.77.0/24") from None
            if any(wanted.overlaps(other) for other in taken):
                raise WrongUsage(
                    f"podman.subnet {wanted} is already in use by another network",
                    remedy="choose another /24, or 'auto'",
                )
            return wanted
        blocks = list(POOL.subnets(new_prefix=24))
        start = int(hashlib.sha256(testbed_id.encode()).hexdigest(), 16) % len(blocks)
        for block in blocks[start:] + blocks[:start]:
            if not any(block.overlaps(other) for other in taken):
                return block
        raise XdcError(f"every /24 of {POOL} is taken by a testbed", remedy="remove a testbed: xdc-testbed down")

    def _networks(self) -> list[dict[str, Any]]:
        return self.engine.networks(LABEL)

    def _addresses(self, request: Request) -> dict[str, ipaddress.IPv4Address]:
        """Static addresses: one block of SITE_BLOCK per site, in the order of the description; nodes keep theirs."""
        name = f"xdc-{request.testbed_id}"
        subnet = next((s["subnet"] for n in self._networks() if n["name"] == name for s in n["subnets"]), None)
        if subnet is None:
            raise XdcError(f"network {name} is gone", remedy="run up again")
        held = {
            c["Labels"][f"{LABEL}.node"]: ipaddress.IPv4Address(c["Labels"][f"{LABEL}.address"])
            for c in self._containers(request.testbed_id)
            if f"{LABEL}.address" in c["Labels"]
        }
        return addresses(ipaddress.IPv4Network(subnet), request.nodes, held)

    @staticmethod
    def _bridge(testbed_id: str) -> str:
        return f"xdc{testbed_id[:10]}"

    def _keep_route(self) -> None:
        if os.geteuid() == 0 and shutil.which("ip"):
            from xdc_testbed.processes import run

            run(["ip", "route", "replace", "unreachable", str(POOL)], timeout=10, check=False)

    def _forget_route(self) -> None:
        if (
            os.geteuid() == 0
            and shutil.which("ip")
            and not any(LABEL in (n.get("labels") or {}) for n in self._networks())
        ):
            from xdc_testbed.processes import run

            run(["ip", "route", "del", "unreachable", str(POOL)], timeout=10, check=False)

    # -- nodes ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _container(request: Request, node: NodeRequest) -> str:
        return f"xdc-{request.testbed_id}-{node.name}"

    def _containers(self, testbed_id: str) -> list[dict[str, Any]]:
        return self.engine.containers(f"{LABEL}={testbed_id}")

    def _difference(self, request: Request, node: NodeRequest, found: dict[str, Any]) -> str:
        if found["Labels"].get(f"{LABEL}.config") != self._config_hash(request, node):
            return "replace"
        return "keep" if found["State"] == "running" else "start"

    @staticmethod
    def _config_hash(request: Request, node: NodeRequest) -> str:
        """What a running container cannot change; groups are not in it, since roles follow them."""
        made_from = [
            node.name,
            node.site,
            node.memory,
            node.cpus,
            list(node.publish),
            node.image or request.image,
            request.domain,
            _public(request.state_dir / "keys" / "id_ed25519.pub"),
        ]
        made_from += node.volumes
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]

    def _run_node(self, request: Request, node: NodeRequest, address: ipaddress.IPv4Address) -> None:
        keys = request.state_dir / "keys"
        mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in address.packed[1:])
        ports = _free_ports(1 + len(node.publish))
        publish = [f"127.0.0.1:{ours}:{theirs}" for ours, theirs in zip(ports, (22, *node.publish), strict=True)]
        self.engine.run_node(
            NodeContainer(
                name=self._container(request, node),
                hostname=f"{node.name}.{request.domain}",
                network=f"xdc-{request.testbed_id}",
                address=str(address),
                mac=mac,
                memory_mib=node.memory,
                cpus=node.cpus,
                image=node.image or request.image,
                publish=publish,
                volumes=node.volumes,
                labels={
                    LABEL: request.testbed_id,
                    f"{LABEL}.name": request.testbed_name,
                    f"{LABEL}.origin": request.origin,
                    f"{LABEL}.node": node.name,
                    f"{LABEL}.address": str(address),
                    f"{LABEL}.config": self._config_hash(request, node),
                },
                mounts={
                    keys / "id_ed25519.pub": "/root/.ssh/authorized_keys",
                    keys / "hosts" / node.name: "/etc/ssh/ssh_host_ed25519_key",
                },
            )
        )

    def _start_node(self, request: Request, name: str) -> None:
        self.engine.run("start", f"xdc-{request.testbed_id}-{name}", timeout=60)


def addresses(
    subnet: ipaddress.IPv4Network,
    nodes: tuple[NodeRequest, ...],
    held: Mapping[str, ipaddress.IPv4Address] | None = None,
) -> dict[str, ipaddress.IPv4Address]:
    """Give each node its address: sites are blocks of SITE_BLOCK addresses, in order of first appearance.

    held: addresses of nodes that are there; they keep them, whoever has come or gone before them in the description.
    """
    sites = list(dict.fromkeys(node.site for node in nodes))
    if (len(sites) + 1) * SITE_BLOCK > subnet.num_addresses:
        raise WrongUsage(
            f"{len(sites)} sites do not fit into {subnet}",
            remedy=f"at most {subnet.num_addresses // SITE_BLOCK - 1} sites",
        )
    kept = {node.name: held[node.name] for node in nodes if held and node.name in held}
    taken = set(kept.values())
    result: dict[str, ipaddress.IPv4Address] = {}
    for node in nodes:
        first = subnet.network_address + (sites.index(node.site) + 1) * SITE_BLOCK
        free = (first + number for number in range(1, SITE_BLOCK) if first + number not in taken)
        address = kept.get(node.name) or next(free, None)
        if address is None:
            raise WrongUsage(f"site '{node.site}' has more than {SITE_BLOCK - 1} nodes", remedy="make a second site")
        result[node.name] = address
        taken.add(address)
    return result


def _free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now; kept open together so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _public(path: Path) -> str:
    try:
        return " ".join(path.read_text().split()[:2])
    except OSError:
        raise RequirementMissing(f"{path} is gone", remedy="run up again; it makes the keys anew") from None


def _processes_naming(word: str) -> list[tuple[str, str]]:
    """Processes of this machine whose command line names this testbed's containers (conmon, port forwarders)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in command and "xdc-testbed" not in command.split(" ")[0]:
                found.append((folder.name, command[:120]))
    return found
