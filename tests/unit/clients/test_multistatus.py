"""Directory listings of the products."""

from __future__ import annotations

import pytest

from xdc_testbed.clients import multistatus

# As dCache 12.0.1 sent it, shortened.
DCACHE = b"""<?xml version="1.0" encoding="utf-8" ?>
<d:multistatus xmlns:d="DAV:"><d:response><d:href>/data/dir1/</d:href><d:propstat><d:prop><d:resourcetype>
<d:collection/></d:resourcetype><d:getlastmodified>Mon, 23 Nov 2026 20:49:08 GMT</d:getlastmodified></d:prop>
<d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:getcontentlength/></d:prop>
<d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response><d:response>
<d:href>/data/dir1/w%202%25moved.bin</d:href><d:propstat><d:prop><d:getcontentlength>200000</d:getcontentlength>
</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop><d:resourcetype/></d:prop>
<d:status>HTTP/1.1 404 Not Found</d:status></d:propstat></d:response></d:multistatus>"""


def test_xrootd_5_gives_names_unquoted() -> None:
    document = (
        b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>/data/100%25#1?&amp;</D:href></D:response></D:multistatus>'
    )
    assert multistatus.parse(document, "XrootD/v5.5.3")[0].name == "100%25#1?&"
    assert multistatus.parse(document, "dCache/12.0.1")[0].name == "100%"


def test_a_listing_tells_directories_from_files() -> None:
    directory, file = multistatus.parse(DCACHE)
    assert (directory.path, directory.is_directory, directory.size) == ("/data/dir1", True, None)
    assert (file.path, file.is_directory, file.size) == ("/data/dir1/w 2%moved.bin", False, 200000)
    assert file.name == "w 2%moved.bin"


def test_times_are_epoch_seconds() -> None:
    directory, file = multistatus.parse(DCACHE)
    assert directory.mtime == 1795466948.0
    assert file.mtime is None


@pytest.mark.parametrize("document", [b"", b"<html>", b"{}"])
def test_what_is_no_listing_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="multistatus"):
        multistatus.parse(document)


@pytest.mark.parametrize("text", [None, "", "yesterday", "Mon, 99 Nov 2026"])
def test_an_unreadable_date_is_no_date(text: str | None) -> None:
    assert multistatus.epoch(text) is None
