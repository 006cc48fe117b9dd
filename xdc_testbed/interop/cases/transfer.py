"""Upload and download by a client: bytes, sizes, ranges, replacing, and what a broken upload leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from xdc_testbed.interop.capabilities import GET, PUT, RANGE
from xdc_testbed.interop.outcome import require
from xdc_testbed.interop.place import difference
from xdc_testbed.interop.registry import KIB, MIB, Scope, case
from xdc_testbed.interop.trial import Trial

SIZES = (0, 1, MIB, 16 * MIB)
_RANGED = MIB + 70_001  # bytes: more than one block of a cache, and no multiple of anything


@case(
    "transfer.put-get",
    "Upload and download",
    needs=(GET, PUT),
    protocols=("https", "root"),
    credentials=("token", "x509"),
    sizes=SIZES,
)
def put_get(trial: Trial) -> None:
    """What is written is read back byte by byte, and its size is told right."""
    data = trial.content()
    door, path = trial.door(trial.source), trial.source.file("payload.bin")
    door.put(path, data)
    found = door.get(path)
    require(found == data, f"read back other bytes: {difference(found, data)}")
    told = door.size(path)
    require(told == len(data), f"tells a size of {told} bytes for {len(data)}")


@case("transfer.new-file-status", "A new file is answered with 201", needs=(PUT,))
def new_file_status(trial: Trial) -> None:
    """PUT of a file that was not there is answered with 201 Created (RFC 9110, section 9.3.4)."""
    path = trial.source.file("new.bin")
    answer = trial.source.place.wire(trial.cell.credential).request("PUT", path, body=b"new")
    trial.note("status", answer.status)
    require(200 <= answer.status < 300, f"PUT was refused: HTTP {answer.status}: {answer.text}")
    require(answer.status == 201, f"PUT of a new file is answered with {answer.status}, not 201")


@case("transfer.overwrite", "Replace a file by a shorter one", needs=(GET, PUT), protocols=("https", "root"))
def overwrite(trial: Trial) -> None:
    """Nothing of the longer, older content is left, neither in the bytes nor in the size."""
    door, path = trial.door(trial.source), trial.source.file("replaced.bin")
    door.put(path, trial.content(96 * KIB, "old"))
    new = trial.content(64 * KIB, "new")
    door.put(path, new)
    found = door.get(path)
    require(found == new, f"the replaced file has other bytes: {difference(found, new)}")


@case(
    "transfer.parents",
    "Upload into a directory that is not there",
    needs=(GET, PUT),
    protocols=("https", "root"),
)
def parents(trial: Trial) -> None:
    """Missing parents are made, as the WLCG profile lets a writer expect."""
    door, path = trial.door(trial.source), trial.source.file("one/two/three.bin")
    data = trial.content(100)
    door.put(path, data)
    require(door.get(path) == data, "the file in the new directory has other bytes")


@case("transfer.concurrent-readers", "Eight readers of one file", needs=(GET,), protocols=("https",))
def concurrent_readers(trial: Trial) -> None:
    """Everyone of eight clients that read at the same time gets the same, right bytes."""
    data = trial.content(MIB)
    path = trial.source.put("shared.bin", data)
    door = trial.door(trial.source)
    with ThreadPoolExecutor(8) as readers:
        found = list(readers.map(door.get, [path] * 8))
    wrong = sum(one != data for one in found)
    require(wrong == 0, f"{wrong} of 8 readers got other bytes")


@case(
    "transfer.streamed",
    "Copy through the client",
    scope=Scope.PAIR,
    needs=(GET,),
    destination_needs=(GET, PUT),
    protocols=("https", "root"),
    credentials=("token", "x509"),
)
def streamed(trial: Trial) -> None:
    """A file read from the source and written to the destination is the same at both."""
    data = trial.content()
    origin = trial.source.put("payload.bin", data)
    found = trial.door(trial.source).get(origin)
    require(found == data, f"read other bytes from {trial.source.id}: {difference(found, data)}")
    copy = trial.destination.file("payload.bin")
    trial.door(trial.destination).put(copy, found)
    trial.destination.require_content(copy, data)


@case("transfer.aborted-upload", "An upload that breaks off leaves nothing", needs=(PUT,))
def aborted_upload(trial: Trial) -> None:
    """The client announces 1 MiB, sends half of it and drops the connection: no truncated file stays."""
    path = trial.source.file("broken.bin")
    trial.source.place.wire(trial.cell.credential).cut_upload(path, trial.content(MIB // 2), MIB)
    if _within(trial, 2.0, lambda: trial.source.exists(path)):
        trial.note("removed", _within(trial, 5.0, lambda: not trial.source.exists(path)))
    trial.source.require_absent(path, "an upload that was cut off half way")


_RANGES: dict[str, tuple[str, slice]] = {
    "first byte": ("0-0", slice(0, 1)),
    "middle": ("1000-1999", slice(1000, 2000)),
    "across 1 MiB": (f"{MIB - 10}-{MIB + 9}", slice(MIB - 10, MIB + 10)),
    "last byte": (f"{_RANGED - 1}-{_RANGED - 1}", slice(_RANGED - 1, _RANGED)),
    "suffix": ("-10", slice(_RANGED - 10, _RANGED)),
    "open end": (f"{_RANGED - 100}-", slice(_RANGED - 100, _RANGED)),
    "end past the file": (f"{_RANGED - 5}-{_RANGED + 100}", slice(_RANGED - 5, _RANGED)),
}


@case("transfer.range", "Read a part of a file", needs=(GET, RANGE), variants=_RANGES)
def one_range(trial: Trial) -> None:
    """One range is answered with 206, the right Content-Range and just these bytes (RFC 9110, section 14)."""
    asked, wanted = _RANGES[trial.cell.variant or ""]
    data = trial.content(_RANGED)
    path = trial.source.put("ranged.bin", data)
    answer = trial.source.place.wire(trial.cell.credential).request("GET", path, {"Range": f"bytes={asked}"})
    trial.note("status", answer.status)
    trial.note("content-range", answer.headers.get("content-range"))
    require(answer.status == 206, f"bytes={asked} is answered with {answer.status}, not 206")
    require(
        answer.body == data[wanted],
        f"bytes={asked}: {len(answer.body)} bytes that are not the ones asked for",
    )
    told = answer.headers.get("content-range", "")
    right = f"bytes {wanted.start}-{wanted.stop - 1}/{_RANGED}"
    require(told == right, f"Content-Range is {told or 'not sent'} instead of {right}")


@case("transfer.range-beyond-end", "A range behind the end is refused", needs=(GET, RANGE))
def range_beyond_end(trial: Trial) -> None:
    """A range that begins behind the last byte is answered with 416 (RFC 9110, section 15.5.17)."""
    path = trial.source.put("short.bin", trial.content(1000))
    answer = trial.source.place.wire(trial.cell.credential).request("GET", path, {"Range": "bytes=1000-1009"})
    trial.note("status", answer.status)
    require(answer.status == 416, f"a range behind the end is answered with {answer.status}, not 416")


@case("transfer.two-ranges", "Read two parts of a file at once", needs=(GET, RANGE))
def two_ranges(trial: Trial) -> None:
    """Two ranges come as multipart/byteranges with both parts, or as the whole file (RFC 9110, section
    14.6).
    """
    data = trial.content(10_000)
    path = trial.source.put("ranged.bin", data)
    answer = trial.source.place.wire(trial.cell.credential).request("GET", path, {"Range": "bytes=0-99,5000-5099"})
    trial.note("status", answer.status)
    trial.note("content-type", answer.headers.get("content-type"))
    if answer.status == 200:
        require(answer.body == data, "answers two ranges with 200, and not with the whole file")
        return
    require(answer.status == 206, f"two ranges are answered with {answer.status}")
    kind = answer.headers.get("content-type", "")
    require(kind.startswith("multipart/byteranges"), f"two ranges come as {kind or 'no type'}")
    for part in (data[0:100], data[5000:5100]):
        require(part in answer.body, "one of the two parts is not in the answer")


def _within(trial: Trial, seconds: float, reached: Callable[[], bool]) -> bool:
    """Ask until something is reached, at most for these seconds or to the case's deadline."""
    pause = threading.Event()
    waited = 0.0
    while not reached():
        if waited >= seconds or trial.left() < 1.0:
            return False
        pause.wait(0.2)
        waited += 0.2
    return True
