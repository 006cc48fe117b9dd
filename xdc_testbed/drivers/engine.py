"""podman or docker as a container engine: the executable, its flags, and the quirks of this machine.

podman 4.3 is what Debian 12 has; docker differs in flags only. The generated containers.conf adapts to cgroup mode,
init and limits; it is given by CONTAINERS_CONF and lives in the state folder.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdc_testbed.errors import RequirementMissing
from xdc_testbed.processes import Completed, run

CAPABILITIES = "SYS_ADMIN,NET_ADMIN,NET_RAW,AUDIT_WRITE,SYS_PTRACE,MKNOD"
"""What systemd with hardened units, the fault agents and tcpdump need; not --privileged: that shows host devices."""


@dataclass(frozen=True)
class NodeContainer:
    """One node as a container. memory_mib: MiB; publish: `address:port:port inside`; mounts: file to path inside;
    volumes: paths inside that are not in the layers of the image.
    """

    name: str
    hostname: str
    network: str
    address: str
    mac: str
    memory_mib: int
    cpus: float
    image: str
    publish: Sequence[str]
    labels: Mapping[str, str]
    mounts: Mapping[Path, str]
    volumes: Sequence[str] = ()


@dataclass(frozen=True)
class Engine:
    """One engine on this machine. kind: podman or docker."""

    kind: str
    executable: str
    environment: Mapping[str, str]

    @classmethod
    def find(cls, wanted: str, state_dir: Path) -> Engine:
        """Take the wanted engine, or with `auto` podman before docker. Raises RequirementMissing."""
        for kind in ("podman", "docker") if wanted == "auto" else (wanted,):
            executable = shutil.which(kind)
            if executable and (
                kind == "podman" or Path("/var/run/docker.sock").exists() or os.environ.get("DOCKER_HOST")
            ):
                environment = dict(os.environ)
                if kind == "podman":
                    conf = state_dir / "containers.conf"
                    conf.parent.mkdir(parents=True, exist_ok=True)
                    text = containers_conf()
                    if not conf.is_file() or conf.read_text() != text:
                        conf.write_text(text)
                    environment["CONTAINERS_CONF"] = str(conf)
                return cls(kind, executable, environment)
        raise RequirementMissing(
            "no container engine is installed" if wanted == "auto" else f"{wanted} is not installed or not running",
            remedy='start it, set DOCKER_HOST, or take engine = "podman"'
            if wanted == "docker"
            else "make setup  (or: sudo apt-get install podman runc netavark aardvark-dns)",
        )

    def run(self, *args: str, timeout: float, check: bool = True, input: bytes | None = None) -> Completed:  # noqa: A002
        """Run one engine command."""
        return run([self.executable, *args], timeout=timeout, env=self.environment, check=check, input=input)

    def json(self, *args: str) -> list[dict[str, Any]]:
        """Run a listing command that prints a JSON array (podman) or JSON lines (docker)."""
        text = self.run(*args, timeout=60).text.strip()
        if not text:
            return []
        return list(json.loads(text)) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Containers with this label: Id, Names, State, Labels, Ports, in podman's form for both engines."""
        if self.kind == "podman":
            return self.json("ps", "-a", "--filter", f"label={label}", "--format", "json")
        ids = self.run("ps", "-a", "-q", "--filter", f"label={label}", timeout=60).text.split()
        return [docker_container(raw) for raw in (self.json("inspect", *ids) if ids else [])]

    def volumes(self, label: str) -> list[str]:
        """Names of the volumes with this label."""
        return self.run("volume", "ls", "-q", "--filter", f"label={label}", timeout=60).text.split()

    def networks(self, label: str) -> list[dict[str, Any]]:
        """Networks of this engine: name, labels, subnets; with docker only those that carry the label key."""
        if self.kind == "podman":
            return [n | {"labels": n.get("labels") or {}} for n in self.json("network", "ls", "--format", "json")]
        ids = self.run("network", "ls", "-q", "--filter", f"label={label}", timeout=60).text.split()
        return [docker_network(raw) for raw in (self.json("network", "inspect", *ids) if ids else [])]

    def bridge_option(self, name: str) -> list[str]:
        """How the engine is told the bridge's name, so that its removal can be proven. podman 4.3 does not take one."""
        return ["--opt", f"com.docker.network.bridge.name={name}"] if self.kind == "docker" else []

    def remove(self, containers: Sequence[str], *, grace: int, check: bool = True) -> None:
        """Remove containers with their anonymous volumes. grace: seconds for podman to stop them; docker kills."""
        patience = ["-t", str(grace)] if self.kind == "podman" else []
        self.run("rm", "-f", "-v", *patience, *containers, timeout=120, check=check)

    def remove_network(self, name: str, *, check: bool = True) -> None:
        """Remove a network that no container uses."""
        force = ["-f"] if self.kind == "podman" else []
        self.run("network", "rm", *force, name, timeout=60, check=check)

    def commit(self, container: str, tag: str) -> None:
        """Make an image of a container that has stopped. Command and stop signal are given when a node is started."""
        options = ["-q", "--pause=false"] if self.kind == "podman" else []
        self.run("commit", *options, container, tag, timeout=600)

    def run_node(self, node: NodeContainer) -> None:
        """Start one systemd container with a static address and MAC."""
        self.run(*node_arguments(self.kind, node), timeout=120)


def node_arguments(kind: str, node: NodeContainer) -> list[str]:
    """The arguments of `run` for one node, by engine; pure, so that both forms are unit-tested."""
    args = [
        "run",
        "-d",
        "--name",
        node.name,
        "--hostname",
        node.hostname,
        "--memory",
        f"{node.memory_mib}m",
        "--cpus",
        f"{node.cpus:g}",
        "--shm-size",
        "64m",
        "--stop-signal",
        "SIGRTMIN+3",
    ]
    for capability in CAPABILITIES.split(","):
        args += ["--cap-add", capability]
    for key, value in node.labels.items():
        args += ["--label", f"{key}={value}"]
    for one in node.publish:
        args += ["-p", one]
    for path in node.volumes:
        args += ["-v", path]
    for source, target in node.mounts.items():
        args += ["-v", f"{source}:{target}:ro"]
    if kind == "podman":
        args += ["--systemd=always", "--network", f"{node.network}:ip={node.address},mac={node.mac}", "--no-hosts"]
    else:
        args += [
            "--network",
            node.network,
            "--ip",
            node.address,
            "--mac-address",
            node.mac,
            "--cgroupns=host",
            "-v",
            "/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--security-opt",
            "seccomp=unconfined",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            "--tmpfs",
            "/tmp",  # noqa: S108 - a mount point inside the container
            "-e",
            "container=docker",
        ]
    return [*args, node.image, "/sbin/init"]


def containers_conf() -> str:
    """The engine configuration that this machine needs (facts: containers with systemd, podman 4.3)."""
    containers = ['base_hosts_file = "none"', 'log_driver = "k8s-file"']
    engine = ['events_logger = "file"']
    if os.geteuid() == 0 and not _has_cap_sys_resource():
        files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        files = min(files if files > 0 else 20000, 1048576)
        processes = min(processes if processes > 0 else 32768, 32768)
        containers.append(f'default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]')
    if _controllers_in_unified_of_hybrid() and shutil.which("runc"):
        engine.append('runtime = "runc"')
    if not Path("/run/systemd/system").is_dir():
        engine.append('cgroup_manager = "cgroupfs"')
    backend = '\n[network]\nnetwork_backend = "netavark"\n' if _netavark() else ""
    return "[containers]\n" + "\n".join(containers) + "\n[engine]\n" + "\n".join(engine) + "\n" + backend


def _has_cap_sys_resource() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return True


def _controllers_in_unified_of_hybrid() -> bool:
    """crun refuses a hybrid cgroup layout that has controllers in the v2 tree."""
    try:
        return bool(Path("/sys/fs/cgroup/unified/cgroup.controllers").read_text().strip())
    except OSError:
        return False


def _netavark() -> bool:
    return any(
        Path(folder, "netavark").exists()
        for folder in ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")
    )


def docker_container(raw: Mapping[str, Any]) -> dict[str, Any]:
    """docker's `inspect` in the form of podman's `ps --format json`."""
    ports = [
        {"container_port": int(inside.split("/")[0]), "host_port": int(binding["HostPort"])}
        for inside, bindings in (raw["NetworkSettings"].get("Ports") or {}).items()
        for binding in bindings or []
    ]
    return {
        "Id": raw["Id"],
        "Names": [raw["Name"].lstrip("/")],
        "State": raw["State"]["Status"],
        "Labels": raw["Config"].get("Labels") or {},
        "Ports": ports,
    }


def docker_network(raw: Mapping[str, Any]) -> dict[str, Any]:
    """docker's `network inspect` in podman's form."""
    subnets = [{"subnet": part["Subnet"]} for part in (raw.get("IPAM", {}).get("Config") or []) if "Subnet" in part]
    return {"name": raw["Name"], "labels": raw.get("Labels") or {}, "subnets": subnets}
