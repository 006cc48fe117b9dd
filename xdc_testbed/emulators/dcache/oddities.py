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
frontend/watches.py       With IN_MASK_ADD a subscription shows the flags of both selectors, and sends events for the
                          new ones only.
frontend/selectors.py     A selector without a path is 500; IN_DONT_FOLLOW and IN_EXCL_UNLINK stand in the schema and
                          are refused.
frontend/channels.py      Events before the first connection are replayed for `Last-Event-ID: 0` only, without the
                          first; an id that is not in the ring empties it. A client that is gone is noticed late,
                          at the next event.
transitions.py            A target class that does not exist means volatile, and the answer is 201. A policy's state on
                          disk leaves a file NEARLINE and REPLICA.
frontend/activities.py    A bulk request whose arguments do not fit is COMPLETED with all targets CANCELLED; UPDATE_QOS
                          is COMPLETED long before the file is on tape.
frontend/tape.py          Cancelling a path that was not asked for is 400 with a page for people; releasing one is 200.

Absent, because no true answer of it is known, so that a copy would be a guess:

migrations                The REST resource by which administrators copy and move replicas between pools. The only way
                          to a copy from pool to pool here is a policy whose state wants several on disk.
restore to another pool   A stage goes to the first pool; copies for files that many read are not made.
surplus copies            A state that wants fewer copies than there are leaves them.
"""
