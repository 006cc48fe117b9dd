"""A real XRootD cache in front of the dCache emulator, over https: dCache's door sends it to a pool with a proxy
certificate that is no user's own.
"""

from __future__ import annotations

import os

from dcache_rig import DcacheUnderTest, emulated
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Cache

from xdc_testbed.clients.webdav import WebDav

DATA = os.urandom(2_500_000)


def test_a_cache_reads_from_dcache_once_and_serves_without_it(authority: Authority, issuer: TokenIssuer) -> None:
    with emulated(authority, issuer) as dcache, folder("cache") as home:
        token = dcache.token("storage.read:/ storage.modify:/", "tester")
        with running(Cache(home, authority, issuer, dcache.webdav)) as cache, _door(dcache, token) as door:
            door.put("/data/cached.bin", DATA)
            with cache.webdav(token=token) as client:
                assert client.get("/data/cached.bin", range=(1_000_000, 1_000_099)) == DATA[1_000_000:1_000_100]
                assert client.get("/data/cached.bin") == DATA
                door.delete("/data/cached.bin")
                assert client.get("/data/cached.bin") == DATA


def _door(dcache: DcacheUnderTest, token: str) -> WebDav:
    return WebDav(dcache.webdav, ca_file=dcache.ca, token=lambda: token)
