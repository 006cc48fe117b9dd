"""Faults by the tools and the kernel of this machine, in namespaces of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from namespace_rig import on_a_node

APPLY = "agent.apply(Order(id='disk-full-1', node='n', fault=DiskFull(path=str(folder), leave_kib=64)))\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service's folder with a file in it."""
    path = tmp_path / "data"
    path.mkdir()
    (path / "old").write_text("before")
    return path


def test_a_folder_with_nothing_left_takes_not_one_byte(folder: Path) -> None:
    script = APPLY.replace("64", "0") + "answer(new=write(folder / 'new', 1), old=write(folder / 'old', 1))"
    assert on_a_node(script, folder=folder) == {"new": "ENOSPC", "old": "ENOSPC"}


def test_a_full_folder_gives_enospc_and_shows_what_was_there(folder: Path) -> None:
    script = APPLY + "answer(write=write(folder / 'new', 1 << 20), old=(folder / 'old').read_text())"
    assert on_a_node(script, folder=folder) == {"write": "ENOSPC", "old": "before"}


def test_a_full_folder_fills_nothing_outside(folder: Path) -> None:
    on_a_node(APPLY + "answer(write=write(folder / 'new', 1 << 20))", folder=folder)
    assert [path.name for path in folder.iterdir()] == ["old"]


def test_after_clearing_there_is_room_and_everything_that_was_done_counts(folder: Path) -> None:
    script = """
(folder / "small").write_text("fits")
(folder / "old").unlink()
agent.clear()
answer(write=write(folder / "new", 1 << 20))
"""
    assert on_a_node(APPLY + script, folder=folder) == {"write": "written"}
    assert sorted(path.name for path in folder.iterdir()) == ["new", "small"]


def test_a_service_in_a_mount_namespace_of_its_own_meets_the_full_disk_too(folder: Path) -> None:
    script = """
say = "import time, sys; sys.stdin.readline(); open(sys.argv[1] + '/x', 'wb').write(bytes(1 << 20))"
service = subprocess.Popen(
    ["unshare", "--mount", "--propagation", "private", "python3", "-c", say, str(folder)],
    stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
)
own = Path("/proc/self/ns/mnt").stat().st_ino
while Path(f"/proc/{service.pid}/ns/mnt").stat().st_ino == own:
    pass
"""
    end = """
said = service.communicate("go\\n", timeout=30)[1]
answer(said=said.strip().splitlines()[-1])
"""
    assert "No space left on device" in on_a_node(script + APPLY + end, folder=folder)["said"]


def test_a_partition_leaves_the_packet_filter_as_it_was(folder: Path) -> None:
    script = """
subprocess.run(["iptables", "-S"], check=True, capture_output=True)
subprocess.run(["iptables", "-A", "INPUT", "-s", "10.9.9.9", "-j", "ACCEPT"], check=True)
before = packet_filter()
for name, peer in (("partition-a", "10.0.0.1"), ("partition-b", "10.0.0.2")):
    agent.apply(Order(id=name, node="n", fault=Partition(peers=(peer,))))
during = packet_filter()
agent.clear("partition-a")
listed = [(status.id, status.in_force) for status in agent.listing()]
agent.clear()
answer(dropped=sum("-j DROP" in line for line in during), listed=listed, same=packet_filter() == before)
"""
    assert on_a_node(script) == {"dropped": 4, "listed": [["partition-b", True]], "same": True}
