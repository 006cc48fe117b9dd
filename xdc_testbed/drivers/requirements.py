"""What this machine must have for local nodes, as findings: found, needed, how to get it. `doctor` prints them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from xdc_testbed.drivers.base import Finding
from xdc_testbed.drivers.engine import Engine
from xdc_testbed.processes import run

DISK_GIB = 6
"""Node image with every service, plus room for layers and data."""


def findings(engine: Engine, *, memory_mib: int, nodes: int) -> list[Finding]:
    """Engine, rights, cgroups, memory and disk. memory_mib and nodes: what is still to be created."""
    version = engine.run("--version", timeout=20, check=False).text
    result = [
        Finding("container engine", bool(version), version or "does not answer", needed="podman >= 4.3 or docker")
    ]
    result.append(_rights(engine))
    if engine.kind == "podman":
        for tool in ("runc", "crun"):
            if shutil.which(tool):
                result.append(Finding("OCI runtime", True, tool))
                break
        else:
            result.append(
                Finding("OCI runtime", False, "none", needed="runc or crun", remedy="sudo apt-get install runc")
            )
    free = available_memory_mib()
    need = memory_mib * 6 // 10 if nodes else 0  # limits, not reservations; measured use of the demo is about half
    result.append(
        Finding(
            "memory",
            free >= need,
            f"{free} MiB available",
            needed=f"{need} MiB for {nodes} more nodes",
            remedy="end other programs, or lower memory in testbed.toml",
        )
    )
    disk = free_disk_gib(engine)
    result.append(
        Finding(
            "disk",
            disk >= DISK_GIB or not nodes,
            f"{disk:.0f} GiB free",
            needed=f"{DISK_GIB} GiB",
            remedy="free space where the engine keeps images",
        )
    )
    netem = _netem()
    result.append(
        Finding(
            "netem",
            netem,
            "in the kernel" if netem else "not in the kernel",
            needed="for exact delays; otherwise a user-space queue delays packets",
            level="advice",
        )
    )
    return result


def available_memory_mib() -> int:
    """MemAvailable of this machine, and of the cgroup that this process is limited by when that is less."""
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) // 1024
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            ceiling = (Path("/sys/fs/cgroup") / limit).read_text().strip()
            if ceiling.isdigit() and int(ceiling) < 1 << 60:
                used = int((Path("/sys/fs/cgroup") / usage).read_text())
                available = min(available, max(0, int(ceiling) - used) // 2**20)
        except OSError:
            continue
    return available


def free_disk_gib(engine: Engine) -> float:
    """Free space where the engine keeps its images."""
    root = Path("/var/lib/containers" if engine.kind == "podman" else "/var/lib/docker")
    if os.geteuid() != 0 and engine.kind == "podman":
        root = Path.home() / ".local/share/containers"
    while not root.exists():
        root = root.parent
    return shutil.disk_usage(root).free / 2**30


def _rights(engine: Engine) -> Finding:
    if os.geteuid() == 0:
        return Finding("rights", True, "root")
    if engine.kind == "docker":
        return Finding(
            "rights",
            os.access("/var/run/docker.sock", os.W_OK),
            "docker socket",
            needed="write access to the docker socket",
            remedy="add yourself to the group docker",
        )
    delegated = _delegated_cgroup()
    return Finding(
        "rights",
        delegated,
        "rootless, cgroups delegated" if delegated else "rootless, cgroups not delegated",
        needed="root, sudo, or a delegated cgroup (systemd user session on cgroup v2)",
        remedy="run with sudo, or log in with a systemd user session",
    )


def _delegated_cgroup() -> bool:
    """Whether this user may make cgroups: a writable own cgroup on v2, or a writable systemd hierarchy on v1."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return os.access(f"/sys/fs/cgroup{path}/..", os.W_OK) or os.access(f"/sys/fs/cgroup{path}", os.W_OK)
        if controllers == "name=systemd":
            return os.access(f"/sys/fs/cgroup/systemd{path}", os.W_OK)
    return False


def _netem() -> bool:
    """Whether the kernel knows netem, asked without changing anything that stays."""
    if Path("/sys/module/sch_netem").exists():
        return True
    if not shutil.which("modprobe"):
        return False
    return run(["modprobe", "-n", "-q", "sch_netem"], timeout=10, check=False).returncode == 0
