"""HTTP third-party copy between two storages: pull and push, right and wrong, and what a failure leaves."""

from __future__ import annotations

from xdc_testbed.clients.digests import adler32
from xdc_testbed.interop.capabilities import GET, MACAROON, PUBLIC, PUT
from xdc_testbed.interop.copying import adler32_of, copy, passive_token, require_copied, require_failed
from xdc_testbed.interop.outcome import Wrong, require
from xdc_testbed.interop.registry import KIB, MIB, Scope, case
from xdc_testbed.interop.trial import Trial

_BOTH = ("pull", "push")
_NOBODY = "https://localhost:9"  # the discard port, where nothing listens


@case(
    "copy.https",
    "Third-party copy",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    credentials=("token", "x509"),
    directions=_BOTH,
    sizes=(0, 1, MIB, 16 * MIB),
    deadline=120.0,
)
def https(trial: Trial) -> None:
    """The copy succeeds, the bytes at the destination are equal, and both ends tell the same, right
    checksum.
    """
    data = trial.content()
    source, target = trial.source.put("payload.bin", data), trial.destination.file("copy.bin")
    result = copy(trial, source, target, token=passive_token(trial))
    require_copied(trial, result, target, data)
    told = adler32_of(trial.source, source)
    require(told == adler32(data), f"the source tells adler32 {told} for a file with {adler32(data)}")


@case(
    "copy.status",
    "A copy that has begun is answered with 202",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=_BOTH,
)
def status(trial: Trial) -> None:
    """The status line promises only that the copy began, 202; 201 would say that the file is there."""
    source, target = trial.source.put("payload.bin", trial.content()), trial.destination.file("copy.bin")
    result = copy(trial, source, target, token=passive_token(trial))
    require(result.ok, f"the copy failed: HTTP {result.status}: {result.message}")
    require(result.status == 202, f"the copy is answered with {result.status}, not 202, before it has ended")


@case(
    "copy.markers",
    "Performance markers",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=_BOTH,
    sizes=(4 * MIB,),
)
def markers(trial: Trial) -> None:
    """Every marker has a time, counts that never fall and never pass the file's size, and the last line is
    a verdict.
    """
    source, target = trial.source.put("payload.bin", trial.content()), trial.destination.file("copy.bin")
    result = copy(trial, source, target, token=passive_token(trial))
    require(result.ok, f"the copy failed: HTTP {result.status}: {result.message}")
    counts = [marker.transferred for marker in result.markers]
    require(counts == sorted(counts), f"the markers' byte counts fall: {counts}")
    require(
        all(count <= trial.size for count in counts),
        f"the markers count more than the file's {trial.size} bytes",
    )
    require(all(marker.timestamp > 0 for marker in result.markers), "a marker has no time")


@case(
    "copy.missing-source",
    "Nothing to copy",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=_BOTH,
)
def missing_source(trial: Trial) -> None:
    """A copy of a file that is not there fails, and leaves nothing at the destination."""
    target = trial.destination.file("copy.bin")
    result = copy(trial, f"{trial.source.path}/nothing.bin", target, token=passive_token(trial))
    require_failed(trial, result, target, "without a source")


@case(
    "copy.dead-source",
    "Nobody to copy from",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=("pull",),
)
def dead_source(trial: Trial) -> None:
    """A pull from a port where nobody listens fails, and leaves nothing at the destination."""
    target = trial.destination.file("copy.bin")
    result = copy(trial, f"{_NOBODY}/nothing.bin", target, token=None)
    require_failed(trial, result, target, "with nobody at the source")


@case(
    "copy.onto-existing",
    "Replace a file by a copy",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=_BOTH,
    variants=("Overwrite: T", "Overwrite: F"),
)
def onto_existing(trial: Trial) -> None:
    """`Overwrite: T` replaces a file; `Overwrite: F` is refused, and the old file is still there, whole."""
    old, new = trial.content(96 * KIB, "old"), trial.content(64 * KIB, "new")
    source, target = trial.source.put("payload.bin", new), trial.destination.put("copy.bin", old)
    replace = trial.cell.variant == "Overwrite: T"
    token = passive_token(trial, push="modify")  # the right to replace is there: only the header forbids it
    result = copy(trial, source, target, token=token, overwrite=replace)
    if replace:
        require_copied(trial, result, target, new)
        return
    require(not result.ok, "Overwrite: F replaced a file")
    trial.destination.require_content(target, old)


@case(
    "copy.wrong-checksum",
    "A damaged copy is found",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=("pull",),
)
def wrong_checksum(trial: Trial) -> None:
    """After one byte of the copy was changed, the checksums that both ends tell differ."""
    data = trial.content()
    source, target = trial.source.put("payload.bin", data), trial.destination.file("copy.bin")
    require_copied(trial, copy(trial, source, target, token=passive_token(trial)), target, data)
    damaged = bytes([data[0] ^ 1]) + data[1:]
    trial.destination.place.admin().delete(target)
    trial.destination.put("copy.bin", damaged)
    told = {
        "source": adler32_of(trial.source, source),
        "destination": adler32_of(trial.destination, target),
    }
    trial.note("adler32", dict(told))
    require("nothing" not in told.values(), f"no checksum is told: {told}")
    require(len(set(told.values())) == 2, f"the damaged copy has the checksum of the original: {told}")
    trial.destination.require_content(target, damaged)


@case(
    "copy.passive-denied",
    "The passive side refuses",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    credentials=("token", "x509"),
    directions=_BOTH,
    variants=("no token", "other path", "wrong audience"),
)
def passive_denied(trial: Trial) -> None:
    """With a credential for the passive side that does not allow it, the copy fails and leaves nothing."""
    source, target = trial.source.put("payload.bin", trial.content()), trial.destination.file("copy.bin")
    kinds = {"other path": "token-other-path", "wrong audience": "token-wrong-audience"}
    kind = kinds.get(trial.cell.variant or "")
    bearer = trial.passive.place.wallet.token(kind, trial.passive.path) if kind else None
    result = copy(trial, source, target, token=bearer() if bearer else None)
    require_failed(trial, result, target, "for lack of a right at the passive side")


@case(
    "copy.active-denied",
    "The active side refuses",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    credentials=("anonymous", "stranger", "token-expired", "token-other-path"),
    directions=_BOTH,
)
def active_denied(trial: Trial) -> None:
    """With a credential that does not allow it at the active side, the copy is refused, and nothing is
    there.
    """
    source, target = trial.source.put("payload.bin", trial.content()), trial.destination.file("copy.bin")
    result = copy(trial, source, target, token=passive_token(trial))
    require_failed(trial, result, target, "for lack of a right at the active side")


@case(
    "copy.macaroon",
    "A macaroon for the passive side",
    scope=Scope.PAIR,
    needs=(GET, PUT, MACAROON),
    destination_needs=(GET, PUT, MACAROON),
    credentials=("token", "x509"),
    directions=_BOTH,
)
def macaroon(trial: Trial) -> None:
    """The copy succeeds with a macaroon of the passive side, got by certificate, for just this one file."""
    data = trial.content()
    source, target = trial.source.put("payload.bin", data), trial.destination.file("copy.bin")
    pushing = trial.cell.direction == "push"
    path, activity = (target, "UPLOAD") if pushing else (source, "DOWNLOAD")
    bearer = trial.passive.place.webdav("x509").macaroon(path, [activity])
    require_copied(trial, copy(trial, source, target, token=bearer), target, data)


@case(
    "copy.public-source",
    "A public source needs no credential",
    scope=Scope.PAIR,
    needs=(GET, PUT, PUBLIC),
    destination_needs=(GET, PUT),
    credentials=("token", "x509"),
    directions=("pull",),
)
def public_source(trial: Trial) -> None:
    """A pull of a file that anybody may read succeeds without a credential for the source."""
    data = trial.content()
    admin = trial.source.place.admin()
    source = f"{trial.public}/{trial.cell.source.id}-{trial.cell.destination_id}-{trial.cell.credential}.bin"
    target = trial.destination.file("copy.bin")
    admin.put(source, data)
    try:
        require_copied(trial, copy(trial, source, target, token=None), target, data)
    finally:
        admin.delete(source)


@case(
    "copy.credential-kind",
    "An unknown way of delegation is refused",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    directions=("pull",),
)
def credential_kind(trial: Trial) -> None:
    """`Credential: gridsite` where the storage cannot take delegated certificates is refused before
    anything happens.
    """
    source, target = trial.source.put("payload.bin", trial.content(100)), trial.destination.file("copy.bin")
    answer = trial.destination.place.wire(trial.cell.credential).request(
        "COPY", target, {"Source": trial.source.url(source), "Credential": "gridsite"}
    )
    trial.note("status", answer.status)
    if answer.status < 300 and b"success" in answer.body.lower():
        raise Wrong("a copy with a delegation that was never made succeeded")
    require(400 <= answer.status < 500, f"Credential: gridsite is answered with {answer.status}: {answer.text}")
    trial.destination.require_absent(target, "a refused copy")
