"""Files over https, against a real XRootD."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from storage_rig import Authority, TokenIssuer
from storage_servers import Site

from xdc_testbed.clients import digests
from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError, Unreachable
from xdc_testbed.clients.webdav import WebDav

ODD_NAMES = [
    "with blank",
    "per%cent",
    "pl+us&amp;",
    "ünïcode-ÄÖ",
    "quo'te\"",
    "hash#mark",
    pytest.param(
        "question?mark",
        marks=pytest.mark.xfail(reason="XRootD 5.5.3 ends a name at a question mark, quoted or not", strict=True),
    ),
    "semi;colon,=@!$",
    "~tilde",
]


def test_what_is_put_is_got(dav: WebDav, place: str) -> None:
    data = os.urandom(3_000_001)
    dav.put(f"{place}/raw.h5", data)
    assert dav.get(f"{place}/raw.h5") == data


def test_a_file_goes_up_and_down_with_size_and_checksum_taken_on_the_way(
    dav: WebDav, place: str, tmp_path: Path
) -> None:
    source, target = tmp_path / "up", tmp_path / "down"
    source.write_bytes(os.urandom(2_500_000))
    sent = dav.put(f"{place}/file", source)
    received = dav.receive(f"{place}/file", target)
    assert sent == received == digests.Content(2_500_000, digests.adler32_of_file(source))
    assert target.read_bytes() == source.read_bytes()


def test_an_empty_file_is_a_file(dav: WebDav, place: str) -> None:
    dav.put(f"{place}/empty", b"")
    assert dav.get(f"{place}/empty") == b""
    assert dav.head(f"{place}/empty").checksums["adler32"] == "00000001"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_kept(dav: WebDav, site: Site, place: str, name: str) -> None:
    dav.put(f"{place}/{name}", b"odd")
    assert dav.get(f"{place}/{name}") == b"odd"
    assert [entry.name for entry in dav.list(place)] == [name]
    assert site.stored(f"{place}/{name}").read_bytes() == b"odd"


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 99), (1000, 1999), (999_999, 999_999), (500_000, 999_999)])
def test_a_range_is_just_these_bytes(dav: WebDav, place: str, first: int, last: int) -> None:
    data = os.urandom(1_000_000)
    dav.put(f"{place}/file", data)
    assert dav.get(f"{place}/file", range=(first, last)) == data[first : last + 1]


def test_checksums_are_those_of_the_bytes(dav: WebDav, place: str) -> None:
    data = os.urandom(100_000)
    dav.put(f"{place}/file", data)
    assert dav.head(f"{place}/file").checksums == {"adler32": digests.adler32(data)}
    assert dav.head(f"{place}/file", "md5").checksums == {"md5": hashlib.md5(data).hexdigest()}  # noqa: S324  of a product
    assert "crc32c" in dav.head(f"{place}/file", "crc32c").checksums


def test_a_second_put_replaces_the_first(dav: WebDav, place: str) -> None:
    dav.put(f"{place}/file", b"first and longer")
    dav.put(f"{place}/file", b"second")
    assert dav.get(f"{place}/file") == b"second"
    assert dav.head(f"{place}/file").size == 6


def test_a_deleted_file_is_gone(dav: WebDav, place: str) -> None:
    dav.put(f"{place}/file", b"x")
    dav.delete(f"{place}/file")
    assert not dav.exists(f"{place}/file")
    with pytest.raises(NotFound):
        dav.get(f"{place}/file")
    with pytest.raises(NotFound):
        dav.delete(f"{place}/file")


def test_a_directory_is_made_listed_and_removed(dav: WebDav, place: str) -> None:
    dav.mkcol(place)
    dav.mkcol(place)
    dav.mkcol(f"{place}/inner")
    dav.put(f"{place}/file", b"12345")
    found = {entry.name: (entry.is_directory, entry.size) for entry in dav.list(place)}
    assert found == {"inner": (True, None), "file": (False, 5)}
    dav.delete(f"{place}/inner")
    assert [entry.name for entry in dav.list(place)] == ["file"]


def test_move_gives_the_bytes_another_name(dav: WebDav, place: str) -> None:
    dav.put(f"{place}/corr.h5.part-1", b"corrected")
    dav.move(f"{place}/corr.h5.part-1", f"{place}/corr.h5")
    assert [entry.name for entry in dav.list(place)] == ["corr.h5"]
    assert dav.get(f"{place}/corr.h5") == b"corrected"


def test_move_replaces_what_has_the_name(dav: WebDav, place: str) -> None:
    dav.put(f"{place}/old", b"old")
    dav.put(f"{place}/new.part-1", b"new")
    dav.move(f"{place}/new.part-1", f"{place}/old")
    assert dav.get(f"{place}/old") == b"new"


def test_move_is_allowed_by_modify_on_the_directory_alone(
    dav: WebDav, site: Site, issuer: TokenIssuer, place: str
) -> None:
    writer = issuer.source().fetch(f"storage.modify:{place}")
    with site.webdav(token=writer) as client:
        client.put(f"{place}/f.part-1", b"x")
        client.move(f"{place}/f.part-1", f"{place}/f")
    assert dav.get(f"{place}/f") == b"x"


def test_move_of_a_missing_file_says_so(dav: WebDav, place: str) -> None:
    dav.mkcol(place)
    with pytest.raises(NotFound):
        dav.move(f"{place}/missing", f"{place}/there")


def test_a_download_that_is_refused_leaves_no_file(dav: WebDav, place: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        dav.download(f"{place}/missing", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_everybody_reads_the_public_directory(site: Site, dav: WebDav, place: str) -> None:
    path = place.replace("/data/", "/pub/")
    dav.put(path, b"public")
    with site.webdav() as anonymous:
        assert anonymous.get(path) == b"public"
        with pytest.raises(StorageDenied):
            anonymous.put(path, b"changed")


def test_a_server_that_is_not_there_is_unreachable(authority: Authority) -> None:
    with WebDav("https://localhost:1", ca_file=authority.ca) as client, pytest.raises(Unreachable):
        client.get("/data/file")


def test_a_server_of_another_authority_is_not_trusted(site: Site) -> None:
    with WebDav(site.https) as client, pytest.raises(Unreachable, match=r"(?i)certificate"):
        client.get("/pub/file")


def test_an_error_carries_status_and_the_servers_words(dav: WebDav, place: str) -> None:
    with pytest.raises(StorageError) as raised:
        dav.get(f"{place}/missing")
    assert raised.value.status == 404
    assert "no such file" in raised.value.body
