"""Machines that somebody already has, by SSH. The kit configures them, takes its services off again, and they stay.

A machine belongs to at most one testbed: /etc/xdc-testbed.owner says to which. It is written before anything else, and
removed after everything else; a machine with another testbed's mark is not touched.
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xdc_testbed.drivers.base import Change, Diagnosis, Finding, Node, NodeRequest, Request, Resource, Seen
from xdc_testbed.drivers.login import known_as, known_host, ssh_arguments
from xdc_testbed.errors import DeadlineExceeded, RequirementMissing, WrongUsage, XdcError
from xdc_testbed.processes import Completed, run
from xdc_testbed.progress import Event, Reporter

OWNER = "/etc/xdc-testbed.owner"

_LOOK = f"""
. /etc/os-release 2>/dev/null
echo "system=${{ID:-unknown}} ${{VERSION_ID:-}}"
echo "python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
echo "init=$(cat /proc/1/comm)"
echo "memory=$(awk '/MemTotal/ {{print int($2/1024)}}' /proc/meminfo)"
echo "disk=$(df -Pm / | awk 'NR==2 {{print $4}}')"
echo "user=$(id -u)"
echo "owner=$(cat {OWNER} 2>/dev/null)"
"""
_DISK_MIB = 4096
_MEMORY_SLACK = 0.8
"""A node's memory is a limit of what its services may use; a machine of a little less does as well."""


@dataclass(frozen=True)
class Machine:
    """One machine. address: how the controller reaches it; inside: how the other nodes do; host_key: of SSH, or None to
    take the one that the user's own known_hosts has."""

    address: str
    inside: str
    port: int
    user: str
    key_file: Path
    host_key: str | None


@dataclass(frozen=True)
class Look:
    """What a machine said of itself. owner: id of its testbed, and what its mark says more; problem: why none."""

    facts: Mapping[str, str]
    owner: tuple[str, Seen] | None = None
    problem: str | None = None


class Hosts:
    """The driver `hosts`."""

    name = "hosts"
    boot_seconds = 30.0
    kinds = "service or mark"

    def __init__(self, machines: Mapping[str, Machine], *, known_hosts: Path) -> None:
        self._machines = dict(machines)
        self._known_hosts = known_hosts
        self._remembering = threading.Lock()

    # -- contract ---------------------------------------------------------------------------------------------------

    def check(self, request: Request) -> list[Finding]:
        """Every machine of the request: reached, logged in to, root, Debian 12, room, and nobody else's."""
        missing = [node.name for node in request.nodes if node.name not in self._machines]
        if missing:
            return [
                Finding(
                    "machines",
                    False,
                    f"none for {', '.join(missing)}",
                    needed="one for each node",
                    remedy=f'add [hosts.machines.{missing[0]}] with address = "..." to testbed.toml',
                )
            ]
        seen = self._look([node.name for node in request.nodes])
        return [finding for node in request.nodes for finding in self._findings(request, node, seen[node.name])]

    def plan(self, request: Request) -> list[Change]:
        """Which machines would be taken, and which have left the description."""
        owners = {name: one.owner for name, one in self._look(list(self._machines)).items()}
        mine = {name for name, owner in owners.items() if owner and owner[0] == request.testbed_id}
        changes = [Change("keep" if n.name in mine else "create", "machine", n.name) for n in request.nodes]
        return changes + [Change("remove", "machine", name) for name in sorted(mine - {n.name for n in request.nodes})]

    def create(self, request: Request, report: Reporter) -> list[Node]:
        """Mark the machines as this testbed's. Raises WrongUsage when one belongs to another testbed."""
        for change in self.plan(request):
            if change.action == "create":
                self._claim(request, change.name)
                report(Event("step", f"machine {change.name} taken", host=change.name, status="changed"))
        return self.nodes(request)

    def nodes(self, request: Request) -> list[Node]:
        """The machines that carry this testbed's mark, in the order of the request."""
        seen = self._look([node.name for node in request.nodes])
        return [
            self._node(wanted.name, wanted.site, wanted.groups, f"{wanted.name}.{request.domain}")
            for wanted in request.nodes
            if (owner := seen[wanted.name].owner) and owner[0] == request.testbed_id
        ]

    def diagnose(self, request: Request, node: str) -> Diagnosis:  # noqa: ARG002 - other drivers need the request
        """State and journal of one machine, as far as it can be reached."""
        parts = {}
        for title, command in {
            "failed units": "systemctl --failed --no-pager",
            "journal": "journalctl -b -n 300 --no-pager",
        }.items():
            try:
                done = self._run(node, command)
                parts[title] = (done.stdout + done.stderr).decode(errors="replace")
            except XdcError as error:
                parts[title] = error.message
        return Diagnosis(node, parts)

    def resources(self, testbed_id: str) -> list[Resource]:
        """Marks of exactly this id. Raises XdcError for a machine that cannot be asked: it may carry one."""
        found = []
        for name, seen in self._look(list(self._machines)).items():
            if seen.problem is not None:
                raise XdcError(
                    f"machine {name} cannot be asked: {seen.problem}",
                    remedy="make it reachable; or take it out of the description, when it is gone for good",
                )
            if seen.owner and seen.owner[0] == testbed_id:
                found.append(Resource("mark", name, f"{OWNER} on {name}"))
        return found

    def destroy(self, testbed_id: str, report: Reporter) -> None:
        """Take the marks off; services have been removed before."""
        for mark in self.resources(testbed_id):
            self._run(mark.id, f"rm -f {OWNER}", check=True)
            report(Event("step", f"machine {mark.id} is free; it stays as it is", status="changed"))

    def leftovers(self, testbed_id: str) -> list[Resource]:
        """Marks that are still there."""
        return self.resources(testbed_id)

    def testbeds(self) -> dict[str, Seen]:
        """Testbeds that the machines belong to, by id."""
        return dict(look.owner for look in self._look(list(self._machines)).values() if look.owner)

    # -- machines ---------------------------------------------------------------------------------------------------

    def _node(self, name: str, site: str, groups: tuple[str, ...], fqdn: str) -> Node:
        machine = self._machines[name]
        return Node(
            name=name,
            site=site,
            groups=groups,
            fqdn=fqdn,
            address=machine.inside,
            ssh_address=machine.address,
            ssh_port=machine.port,
            ssh_user=machine.user,
            key_file=str(machine.key_file),
            host_key=self._host_key(name),
            driver=self.name,
            resource_id=f"{machine.address}:{machine.port}",
        )

    def _host_key(self, name: str) -> str:
        """The machine's host key: as described, else as the user's known_hosts has it. Never asked over the net."""
        machine = self._machines[name]
        if machine.host_key is not None:
            return machine.host_key
        where = known_as(machine.address, machine.port)
        found = run(["ssh-keygen", "-F", where], timeout=20, check=False).text
        for line in found.splitlines():
            words = line.split()
            if len(words) >= 3 and words[1].startswith(("ssh-", "ecdsa-")):
                return f"{words[1]} {words[2]}"
        raise RequirementMissing(
            f"machine {name}: the host key of {where} is not known",
            remedy=f'log in to it once by ssh, or set hosts.machines.{name}.host_key = "ssh-ed25519 ..."',
        )

    def _look(self, names: Sequence[str]) -> dict[str, Look]:
        with ThreadPoolExecutor(max_workers=16) as pool:
            return dict(zip(names, pool.map(self._seen, names), strict=True))

    def _seen(self, name: str) -> Look:
        try:
            done = self._run(name, _LOOK)
        except XdcError as error:
            return Look({}, problem=error.message)
        if done.returncode != 0:
            return Look({}, problem=done.reason)
        facts = dict(line.partition("=")[::2] for line in done.text.splitlines() if "=" in line)
        mark = facts.get("owner", "")
        try:
            said = json.loads(mark) if mark else None
            owner = (str(said["id"]), Seen(str(said["name"]), str(said.get("origin", "")))) if said else None
        except (ValueError, KeyError, TypeError):
            owner = ("unreadable", Seen("unreadable"))  # somebody's mark all the same
        return Look(facts, owner)

    def _run(self, name: str, command: str, *, check: bool = False) -> Completed:
        node = self._node(name, "", (), name)
        self._remember(node)
        words = ssh_arguments(node, self._known_hosts, "sh", "-c", command)
        try:
            return run(words, timeout=30, check=check)
        except DeadlineExceeded:
            raise XdcError(f"{node.ssh_address}:{node.ssh_port} does not answer within 30 s") from None

    def _remember(self, node: Node) -> None:
        """The host key goes into this testbed's known_hosts; nobody's ~/.ssh is written to."""
        line = known_host(node)
        self._known_hosts.parent.mkdir(parents=True, exist_ok=True)
        with self._remembering:
            if not self._known_hosts.is_file() or line not in self._known_hosts.read_text():
                with self._known_hosts.open("a") as file:
                    file.write(line)

    def _claim(self, request: Request, name: str) -> None:
        """Write the mark where there is none; the shell makes sure that only one testbed can do so."""
        mark = json.dumps(
            {"id": request.testbed_id, "name": request.testbed_name, "origin": request.origin, "node": name}
        )
        done = self._run(name, f"set -C; echo {shlex.quote(mark)} > {OWNER}")
        if done.returncode != 0:
            owner = self._seen(name).owner
            if owner is None:
                raise XdcError(f"machine {name} cannot be marked: {done.reason}", remedy=f"see why {OWNER} cannot be")
            raise WrongUsage(
                f"machine {name} belongs to testbed '{owner[1].name}' ({owner[0]})",
                remedy=f"take another machine; or, when that testbed is gone, remove {OWNER} there",
            )

    def _findings(self, request: Request, node: NodeRequest, seen: Look) -> list[Finding]:
        if seen.problem is not None:
            remedy = f"ssh -p {self._machines[node.name].port} {self._machines[node.name].address}  must log in"
            return [Finding(f"machine {node.name}", False, seen.problem, needed="SSH with our key", remedy=remedy)]
        facts = seen.facts
        level: Literal["requirement", "advice"] = "requirement"
        rows = [
            ("root", facts.get("user") == "0", f"user id {facts.get('user')}", "root, or sudo without a password"),
            ("system", facts.get("system") == "debian 12", facts.get("system", "?"), "debian 12"),
            ("python", bool(facts.get("python")), facts.get("python") or "none", "python3"),
            ("systemd", facts.get("init") == "systemd", facts.get("init", "?"), "systemd as the first process"),
            (
                "memory",
                int(facts.get("memory") or 0) >= node.memory * _MEMORY_SLACK,
                f"{facts.get('memory')} MiB",
                f"{node.memory} MiB",
            ),
            ("disk", int(facts.get("disk") or 0) >= _DISK_MIB, f"{facts.get('disk')} MiB free", f"{_DISK_MIB} MiB"),
        ]
        found = [Finding(f"{node.name}: {what}", ok, has, needed=need, level=level) for what, ok, has, need in rows]
        if seen.owner and seen.owner[0] != request.testbed_id:
            text = f"belongs to testbed '{seen.owner[1].name}' ({seen.owner[0]})"
            remedy = f"take another machine; or, when that testbed is gone, remove {OWNER} there"
            found.append(Finding(f"machine {node.name}", False, text, needed="nobody's machine", remedy=remedy))
        return found
