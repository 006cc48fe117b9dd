"""Checksums in the spellings of the products."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.clients import digests


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("adler32=46a47789", {"adler32": "46a47789"}),
        ("adler32=46A47789", {"adler32": "46a47789"}),
        ("adler32=1", {"adler32": "00000001"}),
        ("crc32c=T/GENg==", {"crc32c": "4ff18436"}),  # XRootD 5.5
        ("crc32c=4ff18436", {"crc32c": "4ff18436"}),  # XRootD 6.2
        ("md5=1B2M2Y8AsgTpgAmY7PhCfg==", {"md5": "d41d8cd98f00b204e9800998ecf8427e"}),
        ("md5=d41d8cd98f00b204e9800998ecf8427e", {"md5": "d41d8cd98f00b204e9800998ecf8427e"}),
        (
            "ADLER32=00000001, md5=1B2M2Y8AsgTpgAmY7PhCfg==",
            {"adler32": "00000001", "md5": "d41d8cd98f00b204e9800998ecf8427e"},
        ),
        ("whirlpool=abc", {}),
        ("adler32=nonsense", {}),
        ("adler32", {}),
        ("", {}),
    ],
)
def test_a_digest_header_becomes_hex_whatever_its_spelling(header: str, expected: dict[str, str]) -> None:
    assert digests.parse([header]) == expected


@given(st.binary(max_size=4096))
def test_md5_is_read_alike_in_hex_and_base64(data: bytes) -> None:
    checksum = hashlib.md5(data, usedforsecurity=False)
    encoded = base64.b64encode(checksum.digest()).decode()
    assert digests.parse([f"md5={encoded}"]) == digests.parse([f"md5={checksum.hexdigest()}"])


@given(st.text())
def test_no_header_makes_the_parser_stumble(header: str) -> None:
    assert all(len(value) % 2 == 0 for value in digests.parse([header]).values())


@given(st.lists(st.binary(max_size=100)))
def test_adler32_over_chunks_is_adler32_over_the_whole(parts: list[bytes]) -> None:
    seen = digests.Adler32()
    for part in parts:
        seen.update(part)
    whole = b"".join(parts)
    assert seen.content() == digests.Content(len(whole), f"{zlib.adler32(whole):08x}")


def test_a_file_has_the_checksum_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "raw.bin"
    path.write_bytes(b"Wikipedia")
    assert digests.adler32_of_file(path) == digests.adler32(b"Wikipedia") == "11e60398"
