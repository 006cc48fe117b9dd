"""What the emulator keeps, ends and refuses as a process: kills, memory, users, throttling, labels."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import threading
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from openwhisk_emulator import GUEST, Emulator, alive, running, until
from openwhisk_requests import put

from xdc_testbed.clients.openwhisk import OpenWhisk, Throttled, Unavailable
from xdc_testbed.clients.openwhisk_async import AsyncOpenWhisk

_ECHO = "def main(args): return {'args': args}\n"
_SLEEP = "import time\ndef main(args):\n    open(args['file'], 'w').close()\n    time.sleep(args['s'])\n    return {}\n"
_DAEMON = """import os, time
def main(args):
    if os.fork() == 0:
        os.setsid()
        with open(args['file'] + '.new', 'w') as file: file.write(str(os.getpid()))
        os.rename(args['file'] + '.new', args['file'])
        time.sleep(600)
        os._exit(0)
    while not os.path.exists(args['file']): time.sleep(0.01)
    return {}
"""
_HOG = "import time\ndef main(args):\n    kept = bytearray(args['mb'] << 20)\n    time.sleep(20)\n"


def test_it_says_that_it_is_an_emulator(emulator: Emulator, guest: OpenWhisk) -> None:
    status, headers, _ = emulator.request("GET", "/api/v1")
    assert (status, headers["x-xdc-emulator"]) == (200, "openwhisk")
    assert guest.build()["buildno"] == "emulator"
    assert "EMULATOR of Apache OpenWhisk" in emulator.log()


def test_entities_and_records_survive_a_kill(emulator: Emulator, guest: OpenWhisk) -> None:
    guest.put_package("kept", {"a": 1})
    guest.put_action("kept/echo", _ECHO)
    record = guest.wait(guest.invoke("kept/echo").id)
    until(lambda: record.id.encode() in _wal(emulator), "the writing of the record")
    guest.put_trigger("last")
    emulator.stop(signal.SIGKILL)
    emulator.start()
    assert guest.activation(record.id) == record
    assert [entity["name"] for entity in guest.entities("triggers")] == ["last"]
    assert guest.invoke("kept/echo", {"b": 2}).result == {"args": {"a": 1, "b": 2}}


def test_stop_ends_everything_and_keeps_the_records(emulator: Emulator, guest: OpenWhisk) -> None:
    guest.put_action("echo", _ECHO)
    record = guest.wait(guest.invoke("echo").id)
    processes = _tree(emulator)
    emulator.stop()
    assert not [pid for pid in processes if alive(pid)]
    assert list((emulator.state / "containers").iterdir()) == []
    emulator.start()
    assert guest.activation(record.id) == record


def test_killed_emulator_takes_its_actions_with_it(emulator: Emulator, guest: OpenWhisk, tmp_path: Path) -> None:
    guest.put_action("sleep", _SLEEP)
    guest.start("sleep", {"file": str(tmp_path / "running"), "s": 600})
    until((tmp_path / "running").exists, "the start of the action")
    processes = _tree(emulator)
    emulator.stop(signal.SIGKILL)
    until(lambda: not [pid for pid in processes if alive(pid)], "the end of the action's processes")


def test_restart_ends_what_a_killed_emulator_left(emulator: Emulator, guest: OpenWhisk) -> None:
    guest.put_action("echo", _ECHO)
    guest.invoke("echo")
    (proxy,) = emulator.proxies()
    os.kill(proxy, signal.SIGSTOP)  # a stopped process sees no end of its controller; only SIGKILL ends it
    emulator.stop(signal.SIGKILL)
    emulator.start()
    until(lambda: not alive(proxy), "the end of the left process")
    assert list((emulator.state / "containers").iterdir()) == []


def test_daemon_of_an_action_ends_with_its_container(tmp_path: Path) -> None:
    with running(tmp_path, tables={"pool": {"idle": 0.5}}) as emulator, OpenWhisk(emulator.url, GUEST) as guest:
        guest.put_action("daemon", _DAEMON)
        assert guest.invoke("daemon", {"file": str(tmp_path / "pid")}).success
        daemon = int((tmp_path / "pid").read_text())
        until(lambda: not alive(daemon), "the end of the daemon")
        until(lambda: emulator.proxies() == [], "the removal of the container")


def test_daemon_of_a_killed_container_ends_too(emulator: Emulator, guest: OpenWhisk, tmp_path: Path) -> None:
    guest.put_action("daemon", _DAEMON)
    assert guest.invoke("daemon", {"file": str(tmp_path / "pid")}).success
    daemon = int((tmp_path / "pid").read_text())
    (proxy,) = emulator.proxies()
    os.kill(proxy, signal.SIGKILL)
    until(lambda: not alive(daemon), "the end of the daemon")


def test_action_over_its_memory_is_ended(guest: OpenWhisk) -> None:
    guest.put_action("hog", _HOG, memory=128)
    record = guest.invoke("hog", {"mb": 300})
    assert (record.status, record.error) == (
        "action developer error",
        "The action exhausted its memory and was aborted.",
    )


def test_idle_containers_make_room_for_others(tmp_path: Path) -> None:
    tables = {"pool": {"memory": 512}, "limits": {"invocations_per_minute": 600}}
    with running(tmp_path, tables=tables) as emulator, OpenWhisk(emulator.url, GUEST) as guest:
        for number in range(4):
            guest.put_action(f"echo{number}", _ECHO, memory=256)
            assert guest.invoke(f"echo{number}").success
        assert guest.invoke("echo3").init_time is None
        assert guest.invoke("echo0").init_time is not None
        until(lambda: len(emulator.proxies()) <= 2, "the end of the evicted containers")


def test_full_pool_queues_activations(tmp_path: Path) -> None:
    tables = {"pool": {"memory": 512}}
    with running(tmp_path, tables=tables) as emulator:

        async def five() -> list[Any]:
            async with AsyncOpenWhisk(emulator.url, GUEST) as client:
                return await asyncio.gather(*(client.invoke("nap", {"i": number}) for number in range(5)))

        code = "import time\ndef main(args):\n    time.sleep(0.2)\n    return args\n"
        put(emulator, "actions/nap", {"exec": {"kind": "python:3.11", "code": code}})
        records = asyncio.run(five())
        assert [record.result["i"] for record in records] == list(range(5))
        assert sum(record.init_time is not None for record in records) == 2


def test_answer_that_takes_longer_than_the_wait_is_polled_for(tmp_path: Path) -> None:
    tables = {"limits": {"blocking_wait": 100}}
    with running(tmp_path, tables=tables) as emulator, OpenWhisk(emulator.url, GUEST) as guest:
        guest.put_action("sleep", _SLEEP)
        assert guest.invoke("sleep", {"file": str(tmp_path / "x"), "s": 0.5}).success

        async def same() -> Any:
            async with AsyncOpenWhisk(emulator.url, GUEST) as client:
                return await client.invoke("sleep", {"file": str(tmp_path / "x"), "s": 0.5})

        assert asyncio.run(same()).success


def test_throttled_call_is_an_error_of_its_own(tmp_path: Path) -> None:
    tables = {"limits": {"concurrent_invocations": 0}}
    with running(tmp_path, tables=tables) as emulator, OpenWhisk(emulator.url, GUEST) as guest:
        guest.put_action("echo", _ECHO)
        with pytest.raises(Throttled, match=r"Too many concurrent requests in flight \(count: 0, allowed: 0\)"):
            guest.invoke("echo")


def test_connection_lost_in_a_call_leaves_the_outcome_unknown(
    emulator: Emulator, guest: OpenWhisk, tmp_path: Path
) -> None:
    guest.put_action("sleep", _SLEEP)

    def kill() -> None:
        until((tmp_path / "running").exists, "the start of the action")
        emulator.stop(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Unavailable) as caught:
        guest.invoke("sleep", {"file": str(tmp_path / "running"), "s": 600})
    killer.join()
    assert caught.value.unknown
    with pytest.raises(Unavailable) as caught:
        guest.invoke("sleep")
    assert not caught.value.unknown


def test_body_over_fifty_mebibytes_is_refused_in_plain_text(emulator: Emulator) -> None:
    headers = {"Authorization": _basic(), "Content-Type": "application/json", "Content-Length": str((50 << 20) + 1)}
    status, answered, body = emulator.request("PUT", "/api/v1/namespaces/_/actions/big", headers)
    assert (status, body, answered["connection"]) == (400, b"Request too large", "close")


def test_archive_of_thirty_six_mebibytes_is_taken(emulator: Emulator, guest: OpenWhisk) -> None:
    largest = 48 << 20
    answer = put(emulator, "actions/big", {"exec": {"kind": "python:3.11", "code": "A" * largest}})
    assert len(answer["exec"]["code"]) == largest
    assert guest.get_action("big")["exec"] == {"kind": "python:3.11", "binary": True}


def test_actions_run_as_their_own_user_where_root_starts_the_emulator() -> None:
    code = "import os\ndef main(args): return {'uid': os.getuid(), 'groups': os.getgroups()}\n"
    me, daemon = os.geteuid(), pwd.getpwnam("daemon").pw_uid
    # In /var/tmp, because another user may not enter pytest's folders.
    with TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        entries = {"action_user": "daemon"} if me == 0 else {}
        with (
            running(Path(folder), python="/usr/bin/python3", **entries) as emulator,
            OpenWhisk(emulator.url, GUEST) as guest,
        ):
            guest.put_action("who", code)
            found = guest.invoke("who").result
        assert found["uid"] == (daemon if me == 0 else me)
        assert found["groups"] == ([] if me == 0 else os.getgroups())
        assert list((emulator.state / "containers").iterdir()) == []


def test_unknown_user_for_actions_is_named_at_the_start(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path, tables={}, entries={"action_user": "nobody-of-this-name"})
    with pytest.raises(AssertionError, match="no user and group nobody-of-this-name"):
        emulator.start()


def _basic() -> str:
    return f"Basic {b64encode(GUEST.encode()).decode()}"


def _tree(emulator: Emulator) -> list[int]:
    """The proxies and all processes below them."""
    found = list(emulator.proxies())
    for pid in found:
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, thread.read_text().split())
    assert found
    return found


def _wal(emulator: Emulator) -> bytes:
    return b"".join(file.read_bytes() for file in emulator.state.glob("openwhisk.sqlite*"))
