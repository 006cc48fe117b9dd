"""Checksums: told by the storage, computed here, equal over every door and for every copy."""

from __future__ import annotations

import hashlib
import threading

from xdc_testbed.clients.digests import adler32
from xdc_testbed.interop.capabilities import CHECKSUM, GET, PUT
from xdc_testbed.interop.copying import copy, require_copied
from xdc_testbed.interop.outcome import require
from xdc_testbed.interop.registry import KIB, MIB, Scope, case
from xdc_testbed.interop.trial import Trial


@case(
    "integrity.adler32",
    "Checksum of a file",
    needs=(GET, CHECKSUM),
    protocols=("https", "root"),
    credentials=("token", "x509"),
    sizes=(0, 1, MIB),
)
def adler(trial: Trial) -> None:
    """The storage tells the adler32 that is computed from the bytes here, with its leading zeros."""
    data = trial.content()
    path = trial.source.put("payload.bin", data)
    told, right = trial.door(trial.source).adler32(path), adler32(data)
    trial.note("adler32", told)
    require(told == right, f"tells adler32 {told or 'nothing'} for a file with {right}")


@case("integrity.md5", "MD5 of a file", needs=(GET, CHECKSUM))
def md5(trial: Trial) -> None:
    """Asked with `Want-Digest: md5`, the storage tells the MD5 of the bytes (RFC 3230)."""
    data = trial.content()
    path = trial.source.put("payload.bin", data)
    told = trial.source.place.webdav(trial.cell.credential).head(path, digest="md5").checksums.get("md5")
    right = hashlib.md5(data, usedforsecurity=False).hexdigest()
    require(told == right, f"tells md5 {told or 'nothing'} for a file with {right}")


@case(
    "integrity.after-replace",
    "Checksum of a replaced file",
    needs=(GET, PUT, CHECKSUM),
    protocols=("https", "root"),
    variants=("at once", "seconds later"),
)
def after_replace(trial: Trial) -> None:
    """A checksum that was kept from the old content is not told for the new one of the same size."""
    door, path = trial.door(trial.source), trial.source.file("replaced.bin")
    for seed in ("old", "new"):
        data = trial.content(32 * KIB, seed)
        door.put(path, data)
        told, right = door.adler32(path), adler32(data)
        require(told == right, f"tells adler32 {told or 'nothing'} for {seed} content with {right}")
        if trial.cell.variant == "seconds later":
            threading.Event().wait(1.2)  # the clock is what is waited for


@case(
    "integrity.unknown-digest",
    "An unknown checksum is not answered with another value",
    needs=(GET, CHECKSUM),
)
def unknown_digest(trial: Trial) -> None:
    """Asked for an algorithm that does not exist, the storage serves the file, and tells no value under
    that name.
    """
    path = trial.source.put("payload.bin", trial.content(1000))
    answer = trial.source.place.wire(trial.cell.credential).request("HEAD", path, {"Want-Digest": "nosuch"})
    digest = answer.headers.get("digest", "")
    trial.note("status", answer.status)
    trial.note("digest", digest)
    require(answer.status == 200, f"HEAD with an unknown digest is answered with {answer.status}")
    require("nosuch" not in digest.lower(), f"tells a value for an algorithm that does not exist: {digest}")


@case(
    "integrity.every-door",
    "One file, one checksum",
    scope=Scope.PAIR,
    needs=(GET, CHECKSUM),
    destination_needs=(GET, PUT, CHECKSUM),
    directions=("pull",),
    deadline=90.0,
)
def every_door(trial: Trial) -> None:
    """Original and copy have the same bytes and the same checksum over every door of both endpoints."""
    data = trial.content(MIB + 3)
    source, target = trial.source.put("payload.bin", data), trial.destination.file("copy.bin")
    bearer = trial.source.place.wallet.scoped(f"storage.read:{trial.source.path}")
    require_copied(trial, copy(trial, source, target, token=bearer), target, data)
    told = {}
    for folder, path in ((trial.source, source), (trial.destination, target)):
        for protocol in ("https", "root"):
            if protocol not in folder.place.endpoint.urls:
                continue
            door = trial.door(folder, protocol)
            told[f"{folder.id} {protocol}"] = door.adler32(path)
            require(door.get(path) == data, f"{folder.id} gives other bytes over {protocol}")
    trial.note("adler32", dict(told))
    require(
        set(told.values()) == {adler32(data)},
        f"the checksums differ: {told}, and {adler32(data)} computed here",
    )
