"""podman and docker: their arguments, their listings in one form, and the configuration of this machine."""

from __future__ import annotations

import itertools
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xdc_testbed.drivers import engine
from xdc_testbed.drivers.engine import (
    CAPABILITIES,
    Engine,
    NodeContainer,
    containers_conf,
    docker_container,
    docker_network,
)
from xdc_testbed.errors import RequirementMissing
from xdc_testbed.processes import Completed


def arguments(kind: str, **changes: Any) -> list[str]:
    """The arguments with which a node is started."""
    given: dict[str, Any] = {
        "name": "xdc-0123-desy-storage",
        "hostname": "desy-storage.xdc.test",
        "network": "xdc-0123",
        "address": "10.89.77.33",
        "mac": "52:54:00:59:4d:21",
        "memory_mib": 1024,
        "cpus": 2.0,
        "image": "localhost/xdc-testbed/node:abc",
        "publish": ["127.0.0.1:2201:22"],
        "volumes": [],
        "labels": {"org.xdc.testbed": "0123"},
        "mounts": {Path("/state/keys/id.pub"): "/root/.ssh/authorized_keys"},
    }
    return engine.node_arguments(kind, NodeContainer(**(given | changes)))


def value(words: list[str], option: str) -> list[str]:
    """Every value of an option."""
    return [after for before, after in itertools.pairwise(words) if before == option]


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_a_node_runs_systemd_within_its_limits_by_either_engine(kind: str) -> None:
    words = arguments(kind, cpus=1.5)
    assert words[:2] == ["run", "-d"]
    assert words[-2:] == ["localhost/xdc-testbed/node:abc", "/sbin/init"]
    assert (value(words, "--memory"), value(words, "--cpus")) == (["1024m"], ["1.5"])
    assert value(words, "--stop-signal") == ["SIGRTMIN+3"]


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_a_folder_outside_the_layers_is_a_volume_without_a_name_that_goes_with_the_node(kind: str) -> None:
    assert "/var/lib/xdc-instances" in value(arguments(kind, volumes=("/var/lib/xdc-instances",)), "-v")


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_a_node_is_never_privileged(kind: str) -> None:
    words = arguments(kind)
    assert "--privileged" not in words
    assert value(words, "--cap-add") == CAPABILITIES.split(",")


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_keys_are_mounted_read_only_and_ports_are_on_the_loopback(kind: str) -> None:
    words = arguments(kind)
    assert value(words, "-v")[0] == "/state/keys/id.pub:/root/.ssh/authorized_keys:ro"
    assert value(words, "-p") == ["127.0.0.1:2201:22"]
    assert value(words, "--label") == ["org.xdc.testbed=0123"]


def test_podman_takes_address_and_mac_with_the_network_and_knows_systemd() -> None:
    words = arguments("podman")
    assert value(words, "--network") == ["xdc-0123:ip=10.89.77.33,mac=52:54:00:59:4d:21"]
    assert {"--systemd=always", "--no-hosts"} <= set(words)


def test_docker_takes_address_and_mac_as_options_and_gets_what_systemd_needs() -> None:
    words = arguments("docker")
    assert (value(words, "--network"), value(words, "--ip")) == (["xdc-0123"], ["10.89.77.33"])
    assert value(words, "--mac-address") == ["52:54:00:59:4d:21"]
    assert value(words, "--tmpfs") == ["/run", "/run/lock", "/tmp"]
    assert "--systemd=always" not in words


def test_only_docker_is_told_the_name_of_the_bridge() -> None:
    assert Engine("docker", "docker", {}).bridge_option("xdc0123") == [
        "--opt",
        "com.docker.network.bridge.name=xdc0123",
    ]
    assert Engine("podman", "podman", {}).bridge_option("xdc0123") == []


# -- listings ---------------------------------------------------------------------------------------------------------

INSPECTED = {
    "Id": "abc",
    "Name": "/xdc-0123-a",
    "State": {"Status": "running"},
    "Config": {"Labels": {"org.xdc.testbed": "0123"}},
    "NetworkSettings": {"Ports": {"22/tcp": [{"HostIp": "127.0.0.1", "HostPort": "2201"}], "9093/tcp": None}},
}


def test_dockers_containers_look_like_podmans() -> None:
    assert docker_container(INSPECTED) == {
        "Id": "abc",
        "Names": ["xdc-0123-a"],
        "State": "running",
        "Labels": {"org.xdc.testbed": "0123"},
        "Ports": [{"container_port": 22, "host_port": 2201}],
    }


def test_a_container_that_has_stopped_has_no_ports_and_may_have_no_labels() -> None:
    stopped = INSPECTED | {"NetworkSettings": {"Ports": None}, "Config": {"Labels": None}}
    assert (docker_container(stopped)["Ports"], docker_container(stopped)["Labels"]) == ([], {})


def test_dockers_networks_look_like_podmans() -> None:
    raw = {"Name": "xdc-0123", "Labels": {"org.xdc.testbed": "0123"}, "IPAM": {"Config": [{"Subnet": "10.89.77.0/24"}]}}
    assert docker_network(raw) == {
        "name": "xdc-0123",
        "labels": {"org.xdc.testbed": "0123"},
        "subnets": [{"subnet": "10.89.77.0/24"}],
    }


@pytest.mark.parametrize("ipam", [{}, {"Config": None}, {"Config": [{}]}])
def test_a_network_without_addresses_has_no_subnets(ipam: dict[str, Any]) -> None:
    assert docker_network({"Name": "host", "Labels": None, "IPAM": ipam}) == {
        "name": "host",
        "labels": {},
        "subnets": [],
    }


def pretending(folder: Path, kind: str, text: str) -> Engine:
    """An engine that prints this text whatever it is asked."""
    program = folder / kind
    (folder / "text").write_text(text)
    program.write_text(f"#!/bin/sh\ncat '{folder}/text'\n")
    program.chmod(0o755)
    return Engine(kind, str(program), dict(os.environ))


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("", []),
        ("[]", []),
        ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
    ],
)
def test_an_array_and_lines_of_json_are_the_same_list(tmp_path: Path, text: str, listed: list[Any]) -> None:
    assert pretending(tmp_path, "docker", text).json("ps") == listed


def test_podmans_networks_without_labels_have_empty_ones(tmp_path: Path) -> None:
    podman = pretending(tmp_path, "podman", '[{"name": "podman", "labels": null}, {"name": "other"}]')
    assert [network["labels"] for network in podman.networks("org.xdc.testbed")] == [{}, {}]


def test_docker_without_testbeds_lists_nothing(tmp_path: Path) -> None:
    docker = pretending(tmp_path, "docker", "")
    assert (docker.containers("org.xdc.testbed=0"), docker.networks("org.xdc.testbed")) == ([], [])


@dataclass(frozen=True)
class Silent(Engine):
    """An engine that remembers what it was asked."""

    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *args: str, timeout: float, check: bool = True, input: bytes | None = None) -> Completed:  # noqa: A002
        self.asked.append(args)
        return Completed(args, 0, b"a b", b"", 0.0)


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (
            "podman",
            [
                ("rm", "-f", "-v", "-t", "3", "a", "b"),
                ("network", "rm", "-f", "net"),
                ("commit", "-q", "--pause=false"),
            ],
        ),
        (
            "docker",
            [("rm", "-f", "-v", "a", "b"), ("network", "rm", "net"), ("commit", "container", "tag")],
        ),
    ],
)
def test_each_engine_is_given_options_that_it_has(kind: str, asked: list[tuple[str, ...]]) -> None:
    engine = Silent(kind, kind, {})
    engine.remove(["a", "b"], grace=3)
    engine.remove_network("net")
    engine.commit("container", "tag")
    assert [words[: len(expected)] for words, expected in zip(engine.asked, asked, strict=True)] == asked
    assert engine.volumes("x") == ["a", "b"]


# -- this machine -----------------------------------------------------------------------------------------------------


def machine(
    monkeypatch: pytest.MonkeyPatch, *, root: bool, powerful: bool, hybrid: bool, systemd: bool
) -> dict[str, Any]:
    """containers.conf of a machine."""
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(engine, "_has_cap_sys_resource", lambda: powerful)
    monkeypatch.setattr(engine, "_controllers_in_unified_of_hybrid", lambda: hybrid)
    monkeypatch.setattr(engine, "_netavark", lambda: True)
    monkeypatch.setattr(engine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(engine.resource, "getrlimit", lambda _: (1024, 524288))
    monkeypatch.setattr(engine.Path, "is_dir", lambda _: systemd)
    return tomllib.loads(containers_conf())


def test_an_ordinary_machine_keeps_the_engines_own_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = machine(monkeypatch, root=True, powerful=True, hybrid=False, systemd=True)
    assert "default_ulimits" not in conf["containers"]
    assert not {"runtime", "cgroup_manager"} & set(conf["engine"])
    assert conf["network"] == {"network_backend": "netavark"}


def test_root_that_may_not_raise_limits_gets_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = machine(monkeypatch, root=True, powerful=False, hybrid=False, systemd=True)
    assert conf["containers"]["default_ulimits"] == ["nofile=524288:524288", "nproc=32768:32768"]


def test_a_hybrid_cgroup_layout_gets_the_runtime_that_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine(monkeypatch, root=True, powerful=True, hybrid=True, systemd=True)["engine"]["runtime"] == "runc"


def test_without_systemd_the_engine_manages_cgroups_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = machine(monkeypatch, root=True, powerful=True, hybrid=False, systemd=False)
    assert conf["engine"]["cgroup_manager"] == "cgroupfs"


def test_an_engine_that_is_not_there_is_told_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.shutil, "which", lambda _: None)
    for wanted in ("auto", "podman", "docker"):
        with pytest.raises(RequirementMissing) as caught:
            Engine.find(wanted, tmp_path)
        assert ("DOCKER_HOST" if wanted == "docker" else "make setup") in (caught.value.remedy or "")


def test_podman_is_taken_before_docker_and_gets_its_configuration_from_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.shutil, "which", lambda name: f"/usr/bin/{name}")
    found = Engine.find("auto", tmp_path)
    assert found.kind == "podman"
    assert found.environment["CONTAINERS_CONF"] == str(tmp_path / "containers.conf")
    assert tomllib.loads((tmp_path / "containers.conf").read_text())["containers"]["log_driver"] == "k8s-file"
