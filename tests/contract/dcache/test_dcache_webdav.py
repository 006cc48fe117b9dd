"""What users of the WebDAV door rely on; the same cases for the emulator and for a real dCache."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import ssl
import threading
import zlib
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest
from dcache_door import Door, basic, bearer
from dcache_rig import DcacheUnderTest, until
from dcache_wire import Wire

BODY = bytes(range(256)) * 5000
_ODD_NAMES = ["a b", "a#b", "a%41b", "ü€", "a+b&c=d", "a\nb", "a;b", "'\"<&>"]


@pytest.mark.parametrize("size", [0, 1, 65_536, len(BODY)])
def test_a_file_is_read_back_as_it_was_uploaded_through_the_door(door: Door, size: int) -> None:
    door.put("file", BODY[:size])
    assert door.get("file").body == BODY[:size]


@pytest.mark.parametrize("size", [1, len(BODY)])
def test_a_file_is_read_back_as_it_was_uploaded_to_the_pool(door: Door, size: int) -> None:
    assert door.put_redirected("file", BODY[:size]).code == 201
    assert door.get("file").body == BODY[:size]


def test_a_body_of_unknown_length_is_taken(door: Door) -> None:
    chunked = b"5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n"
    headers = {**door.headers, "Transfer-Encoding": "chunked"}
    parts = urlsplit(door.at("file"))
    head = f"PUT {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    assert door.wire.raw(door.url, head.encode() + chunked).startswith(b"HTTP/1.1 201 ")
    assert door.get("file").body == b"hello there"


def test_a_read_is_redirected_and_needs_no_credentials_there(door: Door) -> None:
    door.put("file", b"hello")
    answer = door.ask("GET", "file")
    assert (answer.code, answer.body) == (302, b"")
    assert "dcache-http-uuid=" in answer.header("location")
    assert door.wire.ask("GET", answer.header("location")).body == b"hello"


def test_the_checksum_that_is_stored_is_told_when_wanted(door: Door) -> None:
    door.put("file", BODY)
    adler32 = f"adler32={zlib.adler32(BODY):08x}"
    assert door.ask("HEAD", "file", {"Want-Digest": "md5;q=1,adler32;q=0.5"}).header("digest") == adler32
    assert door.get("file", {"Want-Digest": "adler32"}).header("digest") == adler32
    assert door.ask("HEAD", "file", {"Want-Digest": "md5"}).header("digest") == ""
    assert door.ask("HEAD", "file").header("digest") == ""


def test_another_checksum_is_stored_when_it_is_wanted_at_the_upload(door: Door) -> None:
    door.put("file", BODY, {"Want-Digest": "md5"})
    md5 = base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode()
    assert door.ask("HEAD", "file", {"Want-Digest": "md5"}).header("digest") == f"md5={md5}"


def test_an_upload_with_a_wrong_content_md5_leaves_nothing(door: Door) -> None:
    wrong = base64.b64encode(bytes(16)).decode()
    assert door.ask("PUT", "file", {"Content-MD5": wrong}, b"hello").code == 400
    assert not door.exists("file")


@pytest.mark.parametrize(
    ("wanted", "first", "last"), [("0-9", 0, 9), ("1000-", 1000, len(BODY) - 1), ("-7", len(BODY) - 7, len(BODY) - 1)]
)
def test_a_range_is_given(door: Door, wanted: str, first: int, last: int) -> None:
    door.put("file", BODY)
    answer = door.get("file", {"Range": f"bytes={wanted}"})
    assert answer.code == 206
    assert answer.header("content-range") == f"bytes {first}-{last}/{len(BODY)}"
    assert answer.body == BODY[first : last + 1]


def test_several_ranges_are_given_in_one_answer(door: Door) -> None:
    door.put("file", BODY)
    answer = door.get("file", {"Range": "bytes=0-9,100-119"})
    assert answer.code == 206
    assert answer.header("content-type").startswith("multipart/byteranges")
    parts = re.findall(rb"bytes (\d+)-(\d+)/\d+\r\n(?:[^\r]+\r\n)*\r\n", answer.body)
    assert [tuple(map(int, part)) for part in parts] == [(0, 9), (100, 119)]
    assert BODY[0:10] in answer.body
    assert BODY[100:120] in answer.body


def test_a_range_behind_the_end_is_refused(door: Door) -> None:
    door.put("file", b"hello")
    assert door.get("file", {"Range": "bytes=100-200"}).code == 416


@pytest.mark.parametrize("name", _ODD_NAMES)
def test_a_name_may_have_any_characters(door: Door, name: str) -> None:
    door.put(name, b"hello")
    assert door.get(name).body == b"hello"
    hrefs = re.findall(r"<d:href>([^<]*)</d:href>", door.listing())
    assert quote(door.path(name)) in [href.replace("&amp;", "&").replace("&#39;", "'") for href in hrefs]


def test_a_path_that_leaves_the_tree_is_refused(door: Door) -> None:
    assert door.wire.ask("GET", f"{door.url}{door.folder}/../../../etc/passwd", door.headers).code in {400, 404}


def test_a_name_cannot_add_headers_to_an_answer(door: Door) -> None:
    url = f"{door.url}{door.folder}/no%0d%0aX-Evil:%20yes/file"
    answer = door.wire.ask("COPY", url, {**door.headers, "Credential": "none", "Source": "http://127.0.0.1:1/x"})
    assert answer.code == 400
    assert answer.header("x-evil") == ""


def test_an_overwritten_file_has_the_new_content_only(door: Door) -> None:
    door.put("file", BODY)
    door.put("file", b"new")
    assert door.get("file").body == b"new"


def test_an_upload_through_the_door_that_breaks_off_leaves_nothing(door: Door) -> None:
    door.ask("PUT", "file", {"Content-Length": "200000"}, b"x" * 50_000, broken=True)
    until(lambda: not door.exists("file"), "the file is gone")


def test_an_upload_to_the_pool_that_breaks_off_leaves_what_came(door: Door) -> None:
    headers = {"Content-Length": "200000"}
    door.put_redirected("file", b"x" * 50_000, headers, broken=True)
    until(lambda: door.ask("HEAD", "file").header("content-length") == "50000", "the part is there")


def test_directories_that_are_missing_are_made_by_an_upload(door: Door) -> None:
    door.put("a/b/c", b"hello")
    assert door.get("a/b/c").body == b"hello"


def test_a_listing_has_size_tag_and_time_of_each_file(door: Door) -> None:
    door.put("one", b"1")
    door.put("two", b"22")
    assert door.ask("MKCOL", "sub").code == 201
    found = door.listing()
    assert re.findall(r"<d:getcontentlength>(\d+)<", found) == ["1", "2"]
    assert len(re.findall(r"<d:response>", found)) == 4
    assert found.count("<d:collection/>") == 2
    assert len(re.findall(r'<d:getetag>"[0-9A-F]{36}_-?\d+"', found)) == 4


def test_properties_are_told_when_asked_for(door: Door) -> None:
    door.put("file", BODY)
    query = (
        b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:" xmlns:x="http://www.dcache.org/2013/webdav">'
        b"<D:prop><D:getcontentlength/><x:Checksums/><x:nonsense/></D:prop></D:propfind>"
    )
    found = door.ask("PROPFIND", "file", {"Depth": "0"}, query).body.decode()
    assert f"adler32={zlib.adler32(BODY):08x}" in found
    assert f">{len(BODY)}<" in found
    assert found.index("nonsense") < found.index("404 Not Found")


def test_a_file_is_renamed_and_keeps_its_content(door: Door) -> None:
    door.put("old", b"hello")
    assert door.ask("MOVE", "old", {"Destination": door.at("new")}).code == 201
    assert (door.get("new").body, door.exists("old")) == (b"hello", False)


def test_a_directory_is_renamed_with_all_that_is_in_it(door: Door) -> None:
    door.put("old/a/b", b"hello")
    assert door.ask("MOVE", "old", {"Destination": door.at("new")}).code == 201
    assert door.get("new/a/b").body == b"hello"
    assert not door.exists("old/a/b")


def test_a_directory_is_removed_with_all_that_is_in_it(door: Door) -> None:
    door.put("sub/a", b"hello")
    assert door.ask("DELETE", "sub").code == 204
    assert not door.exists("sub/a")


def test_a_connection_serves_many_requests(door: Door) -> None:
    parts = urlsplit(door.url)
    context = ssl.create_default_context(cafile=str(door.wire.ca))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=30)
    try:
        for number in range(5):
            path = quote(door.path(f"file{number}"))
            for method, body, wanted in (("PUT", b"x" * number, 201), ("HEAD", None, 200), ("DELETE", None, 204)):
                connection.request(method, path, body, door.headers)
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (wanted, b"")
    finally:
        connection.close()


def test_uploads_of_one_name_at_the_same_time_leave_one_of_them_whole(door: Door) -> None:
    bodies = [bytes([letter]) * 300_000 for letter in b"abcdef"]
    threads = [threading.Thread(target=door.ask, args=("PUT", "file", None, body)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if door.exists("file"):  # each may have removed the one before it
        answer = door.get("file", {"Want-Digest": "adler32"})
        assert answer.body in bodies
        assert answer.header("digest") == f"adler32={zlib.adler32(answer.body):08x}"


def test_a_wrong_password_is_refused(door: Door, dcache: DcacheUnderTest) -> None:
    user = next(iter(dcache.users))
    answer = replace(door, headers=basic(user, "wrong")).ask("PUT", "file", None, b"x")
    assert (answer.status, answer.body) == ("401 login failed", b"")
    assert answer.header("www-authenticate").startswith("Basic realm=")


def test_nobody_may_write(door: Door) -> None:
    assert replace(door, headers={}).ask("PUT", "file", None, b"x").code == 401


@pytest.mark.needs("another user")
def test_another_user_may_read_but_not_write(door: Door, dcache: DcacheUnderTest) -> None:
    door.put("file", b"hello")
    other = replace(door, headers=basic(*list(dcache.users.items())[1]))
    assert other.get("file").body == b"hello"
    answer = other.ask("PUT", "other", None, b"x")
    assert (answer.code, answer.body) == (403, f"Permission denied for PUT on path {door.path('other')}\n".encode())


@pytest.mark.needs("certificate")
def test_a_certificate_says_who_one_is(door: Door, dcache: DcacheUnderTest) -> None:
    certified = replace(door, wire=Wire(dcache.ca, dcache.certificates["tester"]), headers={})
    certified.put("file", b"hello")
    assert door.get("file").body == b"hello"


@pytest.mark.needs("token")
def test_a_token_lets_do_what_its_scope_names(door: Door, dcache: DcacheUnderTest) -> None:
    user = next(iter(dcache.users))
    both = replace(door, headers=bearer(dcache.token("storage.read:/ storage.modify:/", user)))
    both.put("file", b"hello")
    assert both.get("file").body == b"hello"


def test_a_token_that_is_none_is_refused(door: Door) -> None:
    assert replace(door, headers=bearer("eyJhbGciOiJub25lIn0.e30.")).ask("GET", "file").status == "401 login failed"
