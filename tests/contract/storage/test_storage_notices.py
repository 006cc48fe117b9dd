"""Change notification of a real XRootD, and what is left of an upload that breaks off."""

from __future__ import annotations

import socket
import stat

from storage_rig import until
from storage_servers import Site

from xdc_testbed.clients.tls import tls_context
from xdc_testbed.clients.webdav import WebDav


def expect(site: Site, path: str, kinds: list[str]) -> None:
    until(lambda: site.notices(path) == kinds, f"the journal says {kinds} of {path}, not {site.notices(path)}")


def test_writing_moving_and_removing_are_told(site: Site, dav: WebDav, place: str) -> None:
    dav.put(f"{place}/f.part-1", b"12345")
    dav.move(f"{place}/f.part-1", f"{place}/f")
    dav.delete(f"{place}/f")
    expect(site, f"{place}/f.part-1", ["create", "closew", "mv"])
    expect(site, f"{place}/f", ["mv", "rm"])


def test_a_notice_has_size_both_names_and_time(site: Site, dav: WebDav, place: str) -> None:
    dav.put(f"{place}/old name", b"12345")
    dav.move(f"{place}/old name", f"{place}/new name")
    expect(site, f"{place}/new name", ["mv"])
    lines = [line for line in site.journal() if place in line["lfn"]]
    closed, moved = (next(line for line in lines if line["ev"] == kind) for kind in ("closew", "mv"))
    assert (closed["lfn"], closed["size"]) == (f"{place}/old name", "5")
    assert (moved["lfn"], moved["lfn2"]) == (f"{place}/old name", f"{place}/new name")
    assert closed["at"] <= moved["at"]


def test_a_third_party_copy_is_told_where_it_arrives(
    site: Site, other_site: Site, token: str, dav: WebDav, place: str
) -> None:
    dav.put(f"{place}/f", b"12345")
    with other_site.webdav(token=token) as destination:
        destination.mkcol(place)
        assert destination.copy_pull(f"{site.https}{place}/f", f"{place}/f", source_token=token).ok
    expect(other_site, f"{place}/f", ["create", "closew"])


def test_an_upload_over_root_is_told(site: Site, token: str, place: str) -> None:
    site.xroot(token=token).put(f"{place}/f", b"12345")
    expect(site, f"{place}/f", ["create", "closew"])


def test_no_token_is_in_the_journal_or_the_log(site: Site, token: str, dav: WebDav, place: str) -> None:
    dav.put(f"{place}/f", b"x")
    expect(site, f"{place}/f", ["create", "closew"])
    for file in (site.home / "journal", site.process.log):
        assert token not in file.read_text()


def test_an_upload_that_breaks_off_is_told_with_the_size_it_came_to(site: Site, token: str, place: str) -> None:
    lines = [
        f"PUT {place}/cut HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {token}",
        "Content-Length: 1000000",
    ]
    head = "\r\n".join([*lines, "", ""])
    context = tls_context(site.authority.ca)
    with (
        socket.create_connection(("localhost", site.https_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head.encode() + b"x" * 300_000)
        until(site.stored(f"{place}/cut").exists, "the upload has begun")
    expect(site, f"{place}/cut", ["create", "closew"])
    (closed,) = (line for line in site.journal() if line["lfn"] == f"{place}/cut" and line["ev"] == "closew")
    assert int(closed["size"]) == site.stored(f"{place}/cut").stat().st_size < 1_000_000


def test_the_journal_is_read_by_its_group_and_by_no_others(site: Site, dav: WebDav, place: str) -> None:
    dav.put(f"{place}/f", b"x")
    expect(site, f"{place}/f", ["create", "closew"])
    assert not (site.home / "journal").stat().st_mode & stat.S_IRWXO
