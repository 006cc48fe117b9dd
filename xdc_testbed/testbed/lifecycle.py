"""A testbed from nothing to verified and back: up, status, down.

Each phase of `up` records what it was made from; a phase whose inputs are unchanged, and whose cheap proof still holds,
is skipped. Whatever is killed in between, the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xdc_testbed import content
from xdc_testbed.drivers.base import Change, Driver, Node, Request, Resource
from xdc_testbed.drivers.containers import Containers
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.errors import LeftOver, RequirementMissing, VerifyFailed, WrongUsage, XdcError
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.testbed import ansible, endpoints, image, inventory, kit, machines, pki, scaling, secrets, sources, ssh
from xdc_testbed.testbed.description import Description, Explained, groups
from xdc_testbed.testbed.state import PhaseRecord, State, StateFolder, write_private

PLAYBOOK_DEADLINE = 1500.0

_UNDEPLOY = (
    "test ! -e /etc/xdc-testbed/actions.toml || exec /opt/xdc-testbed/venv/bin/python -m xdc_testbed.actions.deploy "
    "--config /etc/xdc-testbed/actions.toml --remove"
)
_UNDEPLOY_DEADLINE = 60.0


@dataclass
class UpResult:
    """What `up` did. changed: host -> changed tasks; skipped: phases whose inputs were unchanged; seconds: by phase."""

    nodes: list[Node]
    endpoints: list[Endpoint]
    changed: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tasks: list[tuple[float, str]] = field(default_factory=list)


class Testbed:
    """One testbed by name: its state folder, its description and its driver."""

    __test__ = False  # not a pytest class

    def __init__(self, base: Path, name: str, *, given: Description | None = None) -> None:
        """given: a description that says where to look when there is no state."""
        self.base = base
        self.given = given
        self.folder = StateFolder(base, name)
        self.name = name

    # -- up -----------------------------------------------------------------------------------------------------------

    def up(
        self, explained: Explained, report: Reporter, *, converge: bool = False, run_id: str | None = None
    ) -> UpResult:
        """Create, configure and verify; resumes after any interruption; a second run changes nothing.

        converge: run every phase again even when its inputs are unchanged. Raises XdcError subclasses.
        """
        description = explained.description
        with self.folder.locked("up"):
            state = self.folder.open(description.driver)
            if state.driver != description.driver:
                raise WrongUsage(
                    f"testbed '{self.name}' was made with driver {state.driver}",
                    remedy=f"xdc-testbed down --name {self.name}, then up again",
                )
            state.description = description.model_dump(mode="json")
            state.counts = {name: count for name, count in state.counts.items() if name in description.scaled}
            self.folder.write(state)
            for name, count in state.counts.items():
                report(Event("note", f"{name}: {count} nodes, as `scale` has made it"))
            run = _Run(self, state, report, run_id or time.strftime("%Y%m%dT%H%M%S"), converge=converge)
            return run.go()

    def scale(self, counts: Mapping[str, int], report: Reporter, *, run_id: str | None = None) -> UpResult:
        """Make so many nodes of each named kind: new ones are configured and verified, those that go end their work
        first. Whatever is killed in between, the same command goes on from there. Raises XdcError subclasses.
        """
        self.require()
        with self.folder.locked("scale"):
            state = self.folder.read()
            scaling.check(state, counts)
            run = _Run(self, state, report, run_id or time.strftime("%Y%m%dT%H%M%S"), counts=counts)
            return run.go()

    def counts(self) -> dict[str, int]:
        """How many nodes there are of each kind that can be scaled."""
        state = self.require()
        described = Description.model_validate(state.description).scaled
        return {name: state.counts.get(name, one.count) for name, one in described.items()}

    # -- look ---------------------------------------------------------------------------------------------------------

    def require(self) -> State:
        """The state, or WrongUsage that says how to make the testbed."""
        if not self.folder.exists:
            raise WrongUsage(f"there is no testbed '{self.name}'", remedy=f"xdc-testbed up --name {self.name}")
        return self.folder.read()

    def description(self) -> Description:
        """The description that the testbed was last brought up with, with the scaled nodes that there are."""
        state = self.require()
        return Description.model_validate(state.description).expanded(state.counts)

    def driver(self, description: Description | None = None) -> Driver:
        """The driver for this testbed's machines: as described, else as last brought up, else as given."""
        return machines.driver(description or self._described(), self.folder.path if self.folder.exists else None)

    def _described(self) -> Description:
        try:
            return self.description() if self.folder.exists else self.given or Description()
        except (XdcError, ValueError):  # a damaged state: whoever is asked knows what there is
            return self.given or Description()

    def nodes(self) -> list[Node]:
        """The nodes as recorded by the last `up`."""
        return [Node.from_json(data) for data in self.require().nodes]

    def node(self, name: str) -> Node:
        """One node by name. Raises WrongUsage that lists the names."""
        nodes = {node.name: node for node in self.nodes()}
        if name not in nodes:
            raise WrongUsage(
                f"no node '{name}' in testbed '{self.name}'",
                remedy=f"nodes: {', '.join(nodes) or 'none yet'}",
            )
        return nodes[name]

    @property
    def known_hosts(self) -> Path:
        """Host keys of this testbed's nodes; nobody's ~/.ssh is touched."""
        return Path(self.folder.inventory) / "known_hosts"

    def endpoints(self) -> list[Endpoint]:
        """What the testbed offers to clients."""
        return endpoints.of_testbed(self.nodes(), self.description())

    def clouds_file(self) -> Path | None:
        """The clouds.yaml of this testbed's own cloud, when it has one."""
        path = self.folder.path / "clouds.yaml"
        return path if path.is_file() else None

    def units(self, nodes: Sequence[Node] | None = None) -> dict[str, dict[str, str]]:
        """State of every service's units, from the nodes: node -> unit -> systemd's word, or `unreachable`."""
        nodes = self.nodes() if nodes is None else nodes
        with ThreadPoolExecutor(max_workers=16) as pool:
            return dict(zip((n.name for n in nodes), pool.map(self._units_of, nodes), strict=True))

    def _units_of(self, node: Node) -> dict[str, str]:
        broker = any("kafka" in other.groups for other in self.nodes())
        chosen = sources.of_node(self.description(), node.name)
        units = sources.units(groups(), node.groups, chosen, broker=broker)
        try:
            words = ssh.execute(
                node,
                self.known_hosts,
                "systemctl",
                "is-active",
                *(units or ["multi-user.target"]),
                timeout=15,
                check=False,
            )
        except XdcError:
            return dict.fromkeys(units or ["node"], "unreachable")
        if words.returncode == 255:
            return dict.fromkeys(units or ["node"], "unreachable")
        return dict(zip(units, words.text.split(), strict=False)) if units else {}

    # -- down ---------------------------------------------------------------------------------------------------------

    def removal(self, testbed_id: str | None = None) -> tuple[list[str], list[Resource]]:
        """What `down` would remove: the ids that belong to this name, and every resource of them."""
        driver = self.driver()
        ids = [testbed_id] if testbed_id else self._ids(driver)
        return ids, [resource for one in ids for resource in driver.resources(one)]

    def _ids(self, driver: Driver) -> list[str]:
        ids = [one for one, name in driver.testbeds().items() if name == self.name]
        if self.folder.exists:
            try:
                own = self.folder.read().id
            except XdcError:
                return ids  # a damaged state: the labels know
            ids = list(dict.fromkeys([own, *ids]))
        return ids

    def down(self, report: Reporter, *, testbed_id: str | None = None) -> list[Resource]:
        """Remove the testbed and prove that nothing is left. Returns what was removed.

        Works without the state folder, by label. Raises LeftOver with what remains, WrongUsage when there is no such
        testbed.
        """
        driver = self.driver()
        ids, resources = self.removal(testbed_id)
        if not ids and not self.folder.path.exists():
            raise WrongUsage(
                f"there is no testbed '{self.name}'",
                remedy="xdc-testbed status --all  lists the testbeds of this machine",
            )
        with self.folder.locked("down"):
            kept = self._release(report)
            if driver.name == "hosts" and resources:
                with phase(report, "services", "taken off machines that stay"):
                    self._remove_services(driver, ids, report)
            with phase(report, "remove", f"every {driver.kinds}"):
                for one in ids:
                    driver.destroy(one, report)
            with phase(report, "prove", "proof that nothing of this id is left"):
                left = _until_gone(lambda: [resource for one in ids for resource in driver.leftovers(one)], seconds=10)
            if left:
                shown = ", ".join(f"{r.kind} {r.name}" for r in left[:5])
                raise LeftOver(
                    f"{len(left)} things are left after down: {shown}",
                    remedy="run down again; if they stay, remove them by these names",
                )
            self.folder.remove()
        if kept:
            raise LeftOver(
                f"the testbed is gone, but its actions are left on {kept[0]}",
                remedy="delete the package there: wsk package delete -r xdc",
            )
        return resources

    def _remove_services(self, driver: Driver, ids: Sequence[str], report: Reporter) -> None:
        """Run the roles' removal on machines that stay; on those that carry this testbed's mark, and no others."""
        description = self._described()
        requests = [machines.request(description, one, self.folder.path, installed=False) for one in ids]
        nodes = [node for request in requests for node in driver.nodes(request)]
        rendered = inventory.render(
            description,
            nodes,
            testbed_id=ids[0],
            known_hosts=self.known_hosts,
            pki=Path(self.folder.pki),
            extra=image.install_variables(description),
        )
        logs = self.folder.run_dir("logs", time.strftime("%Y%m%dT%H%M%S-down"))
        ansible.run_playbook(
            "remove",
            inventory=inventory.write(Path(self.folder.inventory), rendered, nodes),
            state_dir=self.folder.path,
            log_dir=logs,
            extra_vars=[],
            expected=machines.members(nodes),
            report=report,
            phase="services",
            strategy=description.strategy,
            timeout=PLAYBOOK_DEADLINE,
        )

    def _release(self, report: Reporter) -> list[str]:
        """Take what was deployed off external services, by the nodes that did it. Returns what could not be done."""
        if not self.folder.exists:
            return []
        try:
            holders = [one for one in sources.all_of(self.description()) if one.source == "external"]
            nodes = {node.name: node for node in self.nodes()}
        except (XdcError, ValueError):
            return []  # a damaged state: only what carries its labels is known
        kept: list[str] = []
        for one in holders:
            if one.group != "openwhisk" or one.node not in nodes:
                continue
            with phase(report, "release", f"actions on {one.external['url']}"):
                try:
                    ssh.execute(nodes[one.node], self.known_hosts, "sh", "-c", _UNDEPLOY, timeout=_UNDEPLOY_DEADLINE)
                except XdcError as error:
                    kept.append(f"{one.external['url']}: {error.message}")
                    report(Event("warning", f"not removed: {kept[-1]}"))
        return kept


class _Run:
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
        with self._timed("inventory", "secrets, certificates, inventory"):
            inventory_file, secrets_file, fingerprint = self._inventory(nodes)
        touched = {change.name for change in changes if change.action != "keep"} & there & {node.name for node in nodes}
        if current and not touched and there != {node.name for node in nodes}:
            self._extend(inventory_file, secrets_file, nodes, there, fingerprint)
        elif (why := self._why_converge(nodes, changes, fingerprint)) is None:
            self.result.skipped = ["site", "verify"]
            self.result.changed = {node.name: 0 for node in nodes}
            for name in self.result.skipped:
                self.report(Event("phase-skip", "inputs unchanged, every service active", phase=name))
        else:
            self.report(Event("note", f"services are configured: {why}"))
            self._converge(inventory_file, secrets_file, nodes, fingerprint)
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
        changes = self.driver.plan(request)
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
        inventory.write(Path(self.folder.inventory), {}, nodes)  # known_hosts, for the readiness probe
        if any(c.action != "keep" for c in changes) or "site" not in self.state.phases:
            failed = ssh.wait_ready(nodes, self.testbed.known_hosts, deadline=self.driver.boot_seconds)
            if failed:
                self._diagnose(request, list(failed))
                name, why = next(iter(failed.items()))
                raise XdcError(f"node {name} never became ready, {why}", remedy=f"console and journal: {self.logs}")
        return nodes, changes

    def _diagnose(self, request: Request, names: Sequence[str]) -> None:
        for name in names:
            for title, text in self.driver.diagnose(request, name).parts.items():
                (self.logs / f"{name}-{title.replace(' ', '-')}.log").write_text(text)

    def _inventory(self, nodes: Sequence[Node]) -> tuple[Path, Path, str]:
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
        return path, wrapped, _fingerprint(rendered, wrapped.read_text(), resources)

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

    def _extend(
        self, inventory_file: Path, secrets_file: Path, nodes: Sequence[Node], there: set[str], fingerprint: str
    ) -> None:
        """Tell the nodes that there are who is with them now; configure and verify the new ones."""
        old, new = [n for n in nodes if n.name in there], [n for n in nodes if n.name not in there]
        with self._timed("names", "known to every node"):
            told = self._play("names", inventory_file, secrets_file, old, "names").changed
        if new:
            self._converge(inventory_file, secrets_file, new, fingerprint)
        self.result.changed = {node.name: told.get(node.name, 0) for node in old} | self.result.changed
        for name in ("site", "verify"):
            self._record(name, fingerprint)

    def _play(
        self,
        playbook: str,
        inventory_file: Path,
        secrets_file: Path,
        nodes: Sequence[Node],
        part: str | Callable[[str], str],
    ) -> ansible.Outcome:
        """Run a playbook on these nodes."""
        every = len(nodes) == len(self.description.nodes)
        return ansible.run_playbook(
            playbook,
            inventory=inventory_file,
            state_dir=self.folder.path,
            log_dir=self.logs,
            extra_vars=[secrets_file],
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
        if changed := [change.name for change in changes if change.action != "keep"]:
            return f"new or restarted nodes: {', '.join(changed)}"
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

    def _converge(self, inventory_file: Path, secrets_file: Path, nodes: Sequence[Node], fingerprint: str) -> None:
        """Configure, then use, every service; a phase is recorded as soon as it has ended well."""
        phases = _Phases(self.report, self.result.seconds)

        def phase_of(play: str) -> str:
            if phases.current == "site" and play.startswith("Verify"):
                phases.end("ok")
                self._record("site", fingerprint)
                phases.begin("verify", "every service is used for real")
            return phases.current

        phases.begin("site", "services, in the order in which they need each other")
        try:
            outcome = self._play("up", inventory_file, secrets_file, nodes, phase_of)
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
        self._record("verify", fingerprint)

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


def _until_gone(look: Callable[[], list[Resource]], *, seconds: float) -> list[Resource]:
    """Look until nothing is left or the time is up: an engine's helper processes end a moment after their container."""
    until = time.monotonic() + seconds
    while (left := look()) and time.monotonic() < until:
        time.sleep(0.2)
    return left
