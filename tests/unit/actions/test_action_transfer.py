"""The transfer action: the destination pulls, both ends are compared, the name comes last."""

from __future__ import annotations

import time
from typing import Any

import pytest
from memory_storage import MemoryCopy, Store, Stores, failing

from xdc_testbed.actions.transfer import main

PATH = "/data/proc/r0001/CORR-R0001-AGIPD00-S00000.h5"
CONTENT = b"corrected data" * 1000


@pytest.fixture
def desy(stores: Stores) -> Store:
    store = stores.by_url["https://desy-storage.xdc.test:8443"]
    store.files[PATH] = CONTENT
    return store


@pytest.fixture
def remote(stores: Stores, desy: Store) -> Store:
    return stores.by_url["https://remote-storage.xdc.test:8443"]


def test_the_file_arrives_under_its_name_after_it_is_checked(arguments: Any, remote: Store) -> None:
    result = main(arguments(PATH, destination="remote-storage"), started_at=1.0)
    assert (result["status"], result["size"], result["started_at"]) == ("done", len(CONTENT), 1.0)
    assert result["destination"] == {"endpoint": "remote-storage", "path": PATH}
    assert remote.files == {PATH: CONTENT}
    assert remote.folders == ["/data/proc", "/data/proc/r0001"]
    part = f"{PATH}.part-{'w' * 32}"
    assert [call for call in remote.calls if call[0] != "HEAD"] == [
        ("COPY", part),
        ("COPY-ended", part),
        ("MOVE", PATH),
    ]


def test_a_file_that_is_there_is_not_copied_again(arguments: Any, remote: Store) -> None:
    remote.files[PATH] = CONTENT
    assert main(arguments(PATH, destination="remote-storage"))["status"] == "already-done"
    assert {method for method, _ in remote.calls} == {"HEAD"}


def test_another_content_under_the_name_is_replaced(arguments: Any, remote: Store) -> None:
    remote.files[PATH] = b"older"
    remote.replaces = False
    assert main(arguments(PATH, destination="remote-storage"))["status"] == "done"
    assert remote.files == {PATH: CONTENT}


def test_another_path_at_the_destination(arguments: Any, remote: Store) -> None:
    main(arguments(PATH, destination="remote-storage", destination_path="/data/proc/x.h5"))
    assert list(remote.files) == ["/data/proc/x.h5"]


@pytest.mark.parametrize(
    ("body", "retry", "reason"),
    [
        ("failure: write: No space left on device", True, "destination is full"),
        ("rejected push: 403 Forbidden", False, "third-party copy denied"),
        ("remote side failed with status code 404", True, "found no source"),
        ("connection to desy-storage reset", True, "third-party copy failed: connection"),
    ],
)
def test_a_copy_that_fails_leaves_nothing(arguments: Any, remote: Store, body: str, retry: bool, reason: str) -> None:
    remote.fault = failing("COPY-ended", "CORR", 500, body)
    result = main(arguments(PATH, destination="remote-storage"))
    assert reason in result["error"]["reason"]
    assert result["error"]["retry"] is retry
    assert remote.files == {}


def test_a_copy_that_ended_is_not_cancelled(arguments: Any, remote: Store) -> None:
    main(arguments(PATH, destination="remote-storage"))
    assert [(copy.polls, copy.cancelled) for copy in remote.copies] == [(2, False)]


def test_a_copy_that_outlasts_the_platforms_patience_is_called_off(
    arguments: Any, remote: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("__OW_DEADLINE", str(int((time.time() + 2.1) * 1000)))  # leaves the least: one second
    monkeypatch.setattr(MemoryCopy, "poll", lambda _: None)
    result = main(arguments(PATH, destination="remote-storage"))
    assert result["error"]["retry"] is True
    assert "did not end within 1 s" in result["error"]["reason"]
    assert [copy.cancelled for copy in remote.copies] == [True]
    assert remote.files == {}


def test_a_copy_that_arrives_changed_is_removed_and_tried_again(arguments: Any, remote: Store) -> None:
    def corrupt(method: str, path: str) -> None:
        if method == "COPY-ended":
            remote.files[path] = b"?" + CONTENT[1:]

    remote.fault = corrupt
    result = main(arguments(PATH, destination="remote-storage"))
    assert "adler32 of" in result["error"]["reason"]
    assert result["error"]["retry"] is True
    assert remote.files == {}


def test_a_source_that_has_vanished_is_final(arguments: Any, remote: Store, desy: Store) -> None:
    given = arguments(PATH, destination="remote-storage")
    del desy.files[PATH]
    assert main(given)["error"] == {"reason": f"source has vanished: {PATH} on desy-storage", "retry": False}


def test_without_a_known_destination_nothing_is_tried(arguments: Any, remote: Store) -> None:
    assert "no text 'destination'" in main(arguments(PATH))["error"]["reason"]
    assert "endpoint elsewhere" in main(arguments(PATH, destination="elsewhere"))["error"]["reason"]


def test_residue_that_cannot_be_removed_does_not_hide_the_reason(arguments: Any, remote: Store) -> None:
    copy, delete = failing("COPY-ended", "CORR", 500, "connection reset"), failing("DELETE", "CORR", 503)

    def both(method: str, path: str) -> None:
        copy(method, path)
        delete(method, path)

    remote.fault = both
    result = main(arguments(PATH, destination="remote-storage"))
    assert result["error"]["reason"] == "third-party copy failed: connection reset"
