"""The driver `openstack` on virtual machines of a cloud of our own: each node has a kernel of its own."""

from __future__ import annotations

import pytest

from tests.cloud.conftest import Lab

COMPUTE = "qemu"
MEMORY = 8192
NODES = ("desy-storage", "desy-stream")

pytestmark = pytest.mark.long


def test_nodes_on_virtual_machines_serve_as_any_other_and_go_again(lab: Lab) -> None:
    described = str(lab.described("machines"))
    try:
        lab.xdc("up", "-f", described, timeout=2400)
        for node in NODES:
            said = lab.xdc("ssh", node, "--name", "machines", "--", "systemd-detect-virt")
            assert said.out.strip() in ("qemu", "kvm")
        status = lab.xdc("status", "--name", "machines", "--output", "json").json
        assert {word for node in status["nodes"] for word in node["units"].values()} == {"active"}
    finally:
        lab.xdc("down", "--yes", "-f", described, "--name", "machines", timeout=600)
    assert lab.things() == []
