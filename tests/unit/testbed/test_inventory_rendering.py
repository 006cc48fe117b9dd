"""The inventory: hosts, every group, variables of all, and the host keys beside it."""

from __future__ import annotations

import json
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest
from demo_nodes import HOST_KEY, demo, node

from xdc_testbed.drivers.login import ssh_options
from xdc_testbed.testbed import inventory
from xdc_testbed.testbed.description import Description, groups
from xdc_testbed.testbed.variables import service_variables


def rendered(description: Description | None = None, **changes: Any) -> dict[str, Any]:
    """The inventory of the demo's nodes; changes: other arguments of `render`."""
    arguments: dict[str, Any] = {
        "testbed_id": "0123456789",
        "known_hosts": Path("/state/inventory/known_hosts"),
        "pki": Path("/state/pki"),
        "extra": {},
    }
    nodes = changes.pop("nodes", None) or demo()
    return inventory.render(description or Description(), nodes, **(arguments | changes))["all"]


def test_every_service_is_a_group_also_when_no_node_has_it() -> None:
    children = rendered(nodes=[node("desy-storage", "xrootd")])["children"]
    assert set(groups()) <= set(children)
    assert children["kafka"] == {"hosts": {}}
    assert list(children["xrootd"]["hosts"]) == ["desy-storage"]


def test_groups_that_are_always_there_hold_every_node() -> None:
    children, names = rendered()["children"], [n.name for n in demo()]
    assert [list(children[group]["hosts"]) for group in ("base", "pki", "kit")] == [names, names, names]


def test_each_site_is_a_group_of_its_nodes() -> None:
    children = rendered(nodes=[*demo(), node("far-storage", "xrootd", site="far-away")])["children"]
    assert list(children["site_remote"]["hosts"]) == ["remote-storage", "remote-cache"]
    assert list(children["site_far_away"]["hosts"]) == ["far-storage"]


def test_a_host_is_reached_by_ssh_with_the_testbeds_key_only() -> None:
    host = rendered()["hosts"]["desy-stream"]
    stream = demo()[1]
    assert host["ansible_host"] == "127.0.0.1"
    assert host["ansible_port"] == stream.ssh_port
    assert host["ansible_ssh_private_key_file"] == stream.key_file
    assert host["testbed_address"] == stream.address
    assert host["testbed_published_ports"] == {"29092": 31092}


def test_the_install_stage_runs_only_where_the_image_does_not_hold_it() -> None:
    hosts = rendered(nodes=[node("a-bare"), node("b-baked", installed=True)])["hosts"]
    assert [hosts[name]["testbed_install"] for name in ("a-bare", "b-baked")] == [True, False]


def test_roles_see_every_node_with_its_groups() -> None:
    seen = rendered()["vars"]["testbed_nodes"]
    assert [entry["name"] for entry in seen] == [n.name for n in demo()]
    assert seen[1] == {
        "name": "desy-stream",
        "fqdn": "desy-stream.xdc.test",
        "site": "desy",
        "address": demo()[1].address,
        "groups": ["token_issuer", "kafka", "event_router"],
    }


def test_the_description_wins_over_what_services_start_from() -> None:
    known = service_variables()
    described = Description(vars={"kafka_version": "9.9.9", "testbed_kit_hash": "mine"})
    variables = rendered(described, extra={"testbed_kit_hash": "kit"})["vars"]
    assert known["kafka_version"] != "9.9.9"
    assert variables["kafka_version"] == "9.9.9"
    assert variables["testbed_kit_hash"] == "mine"
    assert variables["kafka_artefacts"] == known["kafka_artefacts"]


def test_of_the_users_environment_only_the_way_to_packages_reaches_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for nodes")
    variables = rendered()["vars"]
    assert variables["testbed_pip_environment"] == {"PIP_INDEX_URL": "https://packages.example/simple"}
    assert "not for nodes" not in json.dumps(variables)


def test_known_hosts_has_one_line_for_each_node_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    inventory.write(tmp_path, {}, demo()[:2])
    known_hosts = tmp_path / "known_hosts"
    ports = [n.ssh_port for n in demo()[:2]]
    assert known_hosts.read_text().splitlines() == [f"[127.0.0.1]:{port} {HOST_KEY}" for port in ports]
    assert stat.S_IMODE(known_hosts.stat().st_mode) == 0o600


def test_the_inventory_file_is_what_was_rendered(tmp_path: Path) -> None:
    whole = inventory.render(
        Description(), demo(), testbed_id="0", known_hosts=tmp_path / "known_hosts", pki=tmp_path, extra={}
    )
    path = inventory.write(tmp_path, whole, demo())
    assert json.loads(path.read_text()) == whole
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_with_blanks_in_its_name_stays_one_word_for_ssh() -> None:
    words = shlex.split(ssh_options(Path("/home/a user/known_hosts")))
    assert "UserKnownHostsFile=/home/a user/known_hosts" in words


def test_an_unknown_host_key_is_never_accepted() -> None:
    assert "StrictHostKeyChecking=yes" in shlex.split(ssh_options(Path("/known_hosts")))
