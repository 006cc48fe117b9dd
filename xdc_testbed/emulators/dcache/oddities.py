"""What the emulator copies of the product's known faults, so that clients meet them before they meet the product.

Seen on running instances of 11.2.5 and 12.0.1; the emulator follows 11.2.5. Nothing here runs but `ODDITIES`, which the
documentation shows.
"""

from __future__ import annotations

from types import MappingProxyType

ODDITIES = MappingProxyType(
    {
        "a pull is verified the wrong way round": (
            "when the GET comes without a checksum: a HEAD that has one fails the copy (`no checksum in HEAD response`), "
            "a HEAD that has none lets it succeed unverified, whatever RequireChecksumVerification says (tpc/copy.py)"
        ),
        "a pushed file is counted one byte short": (
            "transferSize is fileSize - 1, also in the text of a push that broke off (tpc/copy.py, tpc/peer.py)"
        ),
        "a third-party copy says 202 before anything has happened": "the last line of the body is the outcome (door/tpc.py)",
        "permission denied is 401 for COPY": "and an existing target with `Overwrite: F` is 500 (door/tpc.py)",
        "only Content-MD5 is enforced": "Digest, OC-Checksum and Repr-Digest of a PUT are not looked at (door/writing.py)",
        "a redirected upload that fails leaves what came": (
            "with its own checksum and size; with a wrong Content-MD5 the wrong sum stays in the namespace (pool/upload.py)"
        ),
        "an overwritten file is removed before the first byte comes": "so a failed overwrite loses it (door/writing.py)",
        "the location of a macaroon is `Optional[/path]`": "and a second `path:` is relative to the first (macaroons.py)",
        "any activity may be named in a macaroon": "also one that does not exist, which then allows nothing (macaroons.py)",
        "VERSION in records of doors, version in all others": "and `filesize` in a hit (records.py)",
        "status.msg may be missing": "in the request of a proxied upload with a wrong Content-MD5 (door/writing.py)",
        "the request of a pull has no pnfsid": "and fileSize 0; that of a push has the id (records.py)",
        "isWrite is a word": "`write` or `read` (records.py)",
    }
)
"""Fault -> how it shows, and where it is."""
