"""What the kit adds to Terraform on an OpenStack, for 1, 6 and 20 nodes: one JSON line per figure.

    python benchmarks/openstack.py [--nodes 1 6 20] [--leftovers 100]

The cloud is the kit's own (profile `cloud`), brought up for this and removed: real APIs, servers that are only said
to run. So nothing here logs in: readiness and converging are in the figures of local nodes (NAME=demo).
"""

from __future__ import annotations

import argparse
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
        self._environment = {**os.environ, "XDC_STATE_DIR": str(state)}

    def __call__(self, *words: str) -> str:
        """Run one command. Raises CalledProcessError."""
        done = subprocess.run([_CLI, *words], env=self._environment, check=True, stdout=subprocess.PIPE, text=True)
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


@contextmanager
def cloud(state: Path) -> Iterator[None]:
    """The kit's own cloud for the time of a with block."""
    kit = Kit(state)
    try:
        show("the cloud: up", timed(lambda: kit("up", "--profile", "cloud", "--name", _NAME))[0], "s")
        memory = int(kit("ssh", "--name", _NAME, "cloud", "--", "python3", "-c", _MEMORY))
        show("the cloud: memory, idle, sum of PSS", memory / _GIB, "GiB", at_most=3.5)
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(state / _NAME / "clouds.yaml")
        yield
        memory = int(kit("ssh", "--name", _NAME, "cloud", "--", "python3", "-c", _MEMORY))
        show("the cloud: memory afterwards", memory / _GIB, "GiB")
    finally:
        show("the cloud: down", timed(lambda: kit("down", "--name", _NAME, "--yes"))[0], "s")


def measure(folder: Path, counts: Sequence[int], leftovers: int) -> None:
    """Print every figure."""
    terraform_engine.find(folder)
    provider.build(provider.default_mirror(), silent)
    with cloud(folder / "state"):
        kit = {count: measure_nodes(count, folder / f"kit-{count}") for count in counts}
        most = max(counts)
        ratio = kit[most] / measure_bare(most, folder / "bare")
        show(f"{most} nodes: plan and apply over bare terraform apply", ratio, "", at_most=1.15)
        measure_sweep(leftovers)


def main() -> None:
    """Bring a cloud up, measure, remove it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 6, 20])
    parser.add_argument("--leftovers", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), arguments.nodes, arguments.leftovers)


if __name__ == "__main__":
    main()
