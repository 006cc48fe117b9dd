"""What dCache's billing records mean: all that a running dCache has sent, and what it might send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from billing_records import CAPTURES, by_xrootd, captured, upload
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.events.sources.billing import Deleted, Failed, NotARecord, Nothing, Read, Tape, Written, moment, parse


def facts(name: str, path: str = "ab") -> set[tuple[Any, ...]]:
    """What the records of a capture mean, each once: type, path and size or status code."""
    found: set[tuple[Any, ...]] = set()
    for record in captured(name, path):
        match parse(record):
            case Written(path=where, size=size):
                found.add((Written, where, size))
            case Read(path=where, size=size):
                found.add((Read, where, size))
            case Failed(path=where, code=code):
                found.add((Failed, where, code))
            case Deleted(path=where):
                found.add((Deleted, where))
            case Tape(path=where, stored=stored):
                found.add((Tape, where, stored))
    return found


MEANINGS: dict[str, set[tuple[Any, ...]]] = {
    "bulk-delete": set(),
    "bulk-update-qos": set(),
    "dcap-download": {(Read, "/public/dc1.bin", 200000)},
    "dcap-upload": {(Written, "/public/dc1.bin", 200000)},
    "ftp-delete": {(Deleted, "/data/ftp2.bin")},
    "ftp-download": {(Read, "/data/ftp1.bin", 200000)},
    "ftp-rename": set(),
    "ftp-upload": {(Written, "/data/ftp1.bin", 200000)},
    "outage-45s": {
        *((Written, f"/data/out{number}.bin", 6) for number in (0, 1, 2, 9)),
        (Deleted, "/data/out0.bin"),
    },
    "p2p-migration-copy": set(),
    "qos-disk-to-disktape": {(Tape, "/data/qos1.bin", True)},
    "qos-disk-to-tape": {(Tape, "/data/qos2.bin", True)},
    "qos-disktape-to-tape": set(),
    "qos-pin": set(),
    "qos-pin-badunit": set(),
    "qos-tape-to-disk": set(),
    "qos-tape-to-disktape": set(),
    "qos-to-nonsense": set(),
    "qos-to-volatile": set(),
    "qos-unpin": set(),
    "rest-delete": set(),
    "tape-stage": {(Tape, None, False)},
    "tape-upload-flush": {(Written, "/tape/t1.bin", 200000), (Tape, "/tape/t1.bin", True)},
    "tpc-cancel-client": {(Failed, "/data/cancel2.bin", 10027)},
    "tpc-dcache-pull-macaroon": {(Read, "/data/src.bin", 500000), (Written, "/data/dst1.bin", 500000)},
    "tpc-dcache-push-macaroon": {(Read, "/data/src.bin", 500000), (Written, "/data/dst2.bin", 500000)},
    "tpc-pull-404": {(Failed, "/data/tpc9.bin", 10027)},
    "tpc-pull-baddigest": {(Written, "/data/tpc7.bin", 1048576), (Failed, "/data/tpc8.bin", 10004)},
    "tpc-pull-http": {(Written, "/data/tpc1.bin", 1048576)},
    "tpc-pull-https": {(Written, "/data/tpc2.bin", 1048576)},
    "tpc-pull-nodigest": {(Written, "/data/tpc3.bin", 1048576), (Written, "/data/tpc4.bin", 1048576)},
    "tpc-pull-scitag": {(Written, "/data/tpc21.bin", 1048576)},
    "tpc-pull-short": {(Failed, "/data/tpc12.bin", 10027)},
    "tpc-pull-slow": {(Written, "/data/tpc13.bin", 1048576), (Written, "/data/tpc14.bin", 1048576)},
    "tpc-pull-transferheaderscitag": {(Written, "/data/tpc22.bin", 1048576)},
    "tpc-push-403": set(),
    "tpc-push-badsum": set(),
    "tpc-push-http": {(Read, "/data/tpc1.bin", 1048576)},
    "webdav-delete": {(Deleted, "/data/w1.bin")},
    "webdav-get-404": set(),
    "webdav-http-download": {(Read, "/data/w1.bin", 200000)},
    "webdav-http-range": {(Read, "/data/w1.bin", 200000)},
    "webdav-http-upload": {(Written, "/data/w1.bin", 200000)},
    "webdav-http-upload-redirected": {(Written, "/data/e1.bin", 200000)},
    "webdav-https-download": {(Read, "/data/w2.bin", 200000)},
    "webdav-https-upload": {(Written, "/data/w2.bin", 200000)},
    "webdav-https-upload-redirected": {(Written, "/data/e2.bin", 200000)},
    "webdav-mkcol": set(),
    "webdav-move": set(),
    "webdav-overwrite": {(Written, "/data/w1.bin", 1000)},
    "webdav-put-401": set(),
    "webdav-put-403": set(),
    "webdav-put-abort-proxied": {(Failed, "/data/abort2.bin", 666)},
    "webdav-put-abort-redirected": {(Failed, "/data/abort.bin", 10004)},
    "webdav-put-badpw": set(),
    "webdav-put-badsum": {(Written, "/data/bad.bin", 3)},
    "webdav-put-md5bad": {(Failed, "/data/bad.bin", 10004)},
    "webdav-read-restore": {(Tape, None, False), (Read, "/tape/qos3.bin", 100000)},
    "webdav-redirected-badmd5": {(Failed, "/data/e4.bin", 10004)},
    "webdav-redirected-badsum": {(Written, "/data/e3.bin", 3)},
    "webdav-x509-upload": {(Written, "/data/x509.bin", 4)},
    "webdav-zero-download": {(Read, "/data/zero.bin", 0)},
    "webdav-zero-upload": {(Written, "/data/zero.bin", 0)},
}
"""What the records of each capture mean, by either publishing path."""

BY_ONE_PATH: dict[str, tuple[str, set[tuple[Any, ...]]]] = {
    "ftp-delete": ("b", MEANINGS["ftp-delete"]),  # an FTP door tells the billing cell only
    "tpc-pull-slow": ("b", {(Written, "/data/tpc13.bin", 1048576)}),  # its other record came before the capture began
}
"""What only one path tells."""


def test_every_capture_has_its_meaning() -> None:
    assert set(MEANINGS) == {path.stem for path in CAPTURES.glob("*.jsonl")}


@pytest.mark.parametrize("path", ["a", "b", "ab"])
@pytest.mark.parametrize("capture", MEANINGS)
def test_a_capture_means_the_same_over_both_paths(capture: str, path: str) -> None:
    only, what = BY_ONE_PATH.get(capture, (path, set()))
    assert facts(capture, path) == (MEANINGS[capture] if only in path else MEANINGS[capture] - what)


@pytest.mark.parametrize("number", range(2))
def test_an_xrootd_upload_is_written_by_nobody_known(number: int) -> None:
    record = by_xrootd(captured("webdav-http-upload", "b")[number])
    found = parse(record)
    if b'"request"' in record:
        assert found == Nothing("request")
    else:
        assert isinstance(found, Written)
        assert (found.path, found.size, found.user) == ("/data/w1.bin", 200000, None)


def test_a_file_that_xrootd_does_not_find_is_nothing() -> None:
    """WebDAV tells nothing then; an xrootd or dCap door tells a request that failed, without an id."""
    request = next(each for each in captured("webdav-http-upload", "b") if b'"request"' in each)
    told = json.loads(by_xrootd(request, status={"code": 10001, "msg": "No such file"}))
    del told["pnfsid"]
    assert parse(json.dumps(told).encode()) == Nothing("request")


def test_of_an_xrootd_copy_within_one_dcache_only_the_new_file_is_written() -> None:
    """The pool that reads does so as root; the one that writes names the source's door."""
    transfer = next(each for each in captured("webdav-http-upload", "b") if b'"transfer"' in each)
    reading = parse(by_xrootd(transfer, isWrite="read", subject=["UidPrincipal[0]"]))
    assert isinstance(reading, Read)
    port = {"protocol": "Xrootd", "versionMajor": 5, "versionMinor": 0, "port": 1094, "host": "localhost"}
    assert isinstance(parse(by_xrootd(transfer, protocolInfo=port)), Written)


def test_an_upload_has_user_size_and_moment() -> None:
    found = parse(captured("webdav-http-upload", "b")[1])
    assert isinstance(found, Written)
    assert (found.user, found.size, found.at, found.pnfsid) == (
        "tester",
        200000,
        1795466919.036,
        "0000B52AA437EF2245769BA1ED28B556BCBF",
    )


def test_the_version_is_read_in_either_case_and_must_be_known_in_both() -> None:
    assert isinstance(parse(upload(without="version", VERSION="1.0")), Written)
    with pytest.raises(NotARecord, match=r"unknown version '2\.0'"):
        parse(upload(without="version", VERSION="2.0"))


def test_a_copy_between_pools_is_none_of_a_file() -> None:
    assert parse(upload(isP2p=True, billingPath="Unknown")) == Nothing("copy_between_pools")


@pytest.mark.parametrize("name", ["/a b/#%é.h5", "/new\nline", '/quote"back\\slash', "/" + 4096 * "x"])
def test_odd_paths_come_through(name: str) -> None:
    found = parse(upload(name))
    assert isinstance(found, Written)
    assert found.path == name


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"fileSize":' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"version":"1.0"}', "no msgType"),
        (b'{"msgType":"transfer"}', "transfer without version"),
        (upload(version="2.0"), "transfer of unknown version '2.0'"),
        (upload(version=1.0), "transfer of unknown version 1.0"),
        (upload(msgType="replicate"), "unknown msgType 'replicate'"),
        (upload(msgType=["transfer"]), "no msgType"),
        (upload(without="pnfsid"), "pnfsid is missing"),
        (upload(pnfsid="0000"), "pnfsid '0000' is none"),
        (upload(pnfsid="g" * 36), "is none"),
        (upload(without="billingPath"), "billingPath is missing"),
        (upload("Unknown"), "billingPath 'Unknown' is no path"),
        (upload("/a\0b"), "is no path"),
        (upload("/" + "x" * 8192), "is no path"),
        (upload("/\ud800"), "half a character"),
        (upload(fileSize=-1), "fileSize -1 is no size"),
        (upload(fileSize=1 << 63), "fileSize 9223372036854775808 is no size"),
        (upload(fileSize=1 << 53), "fileSize 9007199254740992 is no size"),
        (upload(fileSize="7"), "fileSize 7 is no size"),
        (upload(fileSize=True), "fileSize True is no size"),
        (upload(without="status"), "status is missing"),
        (upload(status={"msg": ""}), "status without code"),
        (upload(status=0), "status is no object"),
        (upload(isWrite=True), "isWrite is True"),
        (upload(isP2p="no"), "isP2p is no boolean"),
        (upload(date="yesterday"), "date 'yesterday' is none"),
        (upload(date="2026-13-01T00:00:00Z"), "date"),
        (upload(date="0001-01-01T00:00:00+14:00"), "date"),
    ],
)
def test_what_dcache_would_not_send_is_refused_with_the_reason(record: bytes, reason: str) -> None:
    with pytest.raises(NotARecord) as caught:
        parse(record)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("2026-11-23T20:53:49Z", 1795467229.0),
        ("2026-11-23T20:53:48.2Z", 1795467228.2),
        ("2026-11-23T21:53:48.236+01:00", 1795467228.236),
        ("2026-11-23T20:53:48.123456789Z", 1795467228.123456789),
    ],
)
def test_moments_of_any_precision(date: str, seconds: float) -> None:
    assert moment(date) == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_are_refused(value: bytes) -> None:
    with pytest.raises(NotARecord):
        parse(value)


KEYS = sorted(json.loads(upload()))


@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3), st.sampled_from(["transfer", "request"]))
def test_any_values_are_a_record_or_are_refused(changes: dict[str, Any], kind: str) -> None:
    told = json.loads(upload()) | {"msgType": kind, "moverInfo": json.loads(upload())} | changes
    try:
        found = parse(json.dumps(told).encode())
    except NotARecord:
        return
    if isinstance(found, Written):
        assert found.path.startswith("/")
        assert 0 <= found.size < 1 << 63
