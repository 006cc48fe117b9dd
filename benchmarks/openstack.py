"""What the kit adds to Terraform on an OpenStack, for 1, 6 and 20 nodes; how long 2 and 4 virtual machines take.

    python benchmarks/openstack.py [--nodes 1 6 20] [--leftovers 100] [--machines 2 4]

One JSON line per figure. The cloud is the kit's own (profile `cloud`), brought up for this and removed: real APIs, and
servers that are only said to run, where nobody logs in. Readiness and converging are measured on a second such cloud,
whose servers are virtual machines: nodes without a service, so that machines are timed and not what they install.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "contract" / "terraform"))

import terraform_engine  # noqa: E402 - the tests' way to a Terraform
from shared.figures import show  # noqa: E402

# This file has the name of the SDK, which the driver imports.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

from xdc_testbed.drivers import provider  # noqa: E402
from xdc_testbed.drivers.base import Request  # noqa: E402
from xdc_testbed.drivers.openstack import OpenStack  # noqa: E402
from xdc_testbed.progress import silent  # noqa: E402
from xdc_testbed.testbed import machines, secrets  # noqa: E402
from xdc_testbed.testbed.description import Description  # noqa: E402

_CLI = Path(sys.executable).with_name("xdc-testbed")
_NAME = "bench-cloud"
_GIB = 1 << 30
_T = TypeVar("_T")

_CLOUD = """\
name = "{name}"
profile = "cloud"
[nodes.cloud]
memory = {memory}
[vars]
openstack_compute = "{compute}"
"""

_MACHINES = """\
name = "machines{count}"
profile = "minimal"
driver = "openstack"
[openstack]
cloud = "{cloud}"
admin_cidrs = ["{admin}/32"]
"""

_MACHINE = """\
[nodes.{name}]
site = "desy"
groups = []
memory = 1024
"""

_MEMORY = """
import glob
total = 0
for name in glob.glob("/proc/[0-9]*/smaps_rollup"):
    try:
        with open(name) as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except OSError:
        pass
print(total * 1024)
"""


class Kit:
    """The command line, with a state folder of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def __call__(self, *words: str | Path) -> str:
        """Run one command. Raises CalledProcessError."""
        environment = {**os.environ, "XDC_STATE_DIR": str(self.state)}
        done = subprocess.run([_CLI, *words], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout


def timed(work: Callable[[], _T]) -> tuple[float, _T]:
    """Seconds, and what it gave."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def described(count: int) -> Description:
    """So many nodes of one site."""
    nodes = {f"node-{number}": {"site": "desy", "groups": [], "memory": 512} for number in range(1, count + 1)}
    options = {"cloud": _NAME, "admin_cidrs": ["192.0.2.1/32"]}
    return Description.model_validate({"name": "bench", "driver": "openstack", "nodes": nodes, "openstack": options})


def requested(count: int, testbed_id: str, folder: Path) -> tuple[OpenStack, Request]:
    """A driver and what it shall make, with keys as `up` makes them."""
    description = described(count)
    secrets.ensure_ssh_key(folder / "keys" / "id_ed25519", "bench")
    for name in description.nodes:
        secrets.ensure_ssh_key(folder / "keys" / "hosts" / name, name)
    driver = machines.driver(description, folder)
    assert isinstance(driver, OpenStack)
    return driver, machines.request(description, testbed_id, folder, installed=False)


def measure_nodes(count: int, folder: Path) -> float:
    """Make so many nodes and remove them. Returns the seconds of plan and apply in an initialised workspace."""
    driver, request = requested(count, f"bench{count}", folder)
    label = f"{count} nodes" if count > 1 else "1 node"
    seconds, findings = timed(lambda: driver.check(request))
    if wrong := [finding for finding in findings if not finding.ok]:
        raise RuntimeError(f"the cloud does not do: {wrong[0]}")
    show(f"{label}: check", seconds, "s")
    show(f"{label}: first plan, which initialises the workspace", timed(lambda: driver.plan(request))[0], "s")
    plan, _ = timed(lambda: driver.plan(request))
    show(f"{label}: plan", plan, "s")
    apply, nodes = timed(lambda: driver.create(request, silent))
    show(f"{label}: apply", apply, "s")
    if len(nodes) != count:
        raise RuntimeError(f"{len(nodes)} nodes of {count} are there")

    def again() -> None:
        if changes := [one for one in driver.plan(request) if one.action != "keep"]:
            raise RuntimeError(f"a second plan changes something: {changes[0]}")
        driver.nodes(request)

    show(f"{label}: again, without change", timed(again)[0], "s")
    remove(driver, request.testbed_id, f"{label}: down, proof included")
    return plan + apply


def measure_bare(count: int, folder: Path) -> float:
    """The same nodes by `terraform apply` alone, in an initialised workspace. Returns its seconds."""
    driver, request = requested(count, f"bare{count}", folder)
    driver.plan(request)  # lays out the workspace, and initialises it
    launcher = folder / "terraform" / "terraform"
    variables = folder / "terraform" / "variables.tfvars.json"
    words = [launcher, "apply", "-auto-approve", "-input=false", f"-var-file={variables}"]
    seconds, _ = timed(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL))
    driver.destroy(request.testbed_id, silent)
    return seconds


def remove(driver: OpenStack, testbed_id: str, what: str) -> None:
    """Remove everything of an id, and see that it is gone."""

    def gone() -> list[Any]:
        driver.destroy(testbed_id, silent)
        return list(driver.leftovers(testbed_id))

    seconds, left = timed(gone)
    if left:
        raise RuntimeError(f"{len(left)} things are left, {left[0]}")
    show(what, seconds, "s")


def measure_sweep(count: int) -> None:
    """Remove so many things that no state knows: a network with ports, volumes, groups, as killed applies leave."""
    import openstack

    cloud, tag = openstack.connect(cloud=_NAME), "xdc-testbed=leftover"
    network = cloud.network.create_network(name="xdc-leftover-lan", description=tag)
    for number in range(count - 1):
        about = {"name": f"xdc-leftover-{number}", "description": tag}
        if number % 20 == 0:
            cloud.network.create_security_group(**about)
        elif number % 5 == 1:
            cloud.block_storage.create_volume(size=1, **about)
        else:
            cloud.network.create_port(network_id=network.id, **about)
    driver = machines.driver(described(1), None)
    assert isinstance(driver, OpenStack)
    found = driver.resources("leftover")
    if len([one for one in found if one.kind != "security group rule"]) < count:
        raise RuntimeError(f"only {len(found)} of {count} leftovers are found")
    remove(driver, "leftover", f"sweep of {count} leftovers without a state")


def measure_machines(kit: Kit, count: int, admin: str) -> None:
    """Bring so many virtual machines up by the command line, and remove them."""
    described = kit.state / f"machines-{count}.toml"
    of_profile = ["desy-storage", "desy-stream"]
    names = [*of_profile, *(f"node-{number}" for number in range(len(of_profile) + 1, count + 1))]
    nodes = "".join(_MACHINE.format(name=name) for name in names)
    described.write_text(_MACHINES.format(count=count, cloud=_NAME, admin=admin) + nodes)
    try:
        said = json.loads(kit("up", "-f", described, "--output", "json").splitlines()[-1])
        took = said["seconds"]
        for what, seconds in (
            ("check", took["check"]),
            ("plan", took["plan"]),
            ("apply", took["nodes"] - took["plan"]),
            ("readiness", took["readiness"]),
            ("converge", took["site"] + took["verify"]),
        ):
            show(f"{count} virtual machines: {what}", seconds, "s")
    finally:
        down, _ = timed(lambda: kit("down", "-f", described, "--name", f"machines{count}", "--yes"))
    show(f"{count} virtual machines: down, proof included", down, "s")


@contextmanager
def cloud(kit: Kit, compute: str, *, memory: int) -> Iterator[None]:
    """The kit's own cloud for the time of a with block. compute: what its instances are; memory: MiB of its node."""
    label, described = f"the cloud, {compute}", kit.state / f"cloud-{compute}.toml"
    described.parent.mkdir(parents=True, exist_ok=True)
    described.write_text(_CLOUD.format(name=_NAME, memory=memory, compute=compute))
    try:
        show(f"{label}: up", timed(lambda: kit("up", "-f", described))[0], "s")
        used = int(kit("ssh", "--name", _NAME, "cloud", "--", "python3", "-c", _MEMORY))
        show(f"{label}: memory, idle, sum of PSS", used / _GIB, "GiB", at_most=3.5)
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(kit.state / _NAME / "clouds.yaml")
        yield
        used = int(kit("ssh", "--name", _NAME, "cloud", "--", "python3", "-c", _MEMORY))
        show(f"{label}: memory afterwards", used / _GIB, "GiB")
    finally:
        show(f"{label}: down", timed(lambda: kit("down", "--name", _NAME, "--yes"))[0], "s")


def admin_address(kit: Kit) -> str:
    """Where the cloud sees this machine come from: the gateway of the network that its node is in."""
    node = json.loads((kit.state / _NAME / "state.json").read_text())["nodes"][0]
    return f"{node['address'].rpartition('.')[0]}.1"


def measure(folder: Path, counts: Sequence[int], leftovers: int, machine_counts: Sequence[int]) -> None:
    """Print every figure."""
    terraform_engine.find(folder)
    provider.build(provider.default_mirror(), silent)
    kit = Kit(folder / "state")
    with cloud(kit, "fake", memory=4096):
        took = {count: measure_nodes(count, folder / f"kit-{count}") for count in counts}
        most = max(counts)
        ratio = took[most] / measure_bare(most, folder / "bare")
        show(f"{most} nodes: plan and apply over bare terraform apply", ratio, "", at_most=1.15)
        measure_sweep(leftovers)
    if machine_counts:
        with cloud(kit, "qemu", memory=4096 + 1536 * max(machine_counts)):
            for count in machine_counts:
                measure_machines(kit, count, admin_address(kit))


def main() -> None:
    """Bring a cloud up, measure, remove it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 6, 20])
    parser.add_argument("--leftovers", type=int, default=100)
    parser.add_argument("--machines", type=int, nargs="*", default=[2, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), arguments.nodes, arguments.leftovers, arguments.machines)


if __name__ == "__main__":
    main()
