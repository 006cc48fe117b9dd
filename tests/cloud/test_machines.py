"""Virtual machines of a cloud of our own: nodes with a kernel and a volume each, and disks of anybody's making."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.conftest import Lab
from tests.waiting import wait
from xdc_testbed import content
from xdc_testbed.demo.facts import Story

COMPUTE = "qemu"
MEMORY = 12288
# Of the kit's services, with the image: what takes a processor seconds to unpack takes an emulated one minutes.
PACKAGES = [
    package
    for role in ("kafka", "xrootd")
    for package in yaml.safe_load((content.root() / f"roles/{role}/vars/main.yml").read_text())[f"_{role}_packages"]
]
NODES = ("desy-storage", "desy-stream", "remote-storage")

pytestmark = pytest.mark.long

_MACHINES = """\
[openstack.nodes.desy-storage]
volumes = { data = 1 }
[openstack.nodes.desy-stream]
boot_gb = 10
[nodes.desy-storage]
vars = { xrootd_store = "/srv/data/xrootd" }
[nodes.desy-stream.vars]
kafka_session_seconds = 60
kafka_partitions = 1
event_router_concurrency = 2
event_router_verify_seconds = 300
[nodes.remote-storage]
site = "remote"
groups = ["xrootd"]
memory = 1024
"""

# What a processor does before any system runs: it sends the text behind this code to the first serial line, and halts.
_BOOT_SECTOR = bytes.fromhex(
    "31c0 8ed8 be1d7c"  # ds = 0, si = 0x7c1d: the text
    "bafd03 ec a820 74fb"  # wait until the line takes a letter
    "baf803 ac 84c0 7403 ee ebed"  # send the next one; behind the last one
    "f4 ebfd"  # halt, for ever
)


def test_files_are_corrected_on_virtual_machines_and_shipped_and_all_of_it_goes_again(lab: Lab, tmp_path: Path) -> None:
    """The circle: a cloud, a testbed of two sites on it, detector data through both of them, and nothing is left."""
    described = str(lab.described("machines", _MACHINES, whole=True))
    try:
        lab.xdc("up", "-f", described, timeout=2400)
        for node in NODES:
            assert _on(lab, node, "systemd-detect-virt") in ("qemu", "kvm")
        assert _on(lab, "desy-storage", "findmnt", "-no", "FSTYPE,LABEL", "/srv/data").split() == ["ext4", "data"]
        assert _on(lab, "desy-storage", "stat", "-c", "%m", "/srv/data/xrootd") == "/srv/data"
        (boot,) = (one.id for one in lab.admin.block_storage.volumes(all_projects=True) if one.name.endswith("-boot"))
        assert _on(lab, "desy-stream", "cat", "/sys/block/vda/serial") == boot[:20]
        status = lab.xdc("status", "--name", "machines", "--output", "json").json
        assert {word for node in status["nodes"] for word in node["units"].values()} == {"active"}
        words = ("--preset", "tiny", "--deadline", "900", "--out", str(tmp_path), "--output", "json")
        demo = lab.xdc("demo", "--name", "machines", *words, timeout=1500).json
        assert (demo["ok"], demo["problems"]) == (True, [])
        assert (tmp_path / "report.html").is_file()
        story = Story.model_validate_json((tmp_path / "story.json").read_bytes())
        copies = {tuple((copy.endpoint, copy.equal) for copy in file.copies) for file in story.files if file.corrected}
        assert copies == {(("desy-storage", True), ("remote-storage", True))}
    finally:
        lab.xdc("down", "--yes", "-f", described, "--name", "machines", timeout=600)
    assert lab.things() == []


def test_a_server_boots_the_disk_that_was_uploaded(lab: Lab) -> None:
    with _image(lab, "the disk of somebody speaks") as image, _server(lab, image_id=image.id) as server:
        wait(lambda: "the disk of somebody speaks" in _console(lab, server), 120)


def test_what_is_on_a_volume_outlives_the_server(lab: Lab) -> None:
    volumes = lab.admin.block_storage
    with _image(lab, "the volume speaks") as image:
        volume = volumes.create_volume(name="kept", size=1, image_id=image.id)
        try:
            wait(lambda: volumes.get_volume(volume.id).status == "available", 60)
            boots = {"uuid": volume.id, "source_type": "volume", "destination_type": "volume", "boot_index": 0}
            for _ in range(2):
                with _server(lab, block_device_mapping=[boots]) as server:
                    wait(lambda server=server: "the volume speaks" in _console(lab, server), 120)
                wait(lambda: volumes.get_volume(volume.id).status == "available", 60)
        finally:
            volumes.delete_volume(volume)


def test_a_disk_that_no_machine_boots_is_the_servers_fault_in_one_line(lab: Lab) -> None:
    with _image(lab, "", disk_format="vmdk") as image, _server(lab, image_id=image.id, status="ERROR") as server:
        fault = lab.admin.compute.get(f"/servers/{server.id}").json()["server"]["fault"]["message"]
        assert fault.endswith(
            f"Image {image.id} is unacceptable: a machine boots raw and qcow2 in bare, not vmdk in bare"
        )


def _on(lab: Lab, node: str, *words: str) -> str:
    return lab.xdc("ssh", node, "--name", "machines", "--", *words).out.strip()


@contextlib.contextmanager
def _image(lab: Lab, text: str, disk_format: str = "raw") -> Iterator[Any]:
    """A disk of 1 MiB that says a line when it is booted, uploaded."""
    sector = (_BOOT_SECTOR + text.encode() + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
    made = lab.admin.image.create_image(
        name="sector", disk_format=disk_format, container_format="bare", data=sector.ljust(1 << 20, b"\0")
    )
    try:
        yield made
    finally:
        lab.admin.image.delete_image(made)


@contextlib.contextmanager
def _server(lab: Lab, status: str = "ACTIVE", **given: Any) -> Iterator[Any]:
    """A server without a network."""
    compute = lab.admin.compute
    flavor = compute.find_flavor("small", ignore_missing=False).id
    made = compute.create_server(name="sector", flavor_id=flavor, networks="none", **given)
    try:
        wait(lambda: compute.get_server(made.id).status in ("ACTIVE", "ERROR"), 120)
        assert compute.get_server(made.id).status == status
        yield made
    finally:
        compute.delete_server(made)
        wait(lambda: made.id not in [one.id for one in compute.servers()], 60)


def _console(lab: Lab, server: Any) -> str:
    return str(lab.admin.compute.get_server_console_output(server.id)["output"])
