"""What the emulator copies of the product's known faults, so that clients meet them before they meet the product.

Seen on running instances of 11.2.5 and 12.0.1; the emulator follows 11.2.5. Where each is made:

tpc/copy.py               A pull whose GET comes without a checksum is verified the wrong way round: a HEAD that has one
                          fails the copy (`no checksum in HEAD response`), a HEAD that has none lets it succeed
                          unverified.
tpc/copy.py, tpc/peer.py  A pushed file is counted one byte short: transferSize is fileSize - 1.
door/tpc.py               COPY answers 202 before anything has happened; the last line of the body is the outcome.
                          A refusal is 401 `Permission denied`; an existing target with `Overwrite: F` is 500.
door/writing.py           Only Content-MD5 is enforced; Digest, OC-Checksum and Repr-Digest of a PUT are not looked at.
                          What is overwritten is removed before the first byte comes: a failed overwrite loses it.
                          The `request` of a proxied upload with a wrong Content-MD5 has no status.msg.
pool/upload.py            A redirected upload that fails leaves what came of it, with its size and checksum; after a
wrong Content-MD5 the wrong sum stays in the namespace.
macaroons.py              The location is `Optional[/path]`; a second `path:` is relative to the first; any activity
may be named, also one that does not exist, and then allows nothing.
records.py                VERSION in records of doors, version in all others; filesize in a hit; isWrite is a word; the
                          `request` of a pull has no pnfsid and fileSize 0.
"""
