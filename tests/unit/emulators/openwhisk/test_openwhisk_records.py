"""Activation records: bounded, listed newest first, on disk in the end; and the logs that go into them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from xdc_testbed.emulators.openwhisk.logs import Logs, stamp
from xdc_testbed.emulators.openwhisk.records import Records, summary
from xdc_testbed.emulators.openwhisk.store import Store

_END = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"


def record(number: int, path: str = "guest/a") -> dict[str, Any]:
    return {
        "activationId": f"{number:032x}",
        "annotations": [{"key": "path", "value": path}],
        "duration": 1,
        "end": number + 1,
        "logs": [],
        "name": path.rpartition("/")[2],
        "namespace": "guest",
        "publish": False,
        "response": {"result": {}, "size": 3, "status": "success", "success": True},
        "start": number,
        "subject": "guest",
        "version": "0.0.1",
    }


def kept(file: Path, numbers: range, most: int, most_bytes: int = 1 << 20) -> list[int]:
    """Add records, close, open again: the starts that are there."""

    async def work() -> list[int]:
        store = Store(file)
        records = Records(store, most, most_bytes)
        await records.load()
        for number in numbers:
            records.add(record(number))
        await records.close()
        again = Records(store, most, most_bytes)
        await again.load()
        found = [one.start for one in again.select("guest", None, 0, 1 << 60)]
        await again.close()
        await store.close()
        return found

    return asyncio.run(work())


def test_newest_records_are_kept(tmp_path: Path) -> None:
    assert kept(tmp_path / "db", range(10), most=3) == [9, 8, 7]


def test_bytes_of_records_are_bounded(tmp_path: Path) -> None:
    assert len(kept(tmp_path / "db", range(10), most=100, most_bytes=1000)) < 5


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    kept(tmp_path / "db", range(3), most=5)
    assert kept(tmp_path / "db", range(3, 6), most=5) == [5, 4, 3, 2, 1]


def test_records_are_selected_by_name_namespace_and_inclusive_times(tmp_path: Path) -> None:
    async def work() -> None:
        store = Store(tmp_path / "db")
        records = Records(store, 100, 1 << 20)
        await records.load()
        for number in range(4):
            records.add(record(number, "guest/pk/act" if number % 2 else "guest/inv"))
        assert [one.start for one in records.select("guest", "inv", 0, 9)] == [2, 0]
        assert [one.start for one in records.select("guest", "pk/act", 0, 9)] == [3, 1]
        assert records.select("guest", "act", 0, 9) == []
        assert [one.start for one in records.select("guest", None, 1, 2)] == [2, 1]
        assert records.select("other", None, 0, 9) == []
        assert records.get("other", f"{1:032x}") is None
        await records.close()
        await store.close()

    asyncio.run(work())


def test_list_shows_the_code_of_the_status() -> None:
    import orjson

    failed = record(1) | {"response": {"status": "action developer error"}}
    assert summary(orjson.dumps(failed))["statusCode"] == 2
    assert "response" not in summary(orjson.dumps(failed))


def collected(out: bytes, err: bytes, limit: int = 1 << 20) -> list[str]:
    async def work() -> list[str]:
        (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
        logs = Logs(out_read, err_read)
        logs.begin(limit)
        os.write(out_write, out + _END)
        os.write(err_write, err + _END)
        lines = await logs.finish(5)
        logs.close()
        os.close(out_write)
        os.close(err_write)
        return [line.partition(" ")[2] for line in lines]

    return asyncio.run(work())


def test_lines_are_named_by_their_stream() -> None:
    assert collected(b"one\ntwo\n", b"bad\n") == ["stdout: one", "stdout: two", "stderr: bad"]


def test_last_line_needs_no_newline() -> None:
    assert collected(b"no newline", b"") == ["stdout: no newline"]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert collected(b"\xff\n", b"") == ["stdout: \ufffd"]


def test_logs_are_cut_at_their_limit_and_say_so() -> None:
    lines = collected(b"x" * 20 + b"\n" + b"y" * 20 + b"\nz\n", b"", limit=30)
    assert lines == [
        f"stdout: {'x' * 20}",
        "stderr: Logs were truncated because the total bytes size exceeds the limit of 30 bytes.",
    ]


def test_limit_of_zero_keeps_no_logs() -> None:
    assert collected(b"one\n", b"two\n", limit=0) == []


def test_time_has_nine_digits() -> None:
    assert stamp(1_795_471_172_253_961_518) == "2026-11-23T21:59:32.253961518Z"
