"""Commands on nodes over SSH: the way in that every driver gives."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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


STAGES = ("address", "banner", "login", "python", "cloud-init", "system", "clock")

_CLOCK = 60
"""Seconds that a node's clock may differ from ours: tokens and certificates are made for less than that."""


def wait_ready(nodes: Sequence[Node], known_hosts: Path, *, deadline: float) -> dict[str, str]:
    """Wait for every node, stage by stage: port, SSH banner, login with our key and host key, Python, cloud-init where
    there is one, systemd, clock.

    deadline: seconds for all. Returns the nodes that failed: name -> "stage: what was seen"; {} when all are ready.
    """
    until = time.monotonic() + deadline
    stop = threading.Event()  # Ctrl-C reaches this thread only, and the pool waits for the others
    with ThreadPoolExecutor(max_workers=min(16, max(1, len(nodes)))) as pool:
        try:
            results = pool.map(lambda node: _ready(node, known_hosts, until, stop), nodes)
            return {node.name: failure for node, failure in zip(nodes, results, strict=True) if failure}
        finally:
            stop.set()


def _ready(node: Node, known_hosts: Path, until: float, stop: threading.Event) -> str | None:
    stage, seen = STAGES[0], "nothing yet"
    while time.monotonic() < until and not stop.is_set():
        try:
            stage = "address"
            if node.jump or _greets(node):
                stage = "login"
                problem = _problem(node, known_hosts, until)
                if problem is None:
                    return None
                stage, seen = problem
            else:
                stage, seen = "banner", "the port answers, but not with an SSH banner"
        except (OSError, DeadlineExceeded) as error:
            seen = str(error)
        time.sleep(0.1)
    return f"{stage}: {seen}"


def _greets(node: Node) -> bool:
    with socket.create_connection((node.ssh_address, node.ssh_port), timeout=2) as connection:
        try:
            return connection.recv(64).startswith(b"SSH-")
        except OSError:
            return False


_PROBE_DEADLINE = 30.0
"""Seconds after which a probe is made anew, so that Ctrl-C need not wait longer."""

_PROBE = """
command -v python3 >/dev/null || exit 91
if command -v cloud-init >/dev/null; then
  said=$(cloud-init status --wait 2>&1); code=$?
  # 2: it is done and complains of something that it could mend.
  [ $code = 0 ] || [ $code = 2 ] || { echo "$said" >&2; exit 92; }
fi
systemctl is-system-running --wait || true
date +%s
"""


def _problem(node: Node, known_hosts: Path, until: float) -> tuple[str, str] | None:
    """Log in and ask. Returns the stage that is not reached and what was seen, or None."""
    words = ssh_arguments(node, known_hosts, "sh", "-c", _PROBE)
    done = run(words, timeout=max(1.0, min(_PROBE_DEADLINE, until - time.monotonic())), check=False)
    if done.returncode == 91:
        return "python", "python3 is not in the image"
    if done.returncode == 92:
        return "cloud-init", done.reason
    if done.returncode != 0:
        return "login", done.reason
    system, _, clock = done.text.strip().rpartition("\n")
    if system.strip() not in ("running", "degraded"):
        return "system", f"systemd says '{system.strip()}'"
    if abs(int(clock) - time.time()) > _CLOCK:
        return "clock", f"{int(clock) - time.time():+.0f} s off"
    return None
