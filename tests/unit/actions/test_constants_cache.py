"""Constants on the functions node: fetched once per content, never half there, not growing for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xdc_testbed.actions import constants_cache
from xdc_testbed.actions.constants_cache import ConstantsCache
from xdc_testbed.clients.digests import Content, adler32

NAME = "SPB_IRDA_JF4M/JNGFR01/cal.20260301T000000Z.h5"


def content(data: bytes) -> Content:
    return Content(len(data), adler32(data))


def test_the_same_content_is_fetched_once_and_another_beside_it(tmp_path: Path) -> None:
    cache, fetched = ConstantsCache.at(str(tmp_path)), []

    def fetch(data: bytes) -> Path:
        def write(file: Path) -> None:
            fetched.append(data)
            file.write_bytes(data)

        return cache.file(NAME, content(data), write)

    first, again, other = fetch(b"one"), fetch(b"one"), fetch(b"two")
    assert first == again != other
    assert fetched == [b"one", b"two"]
    assert (first.read_bytes(), other.read_bytes()) == (b"one", b"two")


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(file: Path) -> None:
        file.write_bytes(b"half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ConstantsCache.at(str(tmp_path)).file(NAME, content(b"whole"), fail)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_ones_unused_for_longest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants_cache, "KEPT", 2)
    cache = ConstantsCache.at(str(tmp_path))
    files = []
    for number, data in enumerate((b"a", b"bb", b"ccc")):
        files.append(cache.file(NAME, content(data), lambda file, data=data: file.write_bytes(data)))  # type: ignore[misc]
        os.utime(files[-1].parents[2], (number, number))
    assert [file.exists() for file in files] == [False, True, True]


def test_a_cache_of_somebody_else_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"xdc-constants-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(constants_cache.tempfile, "tempdir", str(tmp_path))
    root = ConstantsCache.at().root
    assert root.parent == tmp_path
    assert not root.is_symlink()
    assert root.stat().st_mode & 0o077 == 0
