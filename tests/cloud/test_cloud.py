"""The driver `openstack`, whole, on real keystone, nova, neutron, glance and cinder; instances can be logged in to.

By the command line only; what is made and what is left is asked of the cloud, past the kit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.conftest import Lab
from tests.e2e.burst import Burst
from tests.roles.playbook_bed import Bed
from tests.waiting import wait
from xdc_testbed.testbed.lifecycle import Testbed

COMPUTE = "container"
MEMORY = 6144
NODES = ("desy-storage", "desy-stream")


# -- what is refused before anything is made --------------------------------------------------------------------------


def test_a_second_up_of_the_cloud_changes_nothing(lab: Lab) -> None:
    again = lab.xdc("up", "-f", str(lab.folder / "cloud.toml"), "--converge", "--output", "json").json
    assert again["changed"] == {"cloud": 0}


def test_a_dry_run_on_the_cloud_would_change_nothing(lab: Lab) -> None:
    assert Bed(Testbed(lab.xdc.state_dir, "cloud")).run("site", check=True).diffs == []


@pytest.mark.parametrize(
    ("spoil", "cause", "remedy"),
    [
        ({"auth": {"password": "wrong"}}, "does not accept these credentials", "clouds.yaml"),
        (
            {"auth_type": "v3token", "auth": {"token": "expired", "username": None, "password": None}},
            "does not accept these credentials",
            "token",
        ),
        ({"region_name": "Nowhere"}, "service compute: not there", "region_name"),
        ({"auth": {"auth_url": "https://127.0.0.1:9/v3"}}, "cannot be reached", "auth_url"),
        ({"cacert": "/nowhere/ca.pem"}, "/nowhere/ca.pem", "cacert"),
    ],
    ids=["password", "token", "region", "address", "authority"],
)
def test_wrong_words_in_clouds_yaml_are_one_line(
    lab: Lab, clouds: dict[str, Any], spoil: dict[str, Any], cause: str, remedy: str
) -> None:
    for key, value in spoil.items():
        clouds[key] = {**clouds["auth"], **value} if key == "auth" else value
    if spoil.get("auth_type"):
        clouds["auth"] = {
            k: v for k, v in clouds["auth"].items() if k not in ("username", "password", "user_domain_name")
        }
    said = lab.refused("up", "-f", str(lab.described("refused")))
    assert said.code == 3, said.err
    assert cause in said.errors[0]
    assert remedy in said.errors[1]
    assert "Traceback" not in said.err


def test_without_clouds_yaml_the_entry_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none.yaml"))
    said = lab.refused("up", "-f", str(lab.described("refused")))
    assert said.code == 3
    assert "cloud" in said.errors[0]
    assert "clouds.yaml" in said.errors[1]


def test_an_image_that_is_there_twice_is_named_by_its_ids(lab: Lab) -> None:
    image = lab.admin.image
    second = image.create_image(
        name="debian-12",
        disk_format="raw",
        container_format="bare",
        visibility="public",
        allow_duplicates=True,
        data=b"0",
    )
    try:
        said = lab.refused("up", "-f", str(lab.described("unclear")))
        assert (said.code, said.errors[0]) == (3, "error: description: 2 things of kind image are called 'debian-12'")
        assert second.id in said.errors[1]
    finally:
        image.delete_image(second)


def test_a_network_name_that_somebody_else_has_as_well_is_not_guessed(lab: Lab) -> None:
    network = lab.admin.network
    second = network.create_network(name="external", is_router_external=True)
    try:
        said = lab.refused("up", "-f", str(lab.described("refused", 'external_network = "external"')))
        assert said.code == 3
        assert "2 things of kind external network are called 'external'" in said.errors[0]
        assert second.id in said.errors[1]
        said = lab.refused("up", "-f", str(lab.described("refused")))
        assert "2 external networks" in said.errors[0]
    finally:
        network.delete_network(second)


@pytest.mark.parametrize("word", ["instances", "ports", "floating_ips"])
def test_a_quota_that_is_short_by_one_is_refused_with_the_figures(lab: Lab, word: str) -> None:
    need = {"instances": 2, "ports": 4, "floating_ips": 1}[word]
    shown = {"floating_ips": "floating addresses"}.get(word, word)
    with _quota(lab, word, need - 1):
        said = lab.refused("up", "-f", str(lab.described("refused")))
    assert said.code == 3
    assert f"quota: {shown}: {need - 1} of {need - 1} free, needed: " in said.errors[0]
    assert lab.things() == []


@contextlib.contextmanager
def _quota(lab: Lab, word: str, limit: int) -> Iterator[None]:
    """Another limit of the project, for a while."""
    if word == "instances":
        path = f"/os-quota-sets/{lab.project}"
        before = lab.admin.compute.get(path).json()["quota_set"][word]

        def put(value: int) -> None:
            done = lab.admin.compute.put(path, json={"quota_set": {word: value}})
            assert done.status_code == 200, done.text
    else:
        before = getattr(lab.admin.network.get_quota(lab.project), word)

        def put(value: int) -> None:
            lab.admin.network.update_quota(lab.project, **{word: value})

    put(limit)
    try:
        yield
    finally:
        put(before)


# -- what goes wrong on the way ---------------------------------------------------------------------------------------


def test_a_server_that_no_host_takes_is_explained_and_all_of_it_can_go(lab: Lab) -> None:
    huge = lab.admin.compute.create_flavor(name="huge", vcpus=1, ram=300000, disk=1)
    described = str(lab.described("failed", '[openstack.nodes.desy-stream]\nflavor = "huge"'))
    try:
        said = lab.refused("up", "-f", described)
        assert said.code == 1, said.err
        assert "No valid host was found" in said.errors[0]
        assert "run up again" in said.errors[1]
    finally:
        lab.xdc("down", "--yes", "-f", described, "--name", "failed", timeout=300)
        lab.admin.compute.delete_flavor(huge)
    assert lab.things() == []


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_what_can_be_removed(lab: Lab, times: int) -> None:
    with _started(lab, "stopped", str(lab.described("stopped"))) as up:
        os.kill(up.pid, signal.SIGINT)
        if times == 2:
            wait(lambda: "press it again" in _reported(lab, "stopped"), 60)
            os.kill(up.pid, signal.SIGINT)
        _, err = up.communicate(timeout=300)
        assert up.returncode == 130, err
        if times == 1:
            assert len([thing for thing in lab.things() if thing.startswith("server xdc-")]) == 2
    assert lab.things() == []


@pytest.mark.long
def test_a_pool_without_a_free_floating_address_is_told_as_the_cloud_says_it(lab: Lab) -> None:
    network = lab.admin.network
    small = network.create_network(name="small", is_router_external=True)
    pool = {"start": "198.51.100.2", "end": "198.51.100.2"}  # the router's gateway takes it, or the floating address
    network.create_subnet(
        network_id=small.id, ip_version=4, cidr="198.51.100.0/29", enable_dhcp=False, allocation_pools=[pool]
    )
    described = str(lab.described("nowhere", 'external_network = "small"'))
    try:
        said = lab.refused("up", "-f", described)
        assert said.code == 1, said.err
        assert "No more IP addresses available" in said.errors[0]
        assert "run up again" in said.errors[1]
    finally:
        lab.xdc("down", "--yes", "-f", described, "--name", "nowhere", timeout=300)
        network.delete_network(small)
    assert lab.things() == []


@pytest.mark.long
def test_an_api_that_goes_away_in_mid_apply_is_told_and_all_of_it_can_go(lab: Lab) -> None:
    described = str(lab.described("deserted"))
    with _started(lab, "deserted", described) as up:
        lab.xdc("ssh", "cloud", "--name", "cloud", "--", "systemctl", "stop", "nova-api")
        try:
            _, err = up.communicate(timeout=300)
        finally:
            lab.xdc("ssh", "cloud", "--name", "cloud", "--", "systemctl", "start", "nova-api")
        assert up.returncode == 1, err
        assert "Traceback" not in err
        assert "error: apply: server" in err
        assert "run up again" in err
        wait(lambda: lab.admin.compute.get("/").status_code == 200, 60)
    assert lab.things() == []


@pytest.mark.long
def test_a_full_disk_in_mid_apply_is_told_and_all_of_it_can_go(lab: Lab, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "xdc-full", state], check=True)
    try:
        full = replace(lab, xdc=replace(lab.xdc, state_dir=state))
        described = str(lab.described("full"))
        with _started(full, "full", described) as up:
            filler = state / "filler"
            _fill(filler)
            _, err = up.communicate(timeout=300)
            assert up.returncode == 1, err
            assert "Traceback" not in err
            assert "no space is left" in err
            filler.unlink()
        assert lab.things() == []
    finally:
        subprocess.run(["umount", state], check=True)


def _fill(path: Path) -> None:
    """Leave no room in the file system of this file."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"0" * 4096):
            pass


@contextlib.contextmanager
def _started(lab: Lab, name: str, described: str) -> Iterator[subprocess.Popen[str]]:
    """An `up` with Terraform in the midst of making servers; afterwards all that it has made is taken away."""
    up = lab.xdc.start("up", "-f", described)
    try:
        wait(lambda: _servers_started(lab, name) or up.poll() is not None, 240)
        assert up.poll() is None, up.communicate()
        yield up
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
        lab.xdc("down", "--yes", "-f", described, "--name", name, timeout=300)


# -- the whole way ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bed(lab: Lab) -> Iterator[str]:
    """Two nodes, brought up after an `up` that was killed with Terraform in the midst of making servers."""
    described = str(lab.described("lab"))
    first = lab.xdc.start("up", "-f", described)
    try:
        wait(lambda: _servers_started(lab, "lab") or first.poll() is not None, 240)
        assert first.poll() is None, first.communicate()
        terraform = int((lab.xdc.state_dir / "lab" / "terraform" / "process").read_text())
        os.killpg(first.pid, signal.SIGKILL)
        os.killpg(terraform, signal.SIGKILL)
        first.wait(timeout=10)
        lab.xdc("up", "-f", described, timeout=1200)
        yield described
    finally:
        lab.xdc("down", "--yes", "-f", described, "--name", "lab", ok=False, timeout=600)


def test_after_kill_9_the_same_command_goes_on_and_makes_nothing_twice(lab: Lab, bed: str) -> None:
    found = lab.things()
    assert len([thing for thing in found if thing.startswith("server xdc-")]) == 2
    assert len([thing for thing in found if thing.startswith(("router xdc-", "network xdc-", "floating"))]) == 3


def test_nodes_are_reached_by_the_floating_address_and_through_it(lab: Lab, bed: str) -> None:
    for node in NODES:
        said = lab.xdc("ssh", node, "--name", "lab", "--", "hostname", "-f")
        assert said.out.strip() == f"{node}.xdc.test"
    nodes = json.loads((lab.xdc.state_dir / "lab" / "state.json").read_text())["nodes"]
    assert [node["jump"] is None for node in sorted(nodes, key=lambda node: str(node["name"]))] == [True, False]


def test_between_nodes_only_what_is_in_the_table_of_ports_is_open(lab: Lab, bed: str) -> None:
    nodes = Testbed(lab.xdc.state_dir, "lab")
    storage = nodes.node("desy-storage").address
    Bed(nodes).on("desy-storage", "systemd-run -q --unit=stranger python3 -m http.server 9999")
    wait(lambda: _asked(nodes, "desy-storage", storage, 9999) == "open", 30)
    found = {port: _asked(nodes, "desy-stream", storage, port) for port in (22, 1094, 9999)}
    Bed(nodes).on("desy-storage", "systemctl stop stranger")
    assert found == {22: "open", 1094: "open", 9999: "closed"}


def test_ssh_gets_in_from_where_a_rule_says_and_only_while_it_does(lab: Lab, bed: str) -> None:
    cloud, network = Testbed(lab.xdc.state_dir, "cloud"), lab.admin.network
    nodes = json.loads((lab.xdc.state_dir / "lab" / "state.json").read_text())["nodes"]
    floating = next(node["ssh_address"] for node in nodes if node["jump"] is None)
    (everywhere,) = [one for one in network.security_groups(project_id=lab.project) if one.name.endswith("-all")]
    assert _asked(cloud, "cloud", floating, 22) == "closed"  # what nodes are reached by comes from elsewhere
    rule = network.create_security_group_rule(
        security_group_id=everywhere.id, direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22
    )
    try:
        wait(lambda: _asked(cloud, "cloud", floating, 22) == "open", 30)
    finally:
        network.delete_security_group_rule(rule)
    wait(lambda: _asked(cloud, "cloud", floating, 22) == "closed", 30)


def _asked(testbed: Testbed, node: str, address: str, port: int) -> str:
    """Whether a port is open for a node."""
    words = f"timeout 3 bash -c ': </dev/tcp/{address}/{port}' 2>&- && echo open || echo closed"
    return Bed(testbed).on(node, words).strip()


def test_services_are_those_of_any_testbed(lab: Lab, bed: str) -> None:
    status = lab.xdc("status", "--name", "lab", "--output", "json").json
    assert {word for node in status["nodes"] for word in node["units"].values()} == {"active"}
    assert {endpoint["product"] for endpoint in status["endpoints"]} == {"xrootd", "oidc-issuer"}


def test_a_second_up_changes_nothing(lab: Lab, bed: str) -> None:
    again = lab.xdc("up", "-f", bed, "--converge", "--output", "json", timeout=600).json
    assert again["changed"] == dict.fromkeys(NODES, 0)


def test_credentials_are_in_no_state_no_variable_no_log_and_no_bundle(lab: Lab, bed: str, tmp_path: Path) -> None:
    known = yaml.safe_load((lab.xdc.state_dir / "cloud" / "clouds.yaml").read_text())["clouds"]
    folder = lab.xdc.state_dir / "lab"
    secrets = [one["auth"]["password"] for one in known.values()]
    keys = [folder / "keys" / "id_ed25519", *(folder / "keys" / "hosts" / node for node in NODES)]
    secrets += [key.read_text().splitlines()[2] for key in keys]
    bundle = lab.xdc("bundle", "--name", "lab").out.strip()
    with tarfile.open(bundle) as packed:
        packed.extractall(tmp_path, filter="data")
    places = [folder / "terraform", folder / "logs", folder / "state.json", folder / "inventory", tmp_path]
    places += [lab.xdc.state_dir / "cloud" / "logs"]
    files = [p for place in places for p in ([place] if place.is_file() else place.rglob("*")) if p.is_file()]
    assert len(files) > 20
    leaking = [str(path) for path in files if any(secret.encode() in _content(path) for secret in secrets)]
    assert leaking == []


def _content(path: Path) -> bytes:
    """What is in a file; of an archive, such as a saved plan, what is in its members."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(map(archive.read, archive.namelist()))


def test_down_without_the_state_removes_all_and_nothing_else(lab: Lab, bed: str) -> None:
    stranger = lab.admin.compute.create_server_group(name="xdc-of-somebody", policies=["affinity"])
    (lab.xdc.state_dir / "lab" / "state.json").unlink()
    (lab.xdc.state_dir / "lab" / "terraform" / "terraform.tfstate").unlink()
    try:
        down = lab.xdc("down", "--yes", "-f", bed, "--name", "lab", timeout=600)
        assert "is gone" in down.out
        assert lab.things() == []
        assert lab.admin.compute.get_server_group(stranger.id).id == stranger.id
    finally:
        lab.admin.compute.delete_server_group(stranger)


@pytest.mark.long
def test_detector_data_is_corrected_on_instances_which_come_and_go_under_load(lab: Lab, tmp_path: Path) -> None:
    described = str(lab.described("circle", whole=True))
    try:
        lab.xdc("up", "-f", described, timeout=1200)
        lab.xdc("demo", "--name", "circle", "--preset", "tiny", "--out", str(tmp_path))  # ends with 1 for a file astray
        assert (tmp_path / "report.html").is_file()
        with Burst(lab.xdc, "desy-stream", "circle") as burst:
            lab.xdc("scale", "faas=1", "--name", "circle", timeout=600)
            assert burst.invokers() == {"invoker0": "up", "faas-1": "up"}
            burst.wait_for_work_on("faas-1")
            lab.xdc("scale", "faas=0", "--name", "circle", timeout=300)
            assert burst.invokers() == {"invoker0": "up"}
        burst.assert_none_was_lost("desy-stream", "faas-1")
        assert len([thing for thing in lab.things() if thing.startswith("server xdc-")]) == 2
    finally:
        lab.xdc("down", "--yes", "-f", described, "--name", "circle", timeout=300)
    assert lab.things() == []


def _servers_started(lab: Lab, name: str) -> bool:
    log = lab.xdc.state_dir / name / "terraform" / "logs" / "terraform-apply.jsonl"
    if not log.is_file():
        return False
    events = log.read_text().splitlines()
    return any('"apply_start"' in line and "compute_instance_v2" in line for line in events)


def _reported(lab: Lab, name: str) -> str:
    logs = (lab.xdc.state_dir / name / "logs").rglob("events.jsonl")
    return "".join(path.read_text() for path in logs)
