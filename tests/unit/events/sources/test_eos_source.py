"""EOS's audit lines and notifications as StorageEvents. Made after its documentation, not captured from a product."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_stand_ins import Told

from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import StorageEvent
from xdc_testbed.events.sources.eos import NotifyTable, listen, take
from xdc_testbed.events.sources.eos_records import NotOfEos, Translator
from xdc_testbed.testbed import pki

TRANSLATOR = Translator("bed", "eos-site")
PATH = "/eos/dev/raw/r1/a.h5"
STATE = {
    "ctime": 1790000000,
    "mtime": 1790000005,
    "mtime_ns": "1790000005.123456789",
    "size": 4096,
    "checksum": "0A1b2c3d",
}


def line(operation: str = "WRITE", path: str = PATH, **changes: Any) -> bytes:
    """A line of the audit log."""
    told = {
        "timestamp": 1790000005,
        "path": path,
        "operation": operation,
        "client_ip": "192.0.2.1",
        "account": "tester",
        "auth": {"mechanism": "https", "attributes": {"token": "secret"}},
        "trace_id": "t-1",
        "app": "http",
        "svc": "mgm",
        "before": STATE,
        "after": STATE,
    }
    return json.dumps({**told, **changes}).encode()


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def notification(event: str = "sync::closew", path: str = PATH, **changes: Any) -> bytes:
    """A notification of the workflow engine."""
    state = {
        "id": "4711",
        "contId": "12",
        "size": "4096",
        "checksum": {"type": "adler", "value": b64(bytes.fromhex("0a1b2c3d"))},
        "path": b64(path),
        "name": b64(path.rpartition("/")[2]),
        "xattrs": {"notify::event": b64(event)},
        "mtime": {"sec": "1790000005", "nSec": 123456789},
    }
    return json.dumps({"fmd": {**state, **changes}, "role": {"uid": 1000, "gid": 1000, "username": "tester"}}).encode()


def audited(*arguments: Any, **changes: Any) -> StorageEvent | None:
    return TRANSLATOR.audit(line(*arguments, **changes), seen=1790000005.5)


def notified(*arguments: Any, **changes: Any) -> StorageEvent | None:
    return TRANSLATOR.notification(notification(*arguments, **changes), seen=1790000006.0)


def test_a_written_file_is_the_same_event_from_both() -> None:
    first, second = audited(), notified()
    assert first is not None
    assert second is not None
    assert first.id == second.id
    for event in (first, second):
        data = event.data
        assert (event.type.word, event.subject, data.size, data.checksums, data.user) == (
            "written",
            PATH,
            4096,
            {"adler32": "0a1b2c3d"},
            "tester",
        )


def test_a_file_written_again_is_another_fact() -> None:
    first, second = audited(), audited(after={**STATE, "mtime_ns": "1790000005.123456790"})
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_a_removed_file_is_the_same_event_from_both() -> None:
    first, second = audited("DELETE"), notified("sync::delete")
    assert first is not None
    assert second is not None
    assert (first.type.word, first.id) == ("deleted", second.id)


def test_a_renamed_file_has_moved() -> None:
    event = audited("RENAME", "/eos/dev/a.h5.part-1", target="/eos/dev/a.h5")
    assert event is not None
    assert (event.type.word, event.subject, event.data.old_path) == ("moved", "/eos/dev/a.h5", "/eos/dev/a.h5.part-1")


@pytest.mark.parametrize("operation", ["CREATE", "TRUNCATE", "UPDATE", "MKDIR", "CHMOD", "SET_XATTR", "READ"])
def test_other_operations_are_no_events(operation: str) -> None:
    assert audited(operation) is None


@pytest.mark.parametrize("event", ["closer", "sync::create", "sync::prepare", "archive_failed"])
def test_other_notifications_are_no_events(event: str) -> None:
    assert notified(event) is None


def test_temporary_names_and_folders_are_no_events() -> None:
    assert audited("WRITE", "/eos/dev/a.h5.part-1") is None
    assert notified("closew", "/eos/dev/a.h5.part-1") is None
    assert audited("RENAME", "/eos/dev/folder/", target="/eos/dev/other/") is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (line("EXPLODE"), "unknown operation 'EXPLODE'"),
        (line(path=""), "path is no text"),
        (line(path="relative"), "is no path"),
        (line(path="/" + "x" * 8192), "is no path"),
        (line("RENAME", path="/" + "x" * 8192, target="/eos/dev/a"), "is no path"),
        (line(after={**STATE, "size": 1 << 53}), "size 9007199254740992 is no number"),
        (line(after=None), "after is missing"),
        (line(after={**STATE, "size": -1}), "size -1 is no number"),
        (line(after={**STATE, "mtime_ns": "soon"}), "mtime_ns is no time"),
        (line(timestamp="x"), "timestamp x is no number"),
        (line("RENAME"), "target is missing"),
        (line(path="/\ud800"), "half a character"),
    ],
)
def test_audit_lines_that_eos_would_not_write_are_refused(record: bytes, reason: str) -> None:
    with pytest.raises(NotOfEos) as caught:
        TRANSLATOR.audit(record, seen=1.0)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "fmd is missing"),
        (notification("sync::explode"), "unknown event 'sync::explode'"),
        (notification(path="relative"), "is no path"),
        (notification(xattrs={}), "notify::event is missing"),
        (notification(mtime={"sec": "1"}), "is no number"),
        (notification(size="-1"), "size -1 is no number"),
        (notification(checksum={"type": "adler", "value": "!"}), "checksum is no base64"),
    ],
)
def test_notifications_that_eos_would_not_send_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(NotOfEos) as caught:
        TRANSLATOR.notification(body, seen=1.0)
    assert reason in str(caught.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_nothing(record: bytes) -> None:
    with pytest.raises(NotOfEos):
        TRANSLATOR.audit(record, seen=1.0)
    with pytest.raises(NotOfEos):
        TRANSLATOR.notification(record, seen=1.0)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_odd_names_come_through_alike(name: str) -> None:
    path = "/eos/dev/a" + name
    first, second = (
        TRANSLATOR.audit(line(path=path), seen=1.0),
        TRANSLATOR.notification(notification(path=path), seen=1.0),
    )
    assert (first is None) == (second is None) or path.endswith("/")
    if first is not None and second is not None:
        assert first.id == second.id


def test_no_credential_comes_into_an_event() -> None:
    event = audited()
    assert event is not None
    assert b"secret" not in event.to_json()


@pytest.fixture
def outlet() -> Told:
    return Told()


@pytest.fixture
def url(tmp_path: Path, outlet: Told) -> Iterator[str]:
    pki.ensure(tmp_path / "pki", testbed_id="unit", hosts={"localhost": ("localhost", "127.0.0.1")})
    hosts = tmp_path / "pki" / "hosts"
    (tmp_path / "secret").write_text("k7\n")
    table = NotifyTable(
        listen="127.0.0.1:0",
        certificate=hosts / "localhost.pem",
        key=hosts / "localhost.key",
        secret_file=tmp_path / "secret",
    )
    server = listen(table, lambda body: take(body, TRANSLATOR, outlet, Counters("test")))  # type: ignore[arg-type]
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()


def test_notifications_are_taken_by_https_under_a_secret_name(tmp_path: Path, url: str, outlet: Told) -> None:
    context = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.pem"))
    with httpx2.Client(verify=context, trust_env=False) as client:
        answers = [
            client.post(f"{url}/k7", content=notification()).status_code,
            client.post(f"{url}/k7", content=b"{").status_code,
            client.post(f"{url}/k8", content=notification()).status_code,
        ]
    connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=10)
    connection.putrequest("POST", "/k7")
    connection.putheader("Content-Length", "9999999")
    connection.endheaders()
    assert [*answers, connection.getresponse().status] == [200, 200, 404, 413]
    connection.close()
    assert [each.subject for each in outlet.events] == [PATH]
    assert outlet.dead[0][1].startswith("EOS notification: not JSON")
