"""Checksums as storages tell them: `Digest` headers (RFC 3230) in any spelling become lower-case hex."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHUNK = 1 << 20  # bytes read at a time
_BYTES = {"adler32": 4, "crc32c": 4, "md5": 16, "sha": 20, "sha-256": 32, "sha-512": 64}


@dataclass(frozen=True)
class Content:
    """What went over the wire. size: bytes; adler32: 8 hex digits, computed on the way."""

    size: int
    adler32: str


class Adler32:
    """Adler-32 (RFC 1950, section 8.2) of the chunks seen so far."""

    def __init__(self) -> None:
        self.size = 0
        self._value = 1

    def update(self, chunk: bytes) -> None:
        """Take one more chunk."""
        self._value = zlib.adler32(chunk, self._value)
        self.size += len(chunk)

    def content(self) -> Content:
        """Size and checksum of all chunks so far."""
        return Content(self.size, f"{self._value:08x}")


def adler32(data: bytes) -> str:
    """Adler-32 of data as the storages write it: 8 lower-case hex digits."""
    return f"{zlib.adler32(data):08x}"


def adler32_of_file(path: Path) -> str:
    """Adler-32 of a file, read in pieces of 1 MiB."""
    seen = Adler32()
    with path.open("rb") as stream:
        for chunk in chunks(stream):
            seen.update(chunk)
    return seen.content().adler32


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The rest of a stream in pieces of 1 MiB."""
    while chunk := stream.read(CHUNK):
        yield chunk


def parse(headers: Iterable[str]) -> dict[str, str]:
    """Checksums out of `Digest` header values, as {algorithm: lower-case hex}.

    Products differ: XRootD and dCache send adler32 in hex, RFC 3230 wants md5 in base64, and crc32c is base64
    on XRootD 5.5 but hex on 6.2. A value that is neither is left out: none may compare with it.
    """
    found: dict[str, str] = {}
    for header in headers:
        for item in header.split(","):
            name, separator, value = item.strip().partition("=")
            length = _BYTES.get(name.strip().lower())
            if not separator or length is None:
                continue
            text = _as_hex(value.strip(), length)
            if text is not None:
                found[name.strip().lower()] = text
    return found


def _as_hex(value: str, length: int) -> str | None:
    """value as 2*length hex digits, from hex (leading zeros may be missing in short ones) or from base64."""
    digits = value.lower()
    if len(digits) == 2 * length or (length == 4 and 0 < len(digits) < 8):
        try:
            return f"{int(digits, 16):0{2 * length}x}"
        except ValueError:
            pass  # not hex: it may still be base64
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return raw.hex() if len(raw) == length else None
