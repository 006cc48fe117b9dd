"""Checksums of files: their names in the namespace, in HTTP digests and in the product's messages."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping

NUMBERS = {"adler32": 1, "md5": 2}
"""How the product's messages name a checksum, `1:46a47789`."""
_HASHES = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
KNOWN = ("adler32", *_HASHES)


class Running:
    """Checksums of bytes that come one piece after the other. adler32 is always among them."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        self._adler = 1
        self._hashes = {
            name: hashlib.new(_HASHES[name], usedforsecurity=False) for name in sorted(set(others)) if name in _HASHES
        }

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._adler = zlib.adler32(data, self._adler)
        for each in self._hashes.values():
            each.update(data)

    def values(self) -> dict[str, str]:
        """Name -> lower-case hexadecimal."""
        return {"adler32": f"{self._adler:08x}"} | {name: each.hexdigest() for name, each in self._hashes.items()}


def mismatch(expected: Mapping[str, str], actual: Mapping[str, str]) -> str | None:
    """The product's sentence when a checksum differs, None when none does."""
    if all(actual.get(name, value) == value for name, value in expected.items()):
        return None
    return f"Checksum mismatch (expected=[{_numbered(expected)}], actual=[{_numbered(actual)}])"


def digest(checksums: Mapping[str, str], wanted: str) -> str | None:
    """The value of a Digest header for a Want-Digest header: the most wanted one that is stored (RFC 3230)."""
    best, name_of_best = 0.0, ""
    for part in wanted.split(","):
        name, _, parameters = part.strip().partition(";")
        name = name.strip().lower()
        try:
            quality = float(parameters.partition("=")[2]) if "=" in parameters else 1.0
        except ValueError:
            continue
        if name in checksums and quality > best:
            best, name_of_best = quality, name
    if not name_of_best:
        return None
    return f"{name_of_best}={encoded(name_of_best, checksums[name_of_best])}"


def encoded(name: str, value: str) -> str:
    """A hexadecimal checksum as a digest header writes it: adler32 as it is, all others in base64."""
    return value if name == "adler32" else base64.b64encode(bytes.fromhex(value)).decode()


def of_header(header: str) -> dict[str, str]:
    """The known checksums of a Digest header, in hexadecimal; what cannot be read is left out."""
    found = {}
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        name = name.strip().lower()
        try:
            if name == "adler32":
                found[name] = f"{int(value.strip(), 16):08x}"
            elif name in _HASHES:
                found[name] = base64.b64decode(value.strip(), validate=True).hex()
        except ValueError:
            continue
    return found


def of_answer(headers: Mapping[str, str]) -> dict[str, str]:
    """The known checksums of an answer: Digest (RFC 3230), or else Repr-Digest (RFC 9530)."""
    found = of_header(headers.get("digest", ""))
    if found:
        return found
    parts = (part.strip().partition("=") for part in headers.get("repr-digest", "").split(","))
    return of_header(",".join(f"{name}={value.strip(':')}" for name, _, value in parts))


def wanted_by(header: str | None) -> list[str]:
    """The algorithms of a Want-Digest header that are known here."""
    names = [part.partition(";")[0].strip().lower() for part in (header or "").split(",")]
    return [name for name in names if name in KNOWN]


def _numbered(checksums: Mapping[str, str]) -> str:
    return ", ".join(f"{NUMBERS.get(name, name)}:{value}" for name, value in checksums.items())
