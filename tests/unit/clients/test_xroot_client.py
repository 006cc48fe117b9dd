"""What the messages of xrdcp and xrdfs mean."""

from __future__ import annotations

import pytest

from xdc_testbed.clients.errors import AlreadyExists, NotFound, StorageDenied, StorageError, Unreachable
from xdc_testbed.clients.xroot import failure, parse_stat
from xdc_testbed.errors import XdcError


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (54, "[ERROR] Server responded with an error: [3011] Unable to locate /data/nix; no such file", NotFound),
        (
            54,
            "Run: [ERROR] Server responded with an error: [3010] Unable to open /data/f; permission denied",
            StorageDenied,
        ),
        (52, "[FATAL] Auth failed: No protocols left to try", StorageDenied),
        (
            54,
            "Server responded with an error: [3030] [FATAL] Auth failed: No protocols left to try (source)",
            StorageDenied,
        ),
        (54, "Run: [ERROR] Invalid operation: file exists", AlreadyExists),
        (54, "[ERROR] Server responded with an error: [3018] Unable to create; file exists", AlreadyExists),
        (51, "[FATAL] Connection error", Unreachable),
        (54, "[ERROR] Server responded with an error: [3005] disk full", StorageError),
        (1, "", StorageError),
    ],
)
def test_a_failed_command_becomes_its_error(status: int, said: str, error: type[XdcError]) -> None:
    raised = failure("xrdfs root://a.test stat /data/f", status, said)
    assert type(raised) is error


def test_the_message_is_the_last_line_that_was_said() -> None:
    raised = failure("xrdcp", 54, "[2026] connecting\n[ERROR] Server responded with an error: [3011] no such file\n\n")
    assert raised.message == "xrdcp: [ERROR] Server responded with an error: [3011] no such file"


def test_stat_tells_files_from_directories() -> None:
    file = parse_stat("Path:   /data/f\nSize:   3000000\nFlags:  48 (IsReadable|IsWritable)\n")
    directory = parse_stat("Path:   /data\nSize:   4096\nFlags:  51 (XBitSet|IsDir|IsReadable|IsWritable)\n")
    assert (file.size, file.is_directory) == (3000000, False)
    assert directory.is_directory


def test_what_is_no_stat_is_an_error() -> None:
    with pytest.raises(StorageError):
        parse_stat("something else")
