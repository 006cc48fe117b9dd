"""Directories and names: listing, status, making, moving, removing, and names that need quoting."""

from __future__ import annotations

import time

from xdc_testbed.clients import multistatus
from xdc_testbed.clients.errors import NotFound, StorageError
from xdc_testbed.interop.capabilities import DELETE, GET, MOVE, PUT
from xdc_testbed.interop.outcome import Wrong, require
from xdc_testbed.interop.place import difference
from xdc_testbed.interop.registry import case
from xdc_testbed.interop.trial import Trial

_CLOCKS = 120.0  # seconds that the clocks of client and storage may be apart

NAMES = {
    "space": "two words.dat",
    "percent": "100%.dat",
    "looks quoted": "a%20b%2Fc.dat",
    "plus": "a+b.dat",
    "hash": "a#b.dat",
    "question mark": "a?b=c.dat",
    "ampersand": "a&b=c;d.dat",
    "quotes": 'it\'s "so".dat',
    "brackets": "a[1]{2}(3).dat",
    "hidden": ".hidden",
    "unicode": "Grüße-データ-µ.dat",
    "200 characters": "n" * 196 + ".dat",
}


@case(
    "namespace.name",
    "Names that need quoting",
    needs=(GET, PUT),
    protocols=("https", "root"),
    variants=NAMES,
)
def odd_name(trial: Trial) -> None:
    """A file with this name is written, listed under exactly this name, read back, and removed."""
    name = NAMES[trial.cell.variant or ""]
    door, path = trial.door(trial.source), trial.source.file(name)
    data = trial.content(1000)
    door.put(path, data)
    found = door.get(path)
    require(found == data, f"{name!r} reads back other bytes: {difference(found, data)}")
    wire = trial.source.place.wire("token")
    document = wire.request("PROPFIND", trial.source.path, {"Depth": "1"})
    listed = [entry.name for entry in multistatus.parse(document.body) if entry.path != trial.source.path]
    door.delete(path)
    require(not trial.source.exists(path), f"{name!r} is still there after it was removed")
    require(listed == [name], f"{name!r} is listed as {listed}")


@case("namespace.list", "List a directory", needs=(PUT,), credentials=("token", "x509"))
def listing(trial: Trial) -> None:
    """A listing holds every file with its size, every directory as one, and nothing else."""
    door = trial.source.place.webdav(trial.cell.credential)
    sizes = {"empty.bin": 0, "one.bin": 1, "some.bin": 4097}
    for name, size in sizes.items():
        trial.source.put(name, trial.content(size, name))
    door.mkcol(f"{trial.source.path}/inner")
    entries = {entry.name: entry for entry in door.list(trial.source.path)}
    require(set(entries) == {*sizes, "inner"}, f"lists {sorted(entries)}")
    require(entries["inner"].is_directory, "lists a directory as a file")
    told = {name: entries[name].size for name in sizes}
    require(told == sizes, f"lists the sizes {told} instead of {sizes}")


@case(
    "namespace.stat",
    "Size and time of a file",
    needs=(GET,),
    protocols=("https",),
    credentials=("token", "x509"),
)
def stat(trial: Trial) -> None:
    """HEAD tells the size, and a time of last change that is now."""
    path = trial.source.put("file.bin", trial.content(12_345))
    found = trial.source.place.webdav(trial.cell.credential).head(path, digest=None)
    require(found.size == 12_345, f"tells {found.size} bytes for 12345")
    if found.mtime is None:
        raise Wrong("tells no time of last change")
    apart = abs(found.mtime - time.time())
    require(apart < _CLOCKS, f"tells a time of last change that is {apart:.0f} s from now")


@case(
    "namespace.missing",
    "What is not there is answered with 404",
    needs=(GET,),
    variants=("GET", "HEAD", "PROPFIND"),
)
def missing(trial: Trial) -> None:
    """Reading, asking for and listing a path that is not there is answered with 404, not with 403 or 500."""
    method = trial.cell.variant or ""
    answer = trial.source.place.wire(trial.cell.credential).request(
        method, f"{trial.source.path}/nothing.bin", {"Depth": "1"} if method == "PROPFIND" else {}
    )
    trial.note("status", answer.status)
    require(answer.status == 404, f"{method} of a missing path is answered with {answer.status}, not 404")


@case(
    "namespace.delete",
    "Remove a file",
    needs=(GET, PUT, DELETE),
    protocols=("https", "root"),
    credentials=("token", "x509"),
)
def delete(trial: Trial) -> None:
    """A removed file is gone for every door, and cannot be removed again."""
    door, path = trial.door(trial.source), trial.source.put("doomed.bin", trial.content(100))
    door.delete(path)
    require(not trial.source.exists(path), "is still there after it was removed")
    try:
        trial.source.place.admin().get(path)
    except NotFound:
        pass
    else:
        raise Wrong("a removed file can be read")
    try:
        door.delete(path)
    except NotFound:
        return
    raise Wrong("a removed file can be removed again")


@case("namespace.make-again", "A directory cannot be made twice", needs=(PUT,))
def make_again(trial: Trial) -> None:
    """MKCOL of what is there is answered with 405 (RFC 4918, section 9.3.1)."""
    path = f"{trial.source.path}/inner"
    trial.source.place.admin().mkcol(path)
    answer = trial.source.place.wire(trial.cell.credential).request("MKCOL", path)
    trial.note("status", answer.status)
    require(answer.status >= 400, f"making a directory twice is answered with {answer.status}")
    require(answer.status == 405, f"making a directory twice is answered with {answer.status}, not 405")


@case("namespace.move", "Rename a file", needs=(GET, PUT, MOVE), credentials=("token", "x509"))
def move(trial: Trial) -> None:
    """The content is at the new name with its checksum, and nothing is at the old one."""
    data = trial.content()
    old, new = trial.source.put("old.bin", data), trial.source.file("new.bin")
    trial.source.place.webdav(trial.cell.credential).move(old, new)
    trial.source.require_content(new, data)
    require(not trial.source.exists(old), "the old name is still there after the move")


@case("namespace.move-onto", "Renaming does not replace when told so", needs=(GET, PUT, MOVE))
def move_onto(trial: Trial) -> None:
    """MOVE with `Overwrite: F` onto a file is refused with 412, and both files stay (RFC 4918, section
    9.9.4).
    """
    first, second = trial.content(100, "first"), trial.content(200, "second")
    old, new = trial.source.put("old.bin", first), trial.source.put("new.bin", second)
    try:
        trial.source.place.webdav(trial.cell.credential).move(old, new, overwrite=False)
    except StorageError as refusal:
        trial.note("status", refusal.status)
        trial.source.require_content(old, first)
        trial.source.require_content(new, second)
        require(
            refusal.status == 412,
            f"MOVE with Overwrite: F onto a file is refused with {refusal.status}, not 412",
        )
        return
    raise Wrong("MOVE with Overwrite: F replaced a file")
