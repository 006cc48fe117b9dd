"""What `up` and `scale` do, phase by phase.

Each phase records what it was made from; a phase whose inputs are unchanged, and whose cheap proof still holds, is
skipped. Whatever is killed in between, the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xdc_testbed import content
from xdc_testbed.drivers.base import Change, Node, Request
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.errors import RequirementMissing, VerifyFailed, XdcError
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.testbed import ansible, endpoints, image, inventory, kit, machines, pki, scaling, secrets, sources, ssh
from xdc_testbed.testbed.description import Description
from xdc_testbed.testbed.state import PhaseRecord, State, write_private

if TYPE_CHECKING:
    from xdc_testbed.testbed.lifecycle import Testbed

PLAYBOOK_DEADLINE = 3600.0  # machines that are emulated are slow


@dataclass
class UpResult:
    """What `up` did. changed: host -> changed tasks; skipped: phases whose inputs were unchanged; seconds: by phase."""

    nodes: list[Node]
    endpoints: list[Endpoint]
    changed: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tasks: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Prepared:
    """What a playbook is given, as files. fingerprint: of all that the services are made from."""

    inventory: Path
    secrets: Path
    fingerprint: str


class Run:
    """One `up` or `scale`, phase by phase. counts: what `scale` asks for; it configures only new nodes, if it can."""

    def __init__(
        self,
        testbed: Testbed,
        state: State,
        report: Reporter,
        run_id: str,
        *,
        converge: bool = False,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.testbed, self.state, self.report, self.converge = testbed, state, report, converge
        self.counts = state.counts | dict(counts or {})
        self.description = Description.model_validate(state.description).expanded(self.counts)
        self.scaling = counts is not None
        self.folder = testbed.folder
        self.logs = self.folder.run_dir("logs", run_id)
        self.driver = testbed.driver(self.description)
        self.result = UpResult([], [])

    def go(self) -> UpResult:
        with self._timed("check", "this machine and the description"):
            self._check()
        started = time.monotonic()
        self._images()
        self.result.seconds["image"] = time.monotonic() - started
        request = self._request()
        there = {node["name"] for node in self.state.nodes}
        current = self.scaling and self._is_current()
        with self._timed("nodes", f"{len(request.nodes)} nodes"):
            nodes, changes = self._nodes(request)
        if any(c.action != "keep" for c in changes) or "site" not in self.state.phases:
            with self._timed("readiness", "every node boots, and lets us in"):
                self._wait_ready(request, nodes)
        with self._timed("inventory", "secrets, certificates, inventory"):
            prepared = self._inventory(nodes)
        touched = {change.name for change in changes if change.action != "keep"} & there & {node.name for node in nodes}
        if current and not touched and there != {node.name for node in nodes}:
            self._extend(prepared, nodes, there)
        elif (why := self._why_converge(nodes, changes, prepared.fingerprint)) is None:
            self.result.skipped = ["site", "verify"]
            self.result.changed = {node.name: 0 for node in nodes}
            for name in self.result.skipped:
                self.report(Event("phase-skip", "inputs unchanged, every service active", phase=name))
        else:
            self.report(Event("note", f"services are configured: {why}"))
            self._converge(prepared, nodes)
        self.result.nodes = nodes
        self.result.endpoints = endpoints.of_testbed(nodes, self.description)
        return self.result

    def _images(self) -> None:
        """The images of local nodes; other machines come with their own."""
        if isinstance(self.driver, Containers):
            engine, base = self.driver.engine, self.testbed.base
            for kind in sorted({image.kind_of(node.groups) for node in self.description.nodes.values()}):
                image.ensure(self.description, engine, state_base=base, report=self.report, kind=kind)

    def _timed(self, name: str, text: str) -> Any:
        outer = self

        class _Timed:
            def __enter__(self) -> None:
                self._started = time.monotonic()
                self._phase = phase(outer.report, name, text)
                self._phase.__enter__()

            def __exit__(self, kind: Any, value: Any, trace: Any) -> bool | None:
                outer.result.seconds[name] = time.monotonic() - self._started
                return self._phase.__exit__(kind, value, trace)

        return _Timed()

    def _check(self) -> None:
        request = self._request()
        findings = self.driver.check(request)
        for finding in findings:
            needed = f", needed: {finding.needed}" if finding.needed else ""
            self.report(
                Event("step", f"{finding.what}: {finding.found}{needed}", status="ok" if finding.ok else "failed")
            )
        missing = [f for f in findings if not f.ok and f.level == "requirement"]
        if missing:
            first, more = missing[0], f" (and {len(missing) - 1} more, see above)" if len(missing) > 1 else ""
            needed = f", needed: {first.needed}" if first.needed else ""
            raise RequirementMissing(
                f"{first.what}: {first.found}{needed}{more}", remedy=first.remedy or "see: xdc-testbed doctor"
            )
        sources.require_files(self.description)

    def _request(self) -> Request:
        keys = Path(self.folder.keys)
        secrets.ensure_ssh_key(keys / "id_ed25519", f"xdc-testbed {self.state.id}")
        for node in self.description.nodes:
            secrets.ensure_ssh_key(keys / "hosts" / node, f"{node}.{self.description.domain}")
        return machines.request(
            self.description, self.state.id, self.folder.path, installed=isinstance(self.driver, Containers)
        )

    def _nodes(self, request: Request) -> tuple[list[Node], list[Change]]:
        started = time.monotonic()
        changes = self.driver.plan(request)
        self.result.seconds["plan"] = time.monotonic() - started
        staying = {node.name for node in request.nodes}
        leaving = [node for node in self.testbed.nodes() if node.name not in staying]
        scaling.drain(leaving, self.testbed.known_hosts, self.report)
        nodes = (
            self.driver.create(request, self.report)
            if any(c.action != "keep" for c in changes)
            else self.driver.nodes(request)
        )
        if len(nodes) != len(request.nodes):
            missing = sorted({n.name for n in request.nodes} - {n.name for n in nodes})
            self._diagnose(request, missing)
            raise XdcError(f"nodes did not stay up: {', '.join(missing)}", remedy=f"see their console in {self.logs}")
        self.state.nodes = [node.to_json() for node in nodes]
        self.state.counts = self.counts
        self.folder.write(self.state)
        return nodes, changes

    def _wait_ready(self, request: Request, nodes: Sequence[Node]) -> None:
        inventory.write(Path(self.folder.inventory), {}, nodes)  # known_hosts
        if failed := ssh.wait_ready(nodes, self.testbed.known_hosts, boot=self.driver.boot_seconds):
            self._diagnose(request, list(failed))
            name, why = next(iter(failed.items()))
            raise XdcError(f"node {name} never became ready, {why}", remedy=f"console and journal: {self.logs}")

    def _diagnose(self, request: Request, names: Sequence[str]) -> None:
        for name in names:
            for title, text in self.driver.diagnose(request, name).parts.items():
                (self.logs / f"{name}-{title.replace(' ', '-')}.log").write_text(text)

    def _inventory(self, nodes: Sequence[Node]) -> _Prepared:
        own = secrets.ensure(self.folder.secrets_file, [n.name for n in nodes])
        known = own | sources.secrets(self.description)
        pki.ensure(
            Path(self.folder.pki),
            testbed_id=self.state.id,
            hosts={n.name: (n.fqdn, n.address) for n in nodes},
            trusted=sources.authorities(self.description),
        )
        archive, digest = kit.archive(self.folder.path / "kit")
        rendered = self._rendered(self.description, nodes, str(archive), digest)
        path = inventory.write(Path(self.folder.inventory), rendered, nodes)
        wrapped = Path(self.folder.inventory) / "secrets.json"
        write_private(wrapped, json.dumps({"testbed_secrets": known}).encode())
        resources = [node.resource_id for node in nodes]
        return _Prepared(path, wrapped, _fingerprint(rendered, wrapped.read_text(), resources))

    def _rendered(self, description: Description, nodes: Sequence[Node], archive: str, digest: str) -> dict[str, Any]:
        extra = image.install_variables(description) | {"testbed_kit_archive": archive, "testbed_kit_hash": digest}
        return inventory.render(
            description,
            nodes,
            testbed_id=self.state.id,
            known_hosts=self.testbed.known_hosts,
            pki=Path(self.folder.pki),
            extra=extra,
        )

    def _is_current(self) -> bool:
        """Whether the nodes that there are were configured from what there is now: then new ones can be added alone."""
        nodes, secret = self.testbed.nodes(), Path(self.folder.inventory) / "secrets.json"
        if "verify" not in self.state.phases or not secret.is_file():
            return False
        archive, digest = kit.archive(self.folder.path / "kit")
        rendered = self._rendered(self.testbed.description(), nodes, str(archive), digest)
        made_from = _fingerprint(rendered, secret.read_text(), [node.resource_id for node in nodes])
        return self.state.phases["verify"].fingerprint == made_from

    def _extend(self, prepared: _Prepared, nodes: Sequence[Node], there: set[str]) -> None:
        """Tell the nodes that there are who is with them now; configure and verify the new ones."""
        old, new = [n for n in nodes if n.name in there], [n for n in nodes if n.name not in there]
        with self._timed("names", "known to every node"):
            told = self._play("names", prepared, old, "names").changed
        if new:
            self._converge(prepared, new)
        self.result.changed = {node.name: told.get(node.name, 0) for node in old} | self.result.changed
        for name in ("site", "verify"):
            self._record(name, prepared.fingerprint)

    def _play(
        self, playbook: str, prepared: _Prepared, nodes: Sequence[Node], part: str | Callable[[str], str]
    ) -> ansible.Outcome:
        """Run a playbook on these nodes."""
        every = len(nodes) == len(self.description.nodes)
        return ansible.run_playbook(
            playbook,
            inventory=prepared.inventory,
            state_dir=self.folder.path,
            log_dir=self.logs,
            extra_vars=[prepared.secrets],
            expected=machines.members(nodes),
            report=self.report,
            phase=part,
            strategy=self.description.strategy,
            timeout=PLAYBOOK_DEADLINE,
            limit=None if every else ",".join(node.name for node in nodes),
        )

    def _why_converge(self, nodes: Sequence[Node], changes: Sequence[Change], fingerprint: str) -> str | None:
        """Why services must be configured; None when inputs are unchanged and the cheap proof (active units) holds."""
        if self.converge:
            return "asked for"
        if changed := {change.name for change in changes if change.action != "keep"}:
            machines = [node.name for node in nodes if node.name in changed]
            return f"new or restarted nodes: {', '.join(machines)}" if machines else "something beside the nodes is new"
        if "verify" not in self.state.phases:
            return "not verified yet"
        if self.state.phases["verify"].fingerprint != fingerprint:
            return "description, roles or the kit have changed"
        inactive = [
            f"{unit} {word}"
            for units in self.testbed.units(nodes).values()
            for unit, word in units.items()
            if word != "active"
        ]
        return ", ".join(inactive) or None

    def _converge(self, prepared: _Prepared, nodes: Sequence[Node]) -> None:
        """Configure, then use, every service; a phase is recorded as soon as it has ended well."""
        phases = _Phases(self.report, self.result.seconds)

        def phase_of(play: str) -> str:
            if phases.current == "site" and play.startswith("Verify"):
                phases.end("ok")
                self._record("site", prepared.fingerprint)
                phases.begin("verify", "every service is used for real")
            return phases.current

        phases.begin("site", "services, in the order in which they need each other")
        try:
            outcome = self._play("up", prepared, nodes, phase_of)
        except BaseException:
            phases.end("failed")
            raise
        phases.end("ok")
        self.result.changed = {n.name: sum((p, h) == ("site", n.name) for p, h, _ in outcome.diffs) for n in nodes}
        self.result.tasks += outcome.tasks
        if wrong := [f"{host}: {task}" for name, host, task in outcome.diffs if name == "verify"]:
            raise VerifyFailed(
                f"verify changed something: {wrong[0]}",
                remedy=f"a verify task must not change its host; see {self.logs}",
            )
        self._record("verify", prepared.fingerprint)

    def _record(self, name: str, fingerprint: str) -> None:
        seconds = self.result.seconds.get(name, 0.0)
        self.state.phases[name] = PhaseRecord(fingerprint=fingerprint, finished=time.time(), seconds=seconds)
        self.folder.write(self.state)


class _Phases:
    """The phases of one Ansible run, told one after the other. seconds: gets the length of each."""

    def __init__(self, report: Reporter, seconds: dict[str, float]) -> None:
        self._report, self._seconds = report, seconds
        self.current = ""
        self._started = 0.0

    def begin(self, name: str, text: str) -> None:
        """Say that a phase begins."""
        self.current, self._started = name, time.monotonic()
        self._report(Event("phase-start", text, phase=name))

    def end(self, status: Literal["ok", "failed"]) -> None:
        """Say that the phase has ended."""
        self._seconds[self.current] = time.monotonic() - self._started
        self._report(
            Event("phase-end", self.current, phase=self.current, status=status, seconds=self._seconds[self.current])
        )


def _fingerprint(rendered: Mapping[str, Any], secret: str, resources: Sequence[str]) -> str:
    """What the configuration is made from: inventory, secrets, machines, and every file that Ansible reads."""
    digest = hashlib.sha256(json.dumps([rendered, secret, list(resources)], sort_keys=True).encode())
    root = content.root()
    for folder in ("playbooks", "roles", "inventory"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
