"""Files over root://, against a real XRootD, with a token and with a certificate."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from storage_rig import Authority
from storage_servers import Site

from xdc_testbed.clients import digests
from xdc_testbed.clients.errors import AlreadyExists, NotFound, Unreachable
from xdc_testbed.clients.xroot import Xroot


@pytest.fixture(params=["token", "x509"])
def root(request: pytest.FixtureRequest, site: Site, token: str) -> Xroot:
    return site.xroot(user="tester") if request.param == "x509" else site.xroot(token=token)


def test_what_is_put_is_got_and_told_of(root: Xroot, place: str) -> None:
    data, path = os.urandom(1_500_000), f"{place}/raw.h5"
    root.put(path, data)
    assert root.get(path) == data
    assert root.stat(path).size == len(data)
    assert root.stat(place).is_directory
    assert root.checksum(path) == digests.adler32(data)
    root.rm(path)
    with pytest.raises(NotFound):
        root.stat(path)


def test_a_file_goes_up_and_down(root: Xroot, place: str, tmp_path: Path) -> None:
    source = tmp_path / "up"
    source.write_bytes(os.urandom(700_000))
    root.put(f"{place}/file", source)
    assert root.download(f"{place}/file", tmp_path / "down") == 700_000
    assert (tmp_path / "down").read_bytes() == source.read_bytes()


def test_an_empty_file_with_an_odd_name_is_kept(root: Xroot, place: str) -> None:
    path = f"{place}/odd é %&+ name"
    root.put(path, b"")
    assert root.get(path) == b""
    assert root.checksum(path) == "00000001"


def test_an_existing_file_is_replaced_unless_forbidden(root: Xroot, place: str) -> None:
    path = f"{place}/file"
    root.put(path, b"older")
    with pytest.raises(AlreadyExists):
        root.put(path, b"newer", overwrite=False)
    root.put(path, b"newer")
    assert root.get(path) == b"newer"


def test_https_and_root_show_the_same_file(site: Site, token: str, place: str) -> None:
    data, path = os.urandom(100_000), f"{place}/file"
    with site.webdav(token=token) as dav:
        dav.put(path, data)
    assert site.xroot(user="tester").get(path) == data


def test_a_server_that_is_not_there_is_unreachable(authority: Authority) -> None:
    with pytest.raises(Unreachable):
        Xroot("root://localhost:1", ca_directory=authority.hashed, timeout=10.0).stat("/data")
