"""A cache in front of an origin: same bytes, kept bytes, same rights, and no writing through it."""

from __future__ import annotations

import time

from xdc_testbed.clients.errors import NotFound, StorageDenied, StorageError
from xdc_testbed.interop.capabilities import CACHE, GET
from xdc_testbed.interop.outcome import Wrong, require
from xdc_testbed.interop.place import difference
from xdc_testbed.interop.registry import KIB, MIB, case
from xdc_testbed.interop.trial import Trial

_NEEDS = (GET, CACHE)
_BOTH = ("https", "root")
_OPEN_ELSEWHERE = 423
_CLOSES_WITHIN = 90.0  # seconds in which a cache closes the origin's file after its last reader has gone


@case(
    "cache.read",
    "Read through the cache",
    needs=_NEEDS,
    protocols=_BOTH,
    credentials=("token", "x509"),
    sizes=(0, 1, MIB, 16 * MIB),
)
def read(trial: Trial) -> None:
    """The first and the second read through the cache give the origin's bytes and size."""
    data = trial.content()
    path = trial.source.put("payload.bin", data)
    door = trial.door(trial.source)
    for turn in ("first", "second"):
        found = door.get(path)
        require(found == data, f"the {turn} read through the cache gives other bytes: {difference(found, data)}")
    told = door.size(path)
    require(told == len(data), f"the cache tells {told} bytes for {len(data)}")


@case("cache.hit", "The second read is a hit", needs=_NEEDS, protocols=_BOTH, sizes=(MIB + 70_001,))
def hit(trial: Trial) -> None:
    """After one whole read the file is removed at the origin: only a cache that kept it can give it again."""
    data = trial.content()
    path = trial.source.put("payload.bin", data)
    door = trial.door(trial.source)
    require(door.get(path) == data, "the first read through the cache gives other bytes")
    trial.source.place.writable.admin().delete(path)
    try:
        found = door.get(path)
    except StorageError as error:
        raise Wrong(f"the second read went to the origin: {error.message}") from error
    require(found == data, f"the second read gives other bytes: {difference(found, data)}")


@case("cache.range", "Read a part through the cache", needs=_NEEDS)
def one_range(trial: Trial) -> None:
    """A part across a block's border, read from a cold file, is right; the whole file read afterwards, too."""
    data = trial.content(2 * MIB + 5)
    path = trial.source.put("ranged.bin", data)
    door = trial.source.place.webdav(trial.cell.credential)
    found = door.get(path, (MIB - 100, MIB + 99))
    require(found == data[MIB - 100 : MIB + 100], "the part read through the cache has other bytes")
    whole = door.get(path)
    require(whole == data, f"the whole file after the part has other bytes: {difference(whole, data)}")


@case(
    "cache.kept-is-private",
    "What is kept is not for everybody",
    needs=_NEEDS,
    protocols=_BOTH,
    credentials=("anonymous", "stranger", "token-expired", "token-wrong-audience", "token-other-path"),
)
def kept_is_private(trial: Trial) -> None:
    """A file that the cache keeps is refused to those to whom the origin refuses it."""
    path = trial.source.put("private.bin", trial.content(64 * KIB))
    trial.door(trial.source, credential="token").get(path)
    try:
        trial.door(trial.source).get(path)
    except StorageDenied as refusal:
        trial.note("status", refusal.status)
        return
    raise Wrong(f"{trial.cell.credential} may read a private file from the cache")


@case("cache.write", "No writing through the cache", needs=_NEEDS)
def write(trial: Trial) -> None:
    """Writing through the cache is refused with 403 or 405, and the origin has no file afterwards."""
    path = trial.source.file("written.bin")
    answer = trial.source.place.wire(trial.cell.credential).request("PUT", path, body=trial.content(1000))
    trial.note("status", answer.status)
    require(answer.status >= 400, f"the cache takes a write: HTTP {answer.status}")
    trial.source.require_absent(path, "a write that the cache refused")
    require(answer.status in (403, 405), f"the cache refuses a write with {answer.status}, not with 403 or 405")


@case("cache.not-yet", "What was missing may come", needs=_NEEDS, protocols=_BOTH)
def not_yet(trial: Trial) -> None:
    """A file that was asked for before it existed is given as soon as the origin has it."""
    data = trial.content(1000)
    door, path = trial.door(trial.source), trial.source.file("late.bin")
    try:
        door.get(path)
    except NotFound:
        pass
    else:
        raise Wrong("the cache gives a file that the origin does not have")
    trial.source.put("late.bin", data)
    require(door.get(path) == data, "the cache gives other bytes for a file that has come")


@case("cache.origin-stays-writable", "Reading through the cache locks nothing", needs=_NEEDS)
def origin_stays_writable(trial: Trial) -> None:
    """After a read through the cache has ended, the file can be replaced at the origin at once."""
    old, new = trial.content(MIB, "old"), trial.content(MIB, "new")
    path = trial.source.put("replaced.bin", old)
    found = trial.source.place.webdav(trial.cell.credential).get(path)
    require(found == old, "the read through the cache gives other bytes")
    trial.source.put("replaced.bin", new)


@case("cache.changed-at-origin", "A change at the origin is seen", needs=_NEEDS, deadline=150.0)
def changed_at_origin(trial: Trial) -> None:
    """After the file was replaced at the origin, the cache gives the new bytes, not the ones that it kept."""
    old, new = trial.content(MIB, "old"), trial.content(MIB, "new")
    path = trial.source.put("changed.bin", old)
    door = trial.source.place.webdav(trial.cell.credential)
    require(door.get(path) == old, "the first read through the cache gives other bytes")
    trial.source.place.writable.admin().delete(path)
    _put_once_closed(trial, "changed.bin", new)
    found = door.get(path)
    require(found != old, "the cache gives the bytes from before the change at the origin")
    require(found == new, f"the cache gives neither the old nor the new bytes: {difference(found, new)}")


def _put_once_closed(trial: Trial, name: str, data: bytes) -> None:
    """Write at the origin, and wait for as long as it says that the cache still has the file of this name open."""
    deadline = time.monotonic() + _CLOSES_WITHIN
    while True:
        try:
            trial.source.put(name, data)
        except StorageError as error:
            if error.status != _OPEN_ELSEWHERE or time.monotonic() > deadline:
                raise
            trial.note("waited", "for the cache to close the file")
            time.sleep(0.5)
        else:
            return
