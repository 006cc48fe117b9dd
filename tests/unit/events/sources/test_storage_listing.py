"""Storages as listings show them: dCache by its frontend, others by PROPFIND."""

from __future__ import annotations

import httpx2
import pytest
from source_stand_ins import Namespace

from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.sources.facts import Facts
from xdc_testbed.events.sources.listing import DcacheListing, Seen, WebDavListing

FACTS = Facts("bed", "dcache")
DOCUMENT = """<?xml version="1.0"?>
<D:multistatus xmlns:D="DAV:">
<D:response><D:href>/data/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/data/run/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>
<D:getlastmodified>Thu, 26 Nov 2026 12:00:00 GMT</D:getlastmodified></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/data/a%20b</D:href><D:propstat><D:prop><D:getcontentlength>5</D:getcontentlength>
<D:getlastmodified>Thu, 26 Nov 2026 12:00:01 GMT</D:getlastmodified></D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>"""


def webdav(request: httpx2.Request) -> httpx2.Response:
    if request.method == "PROPFIND" and request.url.path == "/data":
        return httpx2.Response(207, stream=httpx2.ByteStream(DOCUMENT.encode()))
    if request.method == "HEAD" and request.url.path == "/data/a b":
        told = {
            "Content-Length": "5",
            "Last-Modified": "Thu, 26 Nov 2026 12:00:01 GMT",
            "Digest": "adler32=062c0215",
        }
        return httpx2.Response(200, headers=told, stream=httpx2.ByteStream(b""))
    return httpx2.Response(404, stream=httpx2.ByteStream(b""))


@pytest.fixture
def listing() -> WebDavListing:
    client = WebDav("https://door.test:1094", token=lambda: "T", transport=httpx2.MockTransport(webdav))
    return WebDavListing(client, "bed", "remote")


def test_a_folder_by_propfind(listing: WebDavListing) -> None:
    assert listing.folder("/data", None) == (
        None,
        [
            Seen("/data/run", True, None, 1795694400.0),
            Seen("/data/a b", False, 5, 1795694401.0),
        ],
    )


def test_what_is_not_there_is_none(listing: WebDavListing) -> None:
    assert (listing.folder("/nope", None), listing.file("/nope")) == (None, None)


def test_a_file_has_its_checksum_and_one_event_for_one_state(listing: WebDavListing) -> None:
    seen = listing.file("/data/a b")
    assert seen is not None
    event = listing.event(seen, None)
    assert (event.subject, event.data.size, event.data.checksums) == ("/data/a b", 5, {"adler32": "062c0215"})
    assert event.id == listing.event(Seen("/data/a b", False, 5, seen.modified), None).id
    assert event.id != listing.event(Seen("/data/a b", False, 6, seen.modified), None).id


def test_a_file_of_dcache_has_the_id_that_its_record_has() -> None:
    namespace = Namespace()
    namespace.put("/data/a", "A1", fileLocality="ONLINE", currentQos="disk")
    seen = DcacheListing(namespace.client(), FACTS).file("/data/a")
    assert seen is not None
    assert DcacheListing(namespace.client(), FACTS).event(seen, None).id == FACTS.written("/data/a", "A1", at=1.0).id


def test_a_file_of_dcache_that_is_being_written_has_no_size() -> None:
    namespace = Namespace()
    namespace.put("/data/a", "A1", size=None, fileLocality="NONE")
    seen = DcacheListing(namespace.client(), FACTS).file("/data/a")
    assert seen is not None
    assert seen.size is None
