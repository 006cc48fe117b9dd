"""Calibration from storage to storage beside the same bytes without it, and the action from its event to its product.

Storages are those of the contract tests, by https on loopback, their files in the folder that is given: server and
client share processors and memory, so that only ratios of one run say something.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "contract" / "dcache"))  # which brings what is in storage
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "contract" / "openwhisk"))

from dcache_rig import emulated
from openwhisk_emulator import GUEST
from openwhisk_emulator import running as openwhisk
from storage_rig import Authority, TokenIssuer, folder, running
from storage_servers import Site

from shared.calibration_data import THREADS, in_turn, of
from shared.calibration_files import JF, write_jungfrau
from shared.figures import show
from xdc_testbed.actions import deploy
from xdc_testbed.calibration import calibrate_file, calibrate_stream
from xdc_testbed.calibration.blocks import CONNECTIONS
from xdc_testbed.clients.openwhisk import OpenWhisk
from xdc_testbed.clients.remote_file import RemoteFile
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.demo.detector_data import CONSTANTS_FILE

RAW, OUT = "/data/raw/r0001/RAW-R0001-JNGFR01-S00000.h5", "/data/proc/r0001/CORR-R0001-JNGFR01-S00000.h5"
_RANGE = 6 << 20  # bytes: pixels and gain of a block of frames
_ROUNDS = 3


@dataclass(frozen=True)
class Storage:
    """A storage with the raw file and its constants. cal: these constants here."""

    kind: str
    url: str
    authority: Authority
    issuer: TokenIssuer
    cal: Path

    def dav(self) -> WebDav:
        """A client; its token is renewed."""
        return WebDav(self.url, ca_file=self.authority.ca, token=self.issuer.source().token)


@contextmanager
def storages(home: Path, frames: int) -> Iterator[Iterator[Storage]]:
    """XRootD, then the dCache emulator, one at a time, each with a raw file of so many frames of JUNGFRAU."""
    home.chmod(0o755)  # XRootD is another user
    before, tempfile.tempdir = tempfile.tempdir, str(home)
    try:
        with folder("pki") as pki, folder("issuer") as there:
            authority = Authority.make(pki)
            with (
                running(TokenIssuer(there, authority)) as issuer,
                closing(_each(home, frames, authority, issuer)) as each,
            ):
                yield each
    finally:
        tempfile.tempdir = before


def _each(home: Path, frames: int, authority: Authority, issuer: TokenIssuer) -> Generator[Storage, None, None]:
    with folder("site") as place, running(Site(place, authority, issuer, "SITE")) as site:
        yield _filled(Storage("XRootD", site.https, authority, issuer, home / "cal"), home, frames)
    with emulated(authority, issuer) as dcache:
        yield _filled(Storage("dCache emulator", dcache.webdav, authority, issuer, home / "cal"), home, frames)


def _filled(storage: Storage, home: Path, frames: int) -> Storage:
    with tempfile.TemporaryDirectory(dir=home) as name, storage.dav() as dav:
        raw, cal = write_jungfrau(Path(name), frames, chunked=True)
        if not storage.cal.exists():
            cal.rename(storage.cal)
        dav.put(RAW, raw)
        below = f"{JF.constants_folder}/{CONSTANTS_FILE}"
        dav.put(f"/data/cal/{below}", storage.cal / below)
        dav.head(RAW)  # the storage takes its checksum once, on nobody's time
    return storage


def streams(home: Path, frames: int) -> None:
    """From storage to storage: copied by ranges, calibrated as a stream, and calibrated by way of files."""
    with storages(home, frames) as each:
        for storage in each:
            with storage.dav() as dav:
                _streams(storage, dav, home)


def _streams(storage: Storage, dav: WebDav, home: Path) -> None:
    sent: list[int] = []

    def stream() -> None:
        def send(size: int, parts: Iterator[memoryview]) -> None:
            sent[:] = [size]
            dav.upload(OUT, size, parts)

        calibrate_stream(RemoteFile(dav, RAW), "CORR.h5", send, storage.cal, packed=home / "packed")

    def files() -> None:
        raw, out = home / "RAW-R0001-JNGFR01-S00000.h5", home / "CORR.h5"
        dav.receive(RAW, raw)
        calibrate_file(raw, out, storage.cal, packed=home / "packed")
        dav.put(OUT, out)
        raw.unlink()
        out.unlink()

    stream()
    taken = in_turn({"copy": lambda: _copied(dav, sent[0]), "stream": stream, "files": files}, _ROUNDS)
    size = RemoteFile(dav, RAW).size
    what = f"stream, {storage.kind}, {size >> 20} MiB in and {sent[0] >> 20} MiB out"
    show(f"{what}: copy without calibration", (size + sent[0]) / statistics.median(taken["copy"]) / 2**20, "MiB/s")
    show(f"{what}: of the copy", of(taken["copy"], taken["stream"]), "ratio")
    show(f"{what}: times the way by files in memory", of(taken["files"], taken["stream"]), "ratio")


def _copied(dav: WebDav, size: int) -> None:
    """Read the raw file by as many ranges at once as the calibration does, and upload as many bytes as it does."""
    raw = RemoteFile(dav, RAW)

    def read(at: int) -> memoryview:
        room = memoryview(bytearray(min(_RANGE, raw.size - at)))
        raw.read_into(at, room)
        return room

    def parts() -> Iterator[memoryview]:
        ahead: deque[Future[memoryview]] = deque()
        done = passed = 0
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for at in range(0, raw.size, _RANGE):
                ahead.append(pool.submit(read, at))
                while len(ahead) > CONNECTIONS + 2 * THREADS or (at + _RANGE >= raw.size and ahead):
                    data = ahead.popleft().result()
                    passed += len(data)
                    due = size * passed // raw.size - done  # more goes out than comes in
                    done += due
                    while due:
                        piece = data[:due]
                        yield piece
                        due -= len(piece)

    dav.upload(OUT, size, parts())


def action(home: Path, frames: int) -> None:
    """The action as OpenWhisk runs it: archive, container, token, constants, both streams, checksums, publishing."""
    with storages(home, frames) as each:
        for storage in each:
            with (
                folder("openwhisk") as place,
                openwhisk(place / "state", tables={"pool": {"memory": 4096}}) as platform,
            ):
                assert deploy.main(["--config", str(_configuration(storage, platform, place))]) == 0
                with OpenWhisk(platform.url, GUEST) as whisk:
                    _action(storage, whisk)


def _action(storage: Storage, whisk: OpenWhisk) -> None:
    with storage.dav() as dav:
        raw = RemoteFile(dav, RAW)
        event = {
            "id": "e",
            "type": "org.xdc.storage.file.written.v1",
            "subject": RAW,
            "data": {"endpoint": "storage", "size": raw.size, "checksums": {"adler32": raw.adler32}},
        }
        spans = [_one(dav, whisk, event) for _ in range(1 + _ROUNDS)]
        for what, some in (("cold", spans[:1]), ("warm", spans[1:])):
            opening, moving, ending = (statistics.median(span) for span in zip(*some, strict=True))
            share = statistics.median(span[1] / sum(span) for span in some)
            name = f"action, {storage.kind}, {raw.size >> 20} MiB, {what}"
            show(f"{name}: event to corrected file", statistics.median(map(sum, some)), "s")
            show(f"{name}: until the first frame", opening, "s")
            show(f"{name}: computing and moving bytes", moving, "s")
            show(f"{name}: last bytes, checksum by the storage, publishing", ending, "s")
            show(f"{name}: share of computing and moving bytes", share, "ratio", at_least=0.5)


def _one(dav: WebDav, whisk: OpenWhisk, event: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds of one activation: until the first frame is read, until the last one is corrected, until all is there."""
    for path in (OUT, f"{OUT}.manifest.json"):
        if dav.exists(path):
            dav.delete(path)
    begun = time.time()
    record = whisk.wait(whisk.start("xdc/calibrate", {"event": event, "work_id": f"{begun:.6f}"}), 300)
    if record.error or not isinstance(record.result, dict):
        raise RuntimeError(f"{record.status}: {record.error}")
    times = record.result["times"]
    return times["opened"] - begun, times["calibrated"] - times["opened"], times["published"] - times["calibrated"]


def _configuration(storage: Storage, platform: Any, place: Path) -> Path:
    (place / "secret").write_text("interop-secret")
    config = place / "actions.toml"
    config.write_text(
        f"""
api_host = "{platform.url}"
auth_file = "{platform.folder}/guest.auth"
ca_file = "{storage.authority.ca}"
[token]
issuer = "{storage.issuer.url}"
client_id = "interop"
client_secret_file = "{place}/secret"
[endpoints.storage]
https = "{storage.url}"
[limits.calibrate]
memory = 512
time_limit = 300
"""
    )
    return config
