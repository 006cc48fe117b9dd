"""Commands on nodes over SSH: the way in that every driver gives."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.drivers.base import Node
from xdc_testbed.drivers.login import ssh_arguments
from xdc_testbed.errors import DeadlineExceeded
from xdc_testbed.processes import Completed, follow, run


def execute(
    node: Node,
    known_hosts: Path,
    *command: str,
    timeout: float,
    check: bool = True,
    input: bytes | None = None,  # noqa: A002 - the name that subprocess has given it
) -> Completed:
    """Run one command on a node."""
    return run(ssh_arguments(node, known_hosts, *command), timeout=timeout, check=check, input=input)


def stream(
    node: Node,
    known_hosts: Path,
    *command: str,
    timeout: float,
    on_line: Callable[[str], None],
    log_file: Path,
) -> Completed:
    """Run one command on a node and hand on its lines as they come."""
    return follow(ssh_arguments(node, known_hosts, *command), timeout=timeout, on_line=on_line, log_file=log_file)


def fetch(node: Node, known_hosts: Path, remote: str, local: Path, *, timeout: float) -> None:
    """Copy a folder from a node: its content is below `local` afterwards."""
    local.mkdir(parents=True, exist_ok=True)
    packed = execute(node, known_hosts, "tar", "-C", remote, "-cf", "-", ".", timeout=timeout)
    run(["tar", "-C", local, "--no-same-owner", "-xf", "-"], timeout=timeout, input=packed.stdout)


def put_file(node: Node, known_hosts: Path, remote: str, data: bytes, *, mode: str = "0644") -> None:
    """Write one file on a node, whole or not at all."""
    target, partial = shlex.quote(remote), f"{shlex.quote(remote)}.tmp"
    execute(
        node,
        known_hosts,
        "sh",
        "-c",
        f"umask 077; cat > {partial} && chmod {mode} {partial} && mv {partial} {target}",
        timeout=60,
        input=data,
    )


STAGES = ("address", "banner", "host key", "login", "python", "cloud-init", "system", "clock")

_PATIENCE = 120.0
"""Seconds for a stage that does not depend on how fast a machine boots."""
_CLOCK = 60
"""Seconds that a node's clock may differ from ours: tokens and certificates are dated back by that, or more."""


def wait_ready(nodes: Sequence[Node], known_hosts: Path, *, boot: float) -> dict[str, str]:
    """Wait for every node, stage by stage: port, SSH banner, host key as it was made here, login with our key, Python,
    cloud-init where there is one, systemd, clock.

    boot: seconds for each stage that takes as long as the machine takes to boot; 120 s at most for the others.
    Returns the nodes that failed: name -> "stage: what was seen"; {} when all are ready. Nodes behind another one are
    asked when the others are ready, for each question is a login at the node in front of them, which has to boot.
    """
    directly = [node for node in nodes if not node.jump]
    behind = [node for node in nodes if node.jump]
    return _all_ready(directly, known_hosts, boot) or _all_ready(behind, known_hosts, boot)


def _all_ready(nodes: Sequence[Node], known_hosts: Path, boot: float) -> dict[str, str]:
    """Wait for these nodes at once."""
    stop = threading.Event()  # Ctrl-C reaches this thread only, and the pool waits for the others
    with ThreadPoolExecutor(max_workers=min(16, max(1, len(nodes)))) as pool:
        try:
            results = pool.map(lambda node: _ready(node, known_hosts, boot, stop), nodes)
            return {node.name: failure for node, failure in zip(nodes, results, strict=True) if failure}
        finally:
            stop.set()


@dataclass(frozen=True)
class _Problem:
    """What is not reached yet. wait: seconds from when the stage is first met; 0 when nothing will come of waiting."""

    stage: str
    seen: str
    wait: float


def _ready(node: Node, known_hosts: Path, boot: float, stop: threading.Event) -> str | None:
    """Ask until all is well (None), or a stage has taken too long."""
    met: dict[str, float] = {}
    problem = _Problem(STAGES[0], "nothing yet", boot)
    while not stop.is_set():
        met.setdefault(problem.stage, time.monotonic())
        if time.monotonic() >= met[problem.stage] + problem.wait:
            break
        found = _problem(node, known_hosts, boot)
        if found is None:
            return None
        problem = found
        time.sleep(0.1)
    return f"{problem.stage}: {problem.seen}"


def _problem(node: Node, known_hosts: Path, boot: float) -> _Problem | None:
    """Knock, then log in and ask. Returns the stage that is not reached, or None."""
    patience = min(boot, _PATIENCE)
    try:
        if not node.jump:
            greeting = _greeting(node)
            if not greeting:
                return _Problem("banner", "the port answers, and says nothing yet", boot)
            if not greeting.startswith(b"SSH-"):
                return _Problem("banner", "the port answers, but not with an SSH banner", patience)
    except OSError as error:
        return _Problem("address", str(error), boot)
    words = ssh_arguments(node, known_hosts, "sh", "-c", _PROBE)
    reached = "address" if node.jump else "login"  # nobody knocks at a node behind another one
    try:
        done = run(words, timeout=min(_PROBE_DEADLINE, boot), check=False)
    except DeadlineExceeded as error:
        return _Problem(reached, str(error), boot)
    match done.returncode:
        case 0:
            system, _, clock = done.text.strip().rpartition("\n")
            if system.strip() not in ("running", "degraded"):
                return _Problem("system", f"systemd says '{system.strip()}'", boot)
            if abs(int(clock) - time.time()) > _CLOCK:
                return _Problem("clock", f"{int(clock) - time.time():+.0f} s off", patience)
            return None
        case 91:
            return _Problem("python", "python3 is not in the image", 0)
        case 92:
            return _Problem("cloud-init", done.reason, 0)
        case 93:
            return _Problem("cloud-init", "it still runs", boot)
    if "Host key verification failed" in done.reason:
        return _Problem("host key", done.reason, patience)
    if "Permission denied" in done.reason:
        return _Problem("login", done.reason, patience)
    return _Problem(reached, done.reason, boot)


_PROBE_DEADLINE = 40.0
"""Seconds after which a probe is made anew; it waits on the node for thirty of them at most."""

_PROBE = """
command -v python3 >/dev/null || exit 91
if command -v cloud-init >/dev/null; then
  said=$(timeout 20 cloud-init status --wait 2>&1); code=$?
  [ $code != 124 ] || exit 93
  # 2: it is done and complains of something that it could mend.
  [ $code = 0 ] || [ $code = 2 ] || { echo "$said" >&2; exit 92; }
fi
timeout 10 systemctl is-system-running --wait || [ $? != 124 ] || systemctl is-system-running || true
date +%s
"""


def _greeting(node: Node) -> bytes:
    """The first words at a node's port; none within five seconds from a machine that is slow. Raises OSError."""
    with socket.create_connection((node.ssh_address, node.ssh_port), timeout=5) as connection:
        try:
            return connection.recv(64)
        except OSError:
            return b""
