"""Raw data on a storage is corrected to a file on a storage, and no part of either is ever a file here."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from corrected_run import pixels
from extra_data.validation import FileAccess, FileValidator
from stream_rig import Server

from xdc_testbed.actions.storage import Storage
from xdc_testbed.actions.streams import calibrate_onto
from xdc_testbed.calibration import (
    CalibrationManifest,
    InputChanged,
    InputTruncated,
    Parameters,
    blocks,
    calibrate_stream,
)
from xdc_testbed.calibration.streamed_file import StreamedFile
from xdc_testbed.clients import digests
from xdc_testbed.clients.errors import StorageDenied, StorageError, Unreachable
from xdc_testbed.clients.remote_file import RemoteFile
from xdc_testbed.clients.webdav import WebDav

JF, AG = "JNGFR01-S00000", "AGIPD00-S00000"
LAYOUTS: dict[str, dict[str, object]] = {
    "contiguous": {},
    "chunked": {"chunks": True},
    "compressed": {"chunks": True, "compression": "gzip"},
}


@pytest.fixture
def dav(server: Server) -> Iterator[WebDav]:
    with server.dav() as client:
        yield client


def stored(raw: Path, folder: Path, layout: str) -> Path:
    """The raw file with its pixels stored so."""
    path = folder / raw.name
    path.write_bytes(raw.read_bytes())
    with h5py.File(path, "r+") as file:
        for where in (
            "INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data/adc",
            "INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data/gain",
            "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/0CH0:xtdf/image/data",
        ):
            if where in file:
                values, how = file[where][...], dict(LAYOUTS[layout])
                del file[where]
                if "chunks" in how:
                    how["chunks"] = (1, *values.shape[1:])
                file.create_dataset(where, data=values, **how)
    return path


def corrected(dav: WebDav, raw: str, out: str, run: Path) -> CalibrationManifest:
    return calibrate_stream(
        RemoteFile(dav, raw),
        out.rpartition("/")[2],
        lambda size, parts: dav.upload(out, size, parts),
        run / "cal",
        packed=run / "packed",
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [JF, AG])
def test_the_pixels_are_those_of_the_local_way(
    dav: WebDav, place: str, run: Path, tmp_path: Path, name: str, layout: str
) -> None:
    raw, out = f"{place}/RAW-R0001-{name}.h5", f"{place}/CORR-R0001-{name}.h5"
    dav.put(raw, stored(run / "raw" / "r0001" / f"RAW-R0001-{name}.h5", tmp_path, layout))
    (outcome,) = corrected(dav, raw, out, run).files
    here = tmp_path / f"CORR-R0001-{name}.h5"
    dav.download(out, here)
    assert pixels(here) == pixels(run / "proc" / here.name)
    assert FileValidator(FileAccess(here)).run_checks() == []
    assert outcome.output is not None
    assert dav.head(out).checksums["adler32"] == outcome.output.adler32 == digests.adler32_of_file(here)
    assert dav.head(raw).checksums["adler32"] == outcome.input.adler32


def test_a_range_is_read_wherever_it_lies(dav: WebDav, place: str) -> None:
    data = bytes(range(256)) * 500
    dav.put(f"{place}/file", data)
    file = RemoteFile(dav, f"{place}/file")
    for at, size in ((0, 1), (0, len(data)), (77, 70_000), (len(data) - 1, 1)):
        room = bytearray(size)
        file.read_into(at, memoryview(room))
        assert room == data[at : at + size]
    assert file.unchanged()


def test_a_range_beyond_the_end_is_an_error(dav: WebDav, place: str) -> None:
    dav.put(f"{place}/file", b"short")
    with pytest.raises((StorageError, Unreachable)):  # XRootD promises bytes and then closes
        RemoteFile(dav, f"{place}/file").read_into(3, memoryview(bytearray(9)))


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_parts_become_a_file(dav: WebDav, place: str, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    dav.upload(f"{place}/file", size, (data[at : at + 70_001] for at in range(0, size, 70_001)))
    assert dav.get(f"{place}/file") == data


def test_a_raw_file_that_is_replaced_while_it_is_read_is_named(dav: WebDav, place: str, run: Path) -> None:
    raw, out = f"{place}/RAW-R0001-{JF}.h5", f"{place}/CORR-R0001-{JF}.h5"
    content = (run / "raw" / "r0001" / f"RAW-R0001-{JF}.h5").read_bytes()
    dav.put(raw, content)

    def send(size: int, parts: Iterator[memoryview]) -> None:
        dav.delete(raw)
        dav.put(raw, content[:-1] + b"?")
        dav.upload(out, size, parts)

    with pytest.raises(InputChanged):
        calibrate_stream(RemoteFile(dav, raw), "CORR.h5", send, run / "cal", packed=run / "packed")


def test_a_raw_file_that_is_cut_off_sends_nothing(dav: WebDav, place: str, run: Path) -> None:
    raw, out = f"{place}/RAW-R0001-{JF}.h5", f"{place}/CORR-R0001-{JF}.h5"
    dav.put(raw, (run / "raw" / "r0001" / f"RAW-R0001-{JF}.h5").read_bytes()[:-100])
    with pytest.raises(InputTruncated, match="input is truncated"):
        corrected(dav, raw, out, run)
    assert not dav.exists(out)


def test_a_token_that_may_only_read_is_refused_before_a_pixel_is_sent(
    server: Server, dav: WebDav, place: str, run: Path
) -> None:
    raw, out = f"{place}/RAW-R0001-{JF}.h5", f"{place}/CORR-R0001-{JF}.h5"
    dav.put(raw, run / "raw" / "r0001" / f"RAW-R0001-{JF}.h5")
    taken: list[int] = []

    def send(size: int, parts: Iterator[memoryview]) -> None:
        reader.upload(out, size, (taken.append(len(part)) or part for part in parts))

    with server.dav("storage.read:/") as reader, pytest.raises(StorageDenied):
        calibrate_stream(RemoteFile(reader, raw), "CORR.h5", send, run / "cal", packed=run / "packed")
    assert taken == []
    assert not dav.exists(out)


@pytest.mark.parametrize("when", [0, 3])
def test_a_server_that_dies_ends_the_upload_by_name_and_has_nothing_under_the_name(
    server: Server, dav: WebDav, place: str, run: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    whole = StreamedFile.content

    def dying(self: StreamedFile, given: Iterator[blocks.Block]) -> Iterator[memoryview]:
        for number, part in enumerate(whole(self, given)):
            if number == when:
                server.stop()
            yield part

    monkeypatch.setattr(blocks, "STREAM_BLOCK_BYTES", 1)
    monkeypatch.setattr(StreamedFile, "content", dying)
    raw, out = run / "raw" / "r0001" / f"RAW-R0001-{JF}.h5", f"{place}/CORR-R0001-{JF}.h5"
    try:
        with pytest.raises(Unreachable):
            calibrate_onto(Storage(dav), out, f"{out}.part-1", raw, run / "cal", parameters=Parameters())
    finally:
        server.start()
    assert not dav.exists(out)


KILLED = """
import os, signal, sys
from pathlib import Path
from xdc_testbed.actions.storage import Storage
from xdc_testbed.actions.streams import calibrate_onto
from xdc_testbed.calibration import Parameters, blocks
from xdc_testbed.calibration.streamed_file import StreamedFile
from xdc_testbed.clients.webdav import WebDav
url, ca, token, raw, out, cal = sys.argv[1:]
blocks.STREAM_BLOCK_BYTES, whole = 1, StreamedFile.content
def some(self, given):
    for number, part in enumerate(whole(self, given)):
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield part
StreamedFile.content = some
dav = WebDav(url, ca_file=ca, token=lambda: token)
calibrate_onto(Storage(dav), out, out + ".part-1", Path(raw), Path(cal), parameters=Parameters())
"""


def test_a_process_that_is_killed_leaves_nothing_under_the_name(
    server: Server, dav: WebDav, place: str, run: Path
) -> None:
    raw, out = run / "raw" / "r0001" / f"RAW-R0001-{JF}.h5", f"{place}/CORR-R0001-{JF}.h5"
    token = server.issuer.source("interop").token()
    words = [server.url, str(server.ca), token, str(raw), out, str(run / "cal")]
    ended = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert not dav.exists(out)
    calibrate_onto(Storage(dav), out, f"{out}.part-2", raw, run / "cal", parameters=Parameters())
    assert dav.exists(out)


PEAK = """
import sys
from pathlib import Path
from xdc_testbed.calibration import blocks, calibrate_stream
from xdc_testbed.clients.remote_file import RemoteFile
from xdc_testbed.clients.webdav import WebDav
url, ca, token, raw, out, cal = sys.argv[1:]
dav = WebDav(url, ca_file=ca, token=lambda: token)
calibrate_stream(RemoteFile(dav, raw), "CORR.h5", lambda n, parts: dav.upload(out, n, parts), Path(cal))
print(*(w.split()[1] for w in Path("/proc/self/status").read_text().splitlines() if w.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_file(
    server: Server, dav: WebDav, place: str, write_frames: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    peaks = []
    for frames in (64, 256):  # 96 and 384 MiB
        raw = write_frames(tmp_path / str(frames), frames)
        dav.put(f"{place}/{raw.name}", raw)
        token = server.issuer.source("interop").token()
        words = [server.url, str(server.ca), token, f"{place}/{raw.name}", f"{place}/out-{frames}"]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words, str(raw.parent / "cal")], check=True, capture_output=True, timeout=120
        )
        peaks.append(int(done.stdout))
        raw.unlink()
        for path in (f"{place}/{raw.name}", f"{place}/out-{frames}"):
            dav.delete(path)
    assert peaks[1] - peaks[0] < 64 << 10  # KiB, of 288 MiB more in and 390 MiB more out
