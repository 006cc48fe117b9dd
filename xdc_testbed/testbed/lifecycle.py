"""A testbed by its name: brought up, looked at, and removed with proof."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xdc_testbed.drivers.base import Driver, Node, Resource, Seen, origin
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.errors import LeftOver, WrongUsage, XdcError
from xdc_testbed.progress import Event, Reporter, phase
from xdc_testbed.testbed import ansible, endpoints, image, inventory, machines, scaling, sources, ssh
from xdc_testbed.testbed.bring_up import PLAYBOOK_DEADLINE, Run, UpResult
from xdc_testbed.testbed.description import Description, Explained, groups
from xdc_testbed.testbed.state import State, StateFolder

_UNDEPLOY = (
    "test ! -e /etc/xdc-testbed/actions.toml || exec /opt/xdc-testbed/venv/bin/python -m xdc_testbed.actions.deploy "
    "--config /etc/xdc-testbed/actions.toml --remove"
)
_UNDEPLOY_DEADLINE = 60.0


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
            run = Run(self, state, report, run_id or time.strftime("%Y%m%dT%H%M%S"), converge=converge)
            return run.go()

    def scale(self, counts: Mapping[str, int], report: Reporter, *, run_id: str | None = None) -> UpResult:
        """Make so many nodes of each named kind: new ones are configured and verified, those that go end their work
        first. Whatever is killed in between, the same command goes on from there. Raises XdcError subclasses.
        """
        self.require()
        with self.folder.locked("scale"):
            state = self.folder.read()
            scaling.check(state, counts)
            run = Run(self, state, report, run_id or time.strftime("%Y%m%dT%H%M%S"), counts=counts)
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
                timeout=60,
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
        """Ids of what was made from this state folder, as it says itself: also when the state is lost or damaged."""
        seen = driver.testbeds()
        ids = [one for one, said in seen.items() if said == Seen(self.name, origin(self.folder.path))]
        if self.folder.exists:
            with contextlib.suppress(XdcError):
                ids = list(dict.fromkeys([self.folder.read().id, *ids]))
        if not ids and (others := [one for one, said in seen.items() if said.name == self.name]):
            raise WrongUsage(
                f"testbed '{self.name}' was not made from this state folder: {', '.join(others)}",
                remedy=f"--state-dir of where it was made; or, when that is lost: xdc-testbed down --id {others[0]}",
            )
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


def _until_gone(look: Callable[[], list[Resource]], *, seconds: float) -> list[Resource]:
    """Look until nothing is left or the time is up: an engine's helper processes end a moment after their container."""
    until = time.monotonic() + seconds
    while (left := look()) and time.monotonic() < until:
        time.sleep(0.2)
    return left
