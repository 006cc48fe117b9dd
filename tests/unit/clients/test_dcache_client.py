"""What the dCache client asks and how it reads the answers of a running dCache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from dcache_replay import Replay

from xdc_testbed.clients.dcache import Busy, Credential, Dcache
from xdc_testbed.clients.dcache_answers import TargetState
from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError, Unreachable
from xdc_testbed.errors import DeadlineExceeded, WrongUsage


def answering(answer: Callable[[httpx2.Request], httpx2.Response]) -> Dcache:
    return Dcache("https://localhost:3880", transport=httpx2.MockTransport(answer))


def test_a_file_has_size_checksum_and_class() -> None:
    replay = Replay("ns-file-all")
    info = replay.client().stat("/data/qos1.bin", checksum=True, qos=True, optional=True)
    assert replay.asked_as_captured()
    assert (info.pnfsid, info.size, info.checksums, info.qos, info.locality, info.pools, info.modified) == (
        "00009BABF3BC51034D878C30CD77E86CE93E",
        100000,
        {"adler32": "451376b5"},
        "disk",
        "ONLINE",
        ("pool1",),
        1795467600.147,
    )


def test_a_file_on_disk_and_tape_says_so() -> None:
    info = Replay("ns-tapefile-all").client().stat("/tape/qos3.bin", qos=True, optional=True)
    assert (info.on_disk, info.on_tape, info.tape) == (
        True,
        True,
        ("osm://osm/0000A371F5825056436CB93E0392EEB4B5B0",),
    )


def test_only_what_is_wanted_is_asked_for() -> None:
    replay = Replay("ns-file-checksum")
    replay.client().stat("/data/qos1.bin", checksum=True)
    assert str(replay.requests[0].url.query, "ascii") == "checksum=true"


def test_a_directory_lists_names_with_paths_and_an_unfinished_upload_has_no_size() -> None:
    replay = Replay("ns-dir-children")
    folder, children = replay.client().listing("/data/", checksum=True, qos=True)
    found = {each.path: (each.is_directory, each.size, dict(each.checksums)) for each in children}
    assert (folder.path, folder.is_directory, len(found)) == ("/data", True, 13)
    assert found["/data/norun.bin"] == (False, None, {})
    assert found["/data/dir1"] == (True, None, {})
    assert found["/data/e4.bin"] == (False, 3, {"md5": "d41d8cd98f00b204e9800998ecf8427e"})


@pytest.mark.parametrize(("capture", "error"), [("ns-404", NotFound), ("ns-401", StorageDenied)])
def test_a_refused_name_is_a_named_error(capture: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Replay(capture).client().stat("/nope")


def test_odd_names_are_quoted() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.raw_path.decode())
        return httpx2.Response(404, json={"detail": "no", "status": "404"})

    with pytest.raises(NotFound):
        answering(answer).stat("/data/a b#c%d\né?.h5")
    assert asked == ["/api/v1/namespace/data/a%20b%23c%25d%0A%C3%A9%3F.h5"]


def test_a_change_of_class_is_asked_for_in_the_products_words() -> None:
    replay = Replay("qos-file", "disk-to-tape")
    replay.client().request_qos("/data/qos2.bin", "tape")
    assert replay.asked_as_captured()


def test_an_unknown_class_is_not_asked_for() -> None:
    replay = Replay("qos-file")
    with pytest.raises(WrongUsage, match="no QoS class 'bogus'; there are disk, tape, disk\\+tape, volatile"):
        replay.client().request_qos("/data/e1.bin", "bogus")


@pytest.mark.parametrize(
    ("capture", "target", "error", "words"),
    [
        ("tape-to-disk", "disk", StorageError, "does not support removal of tape"),
        ("qos-norole", "tape", StorageDenied, "403"),
    ],
)
def test_a_refused_change_says_why(capture: str, target: str, error: type[StorageError], words: str) -> None:
    with pytest.raises(error, match=words):
        Replay("qos-file", capture).client().request_qos("/data/qos2.bin", target)


def test_a_class_tells_its_transitions() -> None:
    replay = Replay("qos-file-disk")
    found = replay.client().qos_class("disk")
    assert replay.asked_as_captured()
    assert found.transitions == ("tape", "disk+tape")


def states(*told: dict[str, object]) -> Dcache:
    """A frontend that tells one state of a file after the other, the last for ever."""
    rest = list(told)

    def answer(_: httpx2.Request) -> httpx2.Response:
        state = rest.pop(0) if len(rest) > 1 else rest[0]
        basics = {"pnfsId": "00", "fileType": "REGULAR", "mtime": 0, "creationTime": 0, "size": 1}
        return httpx2.Response(200, json={**basics, **state})

    return answering(answer)


def test_a_file_is_on_tape_when_a_copy_is_there() -> None:
    client = states(
        {"currentQos": "volatile", "targetQos": "tape", "fileLocality": "ONLINE"},
        {"currentQos": "tape", "fileLocality": "ONLINE"},
        {"currentQos": "tape", "fileLocality": "ONLINE_AND_NEARLINE"},
    )
    assert client.await_qos("/data/a", "tape", timeout=5, pause=0.001).on_tape


def test_waiting_for_a_class_ends() -> None:
    client = states({"currentQos": "disk", "targetQos": "tape", "fileLocality": "ONLINE"})
    with pytest.raises(DeadlineExceeded, match=r"/data/a: QoS tape was not reached within 0\.02 s"):
        client.await_qos("/data/a", "tape", timeout=0.02, pause=0.001)


def test_a_bulk_request_has_an_id_and_a_fate_for_each_file() -> None:
    replay = Replay("bulk-update-qos", "bulk-pin-status")
    client = replay.client()
    number = client.bulk("UPDATE_QOS", ["/data/bulk1.bin", "/data/bulk2.bin"], targetQos="disk+tape")
    state = client.await_bulk("a7965495-8d02-4175-92b1-08cae71c0d0b", timeout=1)
    assert replay.asked_as_captured()
    assert (number, state.ended) == ("32127a3f-7f22-435b-b733-c60bfd7a80fb", True)
    assert state.targets[1] == TargetState(
        "/data/nope.bin", "FAILED", "CacheException(rc=10001;msg=No such file or directory /data/nope.bin)"
    )


def test_a_stage_request_ends_with_a_fate_for_each_file() -> None:
    replay = Replay("tape-stage", "tape-stage-status")
    client = replay.client()
    number = client.stage(["/tape/qos3.bin", "/tape/none.bin"])
    state = client.await_stage(number, timeout=1)
    assert [each.state for each in state.files] == ["COMPLETED", "FAILED"]
    assert replay.requests[1].url.path == f"/api/v1/tape/stage/{number}"


def test_localities_of_paths_that_are_there() -> None:
    replay = Replay("tape-archiveinfo")
    found = replay.client().archive_info(["/tape/qos3.bin", "/data/qos1.bin", "/nope"])
    assert replay.asked_as_captured()
    assert found == {"/data/qos1.bin": "DISK_AND_TAPE", "/tape/qos3.bin": "TAPE"}


def test_a_file_is_pinned_and_unpinned() -> None:
    replay = Replay("pin", "unpin")
    client = replay.client()
    client.pin("/data/e1.bin", lifetime=30)
    client.unpin("/data/e1.bin")
    assert replay.asked_as_captured()


def test_names_are_made_and_changed() -> None:
    replay = Replay("ns-mkdir", "ns-mv")
    client = replay.client()
    client.mkdir("/data/newdir")
    client.rename("/data/mvme.bin", "/data/newdir/mv2.bin")
    assert replay.asked_as_captured()


def test_a_blocked_client_is_told_how_long() -> None:
    busy = answering(lambda _: httpx2.Response(429, headers={"Retry-After": "9"}, text="Server is busy."))
    with pytest.raises(Busy) as caught:
        busy.stat("/data")
    assert caught.value.retry_after == 9


def test_a_get_is_asked_again_when_the_connection_breaks_and_a_post_is_not() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.method)
        raise httpx2.ReadError("broken")

    with pytest.raises(Unreachable):
        answering(answer).stat("/data")
    with pytest.raises(Unreachable):
        answering(answer).rename("/a", "/b")
    assert asked == ["GET", "GET", "POST"]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"a": 1}', b"<html>"])
def test_an_answer_that_is_none_of_dcaches_is_an_error(body: bytes) -> None:
    with pytest.raises(StorageError):
        answering(lambda _: httpx2.Response(200, content=body)).stat("/data")


def test_credentials_come_from_files_that_others_cannot_read(tmp_path: Path) -> None:
    file = tmp_path / "basic"
    file.write_text("tester:se:cret\n")
    file.chmod(0o644)
    with pytest.raises(WrongUsage, match="others may read it"):
        Credential.from_files(basic_file=file)
    file.chmod(0o600)
    assert Credential.from_files(basic_file=file).basic == ("tester", "se:cret")
    assert "cret" not in repr(Credential.from_files(basic_file=file))


def test_a_renewed_token_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("first")
    token = Credential.from_files(token_file=file).token
    assert token is not None
    file.write_text("second")
    assert token() == "second"
