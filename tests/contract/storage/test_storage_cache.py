"""A real XRootD cache in front of a real site."""

from __future__ import annotations

import os

import pytest
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Cache, Site

from xdc_testbed.clients import digests
from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError
from xdc_testbed.clients.webdav import WebDav

DATA = os.urandom(2_500_000)


@pytest.fixture
def path(dav: WebDav, place: str) -> str:
    dav.put(f"{place}/file", DATA)
    return f"{place}/file"


def test_a_file_of_the_origin_is_read_through_the_cache(cache: Cache, token: str, path: str) -> None:
    with cache.webdav(token=token) as client:
        assert client.head(path).checksums["adler32"] == digests.adler32(DATA)
        assert client.get(path, range=(1_000_000, 1_000_099)) == DATA[1_000_000:1_000_100]
        assert client.get(path) == DATA
        assert client.head(path).checksums["adler32"] == digests.adler32(DATA)


def test_the_second_read_does_not_need_the_origin(cache: Cache, dav: WebDav, token: str, path: str) -> None:
    with cache.webdav(token=token) as client:
        assert client.get(path) == DATA
        dav.delete(path)
        assert client.get(path) == DATA


def test_a_certificate_is_enough_whatever_came_before(cache: Cache, token: str, path: str, dav: WebDav) -> None:
    """XRootD remembers on a connection to the origin whom a token named; the cache's own rights must survive that."""
    with cache.webdav(token=token) as bearer, cache.webdav(user="tester") as owner:
        bearer.get(path)
        dav.put(path + "-other", DATA)
        assert owner.get(path + "-other") == DATA
    assert cache.xroot(user="tester").get(path) == DATA


@pytest.mark.parametrize("user", [None, "stranger"])
def test_what_is_cached_is_still_private(cache: Cache, token: str, path: str, user: str | None) -> None:
    with cache.webdav(token=token) as client:
        client.get(path)
    with cache.webdav(user=user) as intruder, pytest.raises(StorageDenied):
        intruder.get(path)


def test_a_token_for_another_path_does_not_read_what_is_cached(
    cache: Cache, issuer: TokenIssuer, token: str, path: str
) -> None:
    with cache.webdav(token=token) as client:
        client.get(path)
    with (
        cache.webdav(token=issuer.source().fetch("storage.read:/data/elsewhere")) as client,
        pytest.raises(StorageDenied),
    ):
        client.get(path)


def test_nothing_is_written_through_the_cache(cache: Cache, token: str, dav: WebDav, place: str) -> None:
    with cache.webdav(token=token) as client, pytest.raises(StorageError):
        client.put(f"{place}/new", b"x")
    assert not dav.exists(f"{place}/new")


def test_what_the_origin_lacks_the_cache_lacks(cache: Cache, token: str, place: str) -> None:
    with cache.webdav(token=token) as client, pytest.raises(NotFound):
        client.get(f"{place}/missing")


def test_a_site_copies_from_the_cache(cache: Cache, other_site: Site, token: str, path: str) -> None:
    with other_site.webdav(token=token) as destination:
        destination.mkcol(path.rpartition("/")[0])
        assert destination.copy_pull(cache.https + path, path, source_token=token).ok
        assert destination.get(path) == DATA


def test_the_cache_serves_on_when_the_origin_is_away(authority: Authority, issuer: TokenIssuer, token: str) -> None:
    with (
        folder("origin") as origin_home,
        folder("cache") as cache_home,
        running(Site(origin_home, authority, issuer, "ORIGIN")) as origin,
        running(Cache(cache_home, authority, issuer, origin.origin)) as cache,
    ):
        with origin.webdav(token=token) as client:
            client.put("/data/seen", DATA)
            client.put("/data/unseen", DATA)
        with cache.webdav(token=token) as client:
            client.get("/data/seen")
            origin.stop()
            assert client.get("/data/seen") == DATA
            with pytest.raises(StorageError):
                client.get("/data/unseen")
            origin.start()
            assert client.get("/data/unseen") == DATA
