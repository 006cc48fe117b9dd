"""Third-party copies between two real XRootD sites, over https and root."""

from __future__ import annotations

import os

import pytest
from storage_servers import Site

from xdc_testbed.clients.errors import NotFound, StorageError
from xdc_testbed.clients.webdav import WebDav

DATA = os.urandom(2_000_000)
credential = pytest.mark.parametrize("active", ["token", "x509"])


@pytest.fixture
def place(place: str, other_site: Site, token: str) -> str:
    """A folder at both sites: a pull of XRootD 5.5 does not make the folders above its file."""
    with other_site.webdav(token=token) as destination:
        destination.mkcol(place)
    return place


@pytest.fixture
def source(dav: WebDav, place: str) -> str:
    path = f"{place}/source"
    dav.put(path, DATA)
    return path


def client(at: Site, active: str, token: str) -> WebDav:
    return at.webdav(user="tester") if active == "x509" else at.webdav(token=token)


@credential
def test_the_destination_pulls(site: Site, other_site: Site, token: str, source: str, active: str) -> None:
    with client(other_site, active, token) as destination:
        result = destination.copy_pull(site.https + source, source, source_token=token)
        assert result.ok, result
        assert destination.get(source) == DATA


@credential
def test_the_source_pushes(site: Site, other_site: Site, token: str, source: str, active: str) -> None:
    with client(site, active, token) as origin:
        result = origin.copy_push(source, other_site.https + source, destination_token=token)
    assert result.ok, result
    assert other_site.stored(source).read_bytes() == DATA


def test_a_macaroon_lets_the_destination_read(site: Site, other_site: Site, token: str, source: str) -> None:
    with site.webdav(user="tester") as owner, other_site.webdav(token=token) as destination:
        macaroon = owner.macaroon(source, ["DOWNLOAD"])
        assert destination.copy_pull(site.https + source, source, source_token=macaroon).ok
    assert other_site.stored(source).read_bytes() == DATA


def test_a_missing_source_is_a_failure_in_the_body(site: Site, other_site: Site, token: str, place: str) -> None:
    with other_site.webdav(token=token) as destination:
        result = destination.copy_pull(f"{site.https}{place}/missing", f"{place}/file", source_token=token)
    assert not result.ok
    assert "404" in result.message


def test_a_source_that_may_not_be_read_is_a_failure_in_the_body(
    site: Site, other_site: Site, token: str, source: str
) -> None:
    with other_site.webdav(token=token) as destination:
        result = destination.copy_pull(site.https + source, source)
    assert not result.ok
    assert "403" in result.message


def test_a_source_that_does_not_answer_is_a_failure(other_site: Site, token: str, place: str) -> None:
    with other_site.webdav(token=token) as destination:
        assert not destination.copy_pull("https://localhost:1/data/file", f"{place}/file", source_token=token).ok


def test_a_pull_does_not_make_the_folder_it_needs(site: Site, other_site: Site, token: str, source: str) -> None:
    with other_site.webdav(token=token) as destination:
        result = destination.copy_pull(
            site.https + source, source.replace("/source", "/new/source"), source_token=token
        )
    assert (result.ok, result.status) == (False, 400)


def test_nobody_may_order_a_copy(site: Site, other_site: Site, token: str, source: str) -> None:
    with other_site.webdav() as anonymous:
        result = anonymous.copy_pull(site.https + source, source, source_token=token)
    assert (result.ok, result.status) == (False, 401)
    assert not other_site.stored(source).exists()


def test_an_existing_destination_is_replaced_unless_forbidden(
    site: Site, other_site: Site, token: str, source: str
) -> None:
    with other_site.webdav(token=token) as destination:
        destination.put(source, b"older")
        kept = destination.copy_pull(site.https + source, source, source_token=token, overwrite=False)
        assert (kept.ok, kept.status) == (False, 412)
        assert destination.get(source) == b"older"
        assert destination.copy_pull(site.https + source, source, source_token=token).ok
        assert destination.get(source) == DATA


def test_a_missing_source_of_a_push_is_refused(site: Site, other_site: Site, token: str, place: str) -> None:
    with site.webdav(token=token) as origin:
        result = origin.copy_push(f"{place}/missing", f"{other_site.https}{place}/file", destination_token=token)
    assert not result.ok
    assert not other_site.stored(f"{place}/file").exists()


def test_a_push_that_the_destination_refuses_leaves_nothing(
    site: Site, other_site: Site, token: str, source: str
) -> None:
    with site.webdav(token=token) as origin:
        result = origin.copy_push(source, other_site.https + source)
    assert not result.ok
    assert not other_site.stored(source).exists()


@credential
def test_over_root_the_destination_fetches_from_the_source(
    site: Site, other_site: Site, token: str, source: str, active: str
) -> None:
    origin = site.xroot(user="tester") if active == "x509" else site.xroot(token=token)
    origin.tpc(source, f"{other_site.root}/{source}")
    assert other_site.stored(source).read_bytes() == DATA


def test_over_root_a_missing_source_is_not_found(site: Site, other_site: Site, token: str, place: str) -> None:
    with pytest.raises((NotFound, StorageError)):
        site.xroot(token=token).tpc(f"{place}/missing", f"{other_site.root}/{place}/file")
    assert not other_site.stored(f"{place}/file").exists()
