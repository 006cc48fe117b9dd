"""How fast calibration is beside what memory and files allow, and beside its peers: one JSON line per figure.

    python benchmarks/calibration.py [--folder FOLDER] [--frames N] [--trains N] [--only SECTION ...]

Every ratio is the median over seven rounds in which limit and variants take turns, two threads each. A limit moves the
same bytes without the work: read u2 and stream f4; for AGIPD 13 bytes per pixel; for files, read and write the same
volumes at the same offsets. FOLDER (default /dev/shm) is where files lie; what it takes is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
from shared import stream_figures
from shared.calibration_data import ROUNDS, THREADS, Limits, aligned, constants, in_turn, of
from shared.calibration_files import write_agipd, write_agipd_constants, write_jungfrau
from shared.calibration_peers import jungfrau_peers, numba_peers
from shared.figures import show
from shared.plot import drawn

from xdc_testbed.calibration import (
    Parameters,
    agipd,
    calibrate_file,
    calibrate_run,
    engine,
    jungfrau,
    native,
    packed,
)
from xdc_testbed.calibration.constants import fold
from xdc_testbed.calibration.corrected_file import CorrectedFile
from xdc_testbed.calibration.detectors import AGIPD, JUNGFRAU
from xdc_testbed.calibration.frames import Frames, Place
from xdc_testbed.calibration.inputs import opened
from xdc_testbed.calibration.native import files as native_files
from xdc_testbed.calibration.pixels import Corrected, Pixels

JF_FRAME, AGIPD_FRAME = JUNGFRAU.frame, AGIPD.frame
CELLS = 352


def main() -> None:
    """Measure what is asked for, in the order of the list."""
    sections = {
        "jungfrau": jungfrau_memory,
        "agipd": agipd_memory,
        "files": files,
        "cold": cold,
        "scaling": scaling,
        "streams": streams,
        "action": action,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))  # noqa: S108 - memory, not the disk
    parser.add_argument("--frames", type=int, default=512, help="of JUNGFRAU in memory")
    parser.add_argument("--in-files", type=int, default=688, help="of JUNGFRAU in a raw file; 688 are 1 GiB")
    parser.add_argument("--trains", type=int, default=16, help="of AGIPD, 352 frames each")
    parser.add_argument("--only", nargs="*", choices=list(sections), default=list(sections))
    parser.add_argument("--plot", type=Path, help="SVG file for the section scaling")
    given = parser.parse_args()
    os.environ["XDC_THREADS"] = str(THREADS)
    chosen = engine.choose()
    print(f"{chosen}; {platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name in given.only:
        started = time.monotonic()
        sections[name](given)
        print(f"({name}: {time.monotonic() - started:.0f} s)")


def run(streaming: bool = True) -> native.Run:
    return native.Run(THREADS, native.instructions(), streaming=streaming)


def jungfrau_memory(given: argparse.Namespace) -> None:
    """u2 with gain bits to f4, in memory."""
    frames = given.frames
    raw, energy = aligned((frames, *JF_FRAME), np.uint16), aligned((frames, *JF_FRAME), np.float32)
    module = constants(1, JF_FRAME, thresholds=False)
    planes = native.Planes(module.offset, module.factor, module.bad)
    coding, cells = JUNGFRAU.coding_for(Parameters(), in_word=True), np.zeros(frames, np.int64)
    by_numba, _ = numba_peers()
    flat = (raw.reshape(frames, -1), module.offset[0].reshape(3, -1), module.factor[0].reshape(3, -1))
    few = min(frames, 16)
    pixels, out = Pixels(raw[:few], None, cells[:few]), Corrected.empty((few, *JF_FRAME))
    limits = Limits()
    for label, switched, goal in (("1 % switched", (0.01, 0.0), 0.80), ("gains 60/30/10", (0.3, 0.1), 0.75)):
        _fill(raw, *switched)
        peers = jungfrau_peers(raw, module, energy)
        taken = in_turn(
            {
                "limit": lambda: limits.widen(raw, energy),
                "native": lambda: native.correct(raw, None, cells, planes, coding, energy=energy, how=run()),
                "numba": lambda: by_numba(*flat, energy.reshape(frames, -1)),
                **peers,
            }
        )
        numpy = in_turn({"reference": lambda: jungfrau.correct(pixels, module, Parameters(), out)}, 3)["reference"]
        show(f"jungfrau, {label}: limit", raw.nbytes / statistics.median(taken["limit"]) / 2**30, "GiB/s raw")
        show(f"jungfrau, {label}: of the limit", of(taken["limit"], taken["native"]), "ratio", at_least=goal)
        show(f"jungfrau, {label}: times numba", of(taken["numba"], taken["native"]), "ratio", at_least=3)
        for peer in peers:
            show(f"jungfrau, {label}: times {peer}", of(taken[peer], taken["native"]), "ratio")
        per_frame = statistics.median(taken["native"]) / frames
        show(f"jungfrau, {label}: times numpy", statistics.median(numpy) / few / per_frame, "ratio", at_least=15)


def _fill(raw: Any, medium: float, low: float) -> None:
    """Random values and gain bits; eight frames that repeat."""
    rng = np.random.default_rng(3)
    for i in range(8):
        part = rng.integers(3900, 5000, JF_FRAME).astype(np.uint16)
        chance = rng.random(JF_FRAME)
        part[chance < medium + low] |= 0x4000
        part[chance < low] |= 0xC000
        raw[i::8] = part


def agipd_memory(given: argparse.Namespace) -> None:
    """All products in memory, 352 cells; then with common mode and re-classing."""
    frames = CELLS * given.trains
    raw = aligned((frames, 2, *AGIPD_FRAME), np.uint16)
    rng = np.random.default_rng(5)
    for i in range(8):
        raw[i::8, 0] = rng.normal(4010, 25, AGIPD_FRAME)
        raw[i::8, 1] = np.where(rng.random(AGIPD_FRAME) < 0.01, 6000, 4500)
    energy, mask = aligned((frames, *AGIPD_FRAME), np.float32), aligned((frames, *AGIPD_FRAME), np.uint32)
    stage = aligned((frames, *AGIPD_FRAME), np.uint8)
    module = fold(constants(CELLS, AGIPD_FRAME, thresholds=True), adaptive=True)
    assert module.thresholds is not None
    planes = native.Planes(module.offset, module.factor, module.bad, module.thresholds)
    cells = np.arange(frames) % CELLS
    coding = AGIPD.coding_for(Parameters(), in_word=False)
    _, by_numba = numba_peers()

    def flat(values: Any) -> Any:
        return values.reshape(*values.shape[:-2], -1)

    peer = [flat(a) for a in (raw, module.offset, module.factor, module.bad, module.thresholds, energy, mask, stage)]
    peer.insert(1, cells)
    shift = native.CommonMode(64, 64, 4, Parameters().least_dark(64 * 64), 30.0)

    def correct(**more: Any) -> None:
        native.correct(
            raw[:, 0], raw[:, 1], cells, planes, coding, energy=energy, mask=mask, stage=stage, how=run(), **more
        )

    limits = Limits()
    block, rounds = 64 * AGIPD_FRAME[1], shift.rounds + 1
    taken = in_turn(
        {
            "limit": lambda: limits.pair(raw, energy, mask, stage),
            "native": correct,
            "rounds": lambda: limits.rounds(raw, energy, mask, stage, block, rounds),
            "common mode": lambda: correct(common_mode=shift, force=(1000.0, 1000.0)),
        },
        5,
    )
    beside = in_turn({"native": correct, "numba": lambda: by_numba(*peer)}, 3)
    few, out = Pixels(raw[:8, 0], raw[:8, 1], cells[:8]), Corrected(energy, stage, mask)[:8]
    reference = {"numpy": lambda: agipd.correct(few, module, Parameters(), out)}
    numpy = statistics.median(in_turn(reference, 3)["numpy"]) / 8
    show(
        "agipd, 352 cells: limit, 13 bytes per pixel",
        statistics.median(taken["limit"]) / given.trains * 1e3,
        "ms/train",
    )
    show("agipd, 352 cells: native", statistics.median(taken["native"]) / given.trains * 1e3, "ms/train")
    show("agipd, 352 cells: of the limit", of(taken["limit"], taken["native"]), "ratio", at_least=0.80)
    show("agipd, 352 cells: times numba", of(beside["numba"], beside["native"]), "ratio", at_least=4)
    show("agipd, 352 cells: times numpy", numpy * frames / statistics.median(taken["native"]), "ratio")
    show(
        f"agipd, common mode and re-classing: its limit, 13 bytes per pixel and {rounds} passes in the cache",
        statistics.median(taken["rounds"]) / given.trains * 1e3,
        "ms/train",
    )
    show(
        "agipd, common mode and re-classing: of its limit",
        of(taken["rounds"], taken["common mode"]), "ratio", at_least=0.6,
    )  # fmt: skip


def files(given: argparse.Namespace) -> None:
    """Raw file to corrected file, contiguous and chunked; reading; deflate; a peer that uses EXtra-data."""
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="xdc-bench-") as name:
        home = Path(name)
        for layout in ("contiguous", "chunked"):
            raw, cal = write_jungfrau(home / layout, given.in_files, chunked=layout == "chunked")
            _file_to_file(layout, raw, cal, home)
        _reading(raw, given.in_files)
        _extra_data(raw, home)
        raw.unlink()
        _memory(home, (128, 512))


def _file_to_file(layout: str, raw: Path, cal: Path, home: Path) -> None:
    """With default settings: flags deflated, checksums of both files in the manifest. Each variant makes a new file."""
    out = home / "CORR-R0001-JNGFR01-S00000.h5"

    def whole() -> None:
        calibrate_file(raw, out, cal, packed=home / "packed")

    whole()
    size = out.stat().st_size
    variants = {"limit": lambda: _copy_volume(raw, out, size), "correct": whole, "without flags": _without_flags(whole)}
    taken = in_turn(variants, before=lambda: out.unlink(missing_ok=True))
    show(f"file to file, {layout}: read and write without compute", statistics.median(taken["limit"]), "s")
    show(f"file to file, {layout}: of the limit", of(taken["limit"], taken["correct"]), "ratio", at_least=0.90)
    added = 100 * (of(taken["correct"], taken["without flags"]) - 1)
    show(f"file to file, {layout}: deflate of mask and gain adds", added, "%", at_most=10)


def _without_flags(work: Callable[[], None]) -> Callable[[], None]:
    """The same, but that flags are neither deflated nor stored."""

    def without() -> None:
        with (
            mock.patch.object(native_files, "correct", partial(native_files.correct, flags=False)),
            mock.patch.object(CorrectedFile, "write_flags"),
        ):
            work()

    return without


def _memory(home: Path, frames: tuple[int, int]) -> None:
    """Peak memory of a process that corrects one file, for two lengths of the file."""
    peaks = []
    code = (
        "import sys; from pathlib import Path; from xdc_testbed.calibration import calibrate_file as c; "
        "raw, out, cal, packed = map(Path, sys.argv[1:]); c(raw, out, cal, packed=packed); "
        "print(*(w.split()[1] for w in Path('/proc/self/status').read_text().splitlines() if w.startswith('VmHWM')))"
    )
    for number in frames:
        raw, cal = write_jungfrau(home / f"memory-{number}", number, chunked=True)
        words = [sys.executable, "-c", code, *map(str, (raw, home / "CORR.h5", cal, home / "packed"))]
        peaks.append(int(subprocess.check_output(words)) / 1024)  # getrusage would tell the peak of this process, too
        show(f"peak memory, raw file of {raw.stat().st_size >> 20} MiB", peaks[-1], "MiB")
        raw.unlink()
    show("peak memory: four times the file", peaks[1] / peaks[0], "ratio", at_most=1.10)


def _copy_volume(raw: Path, out: Path, written: int) -> None:
    """Read as many bytes as the raw file has and write as many as the corrected file, 1 and 2 MiB at a time."""
    size = raw.stat().st_size
    source, target = os.open(raw, os.O_RDONLY), os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    step, room = 1 << 20, [(bytearray(1 << 20), bytearray(2 << 20)) for _ in range(THREADS)]

    def some(thread: int) -> None:
        read, write = room[thread]
        for at in range(thread * step, size, THREADS * step):
            os.preadv(source, [read], at)
        for at in range(thread * 2 * step, written, THREADS * 2 * step):
            os.pwrite(target, memoryview(write)[: written - at], at)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, range(THREADS)))
    os.close(source)
    os.close(target)


def _reading(raw: Path, frames: int) -> None:
    """Frames of a chunked file beside plain pread, two threads each."""
    with h5py.File(raw) as file, opened(raw) as there, ThreadPoolExecutor(THREADS) as pool:
        dataset = file["INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data/adc"]
        descriptor = there.descriptor
        assert descriptor is not None
        room = [aligned((4, *JF_FRAME), np.uint16) for _ in range(THREADS)]
        parts = [np.arange(t, frames - 3, 4 * THREADS) for t in range(0, 4 * THREADS, 4)]

        def ours(thread: int) -> None:
            for first in parts[thread].tolist():
                source.read(place, np.arange(first, first + 4), room[thread])

        def plain(thread: int) -> None:
            size = room[thread].nbytes
            for first in parts[thread].tolist():
                os.preadv(descriptor, [room[thread].reshape(-1).view(np.uint8).data], 4096 + first // 4 * size)

        def both(work: Callable[[int], None]) -> Callable[[], object]:
            return lambda: list(pool.map(work, range(THREADS)))

        place = Place(np.arange(frames), np.zeros(frames, np.intp))
        source = Frames(dataset, JF_FRAME, there)
        taken = in_turn({"limit": both(plain), "ours": both(ours)})
    show("chunked reading: of plain pread by two threads", of(taken["limit"], taken["ours"]), "ratio", at_least=0.80)


def _extra_data(raw: Path, home: Path) -> None:
    """Open with EXtra-data, read a module, correct it with numpy as scripts do: fancy indexing by gain stage."""
    from extra_data import H5File

    module, source = constants(1, JF_FRAME, thresholds=False), "SPB_IRDA_JF4M/DET/JNGFR01:daqOutput"

    def script() -> None:
        with H5File(raw) as file:
            adc = file[source, "data.adc"][:32].ndarray()
            code = file[source, "data.gain"][:32].ndarray()
        stage = np.choose(code, (0, 1, 0, 2))[:, 0]
        y, x = np.indices(JF_FRAME, sparse=True)
        energy = (adc[:, 0] - module.offset[0][stage, y, x]) * module.factor[0][stage, y, x]
        np.save(home / "script.npy", energy)

    with h5py.File(raw) as file:
        frames = file[f"INSTRUMENT/{source}/data/adc"].shape[0]
    cal, out = raw.parent / "cal", home / "CORR.h5"
    taken = in_turn({"script": script, "ours": lambda: calibrate_file(raw, out, cal, packed=home / "packed")}, 3)
    ratio = statistics.median(taken["script"]) / 32 / (statistics.median(taken["ours"]) / frames)
    show("file to file: times EXtra-data and numpy", ratio, "ratio")


def cold(given: argparse.Namespace) -> None:
    """Import, and constants of one AGIPD module: compiled, then mapped."""
    code = "import time; t = time.perf_counter(); import xdc_testbed.calibration; print(time.perf_counter() - t)"
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.check_output([sys.executable, "-c", code], env=compiled)  # leaves bytecode, as installing does
    imports = [float(subprocess.check_output([sys.executable, "-c", code], env=compiled)) for _ in range(ROUNDS)]
    show("cold start: import", statistics.median(imports), "s", at_most=0.25)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="xdc-bench-") as name:
        home = Path(name)
        module = write_agipd_constants(home, CELLS)
        started = time.perf_counter()
        packed.open_constants(home, module, adaptive=True, packed=home / "packed")
        show("cold start: AGIPD constants compiled", time.perf_counter() - started, "s", at_most=5)
        mapped = in_turn({"map": lambda: packed.open_constants(home, module, adaptive=True, packed=home / "packed")})[
            "map"
        ]
        show("cold start: packed constants mapped", statistics.median(mapped) * 1e3, "ms", at_most=10)


def scaling(given: argparse.Namespace) -> None:
    """Cost per frame by threads, modules and trains; `--plot` draws it."""
    lines: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="xdc-bench-") as name:
        home = Path(name)
        raw, cal = write_jungfrau(home / "threads", 128, chunked=True)
        run = home / "run"
        run.mkdir()
        for threads in (1, 2):
            os.environ["XDC_THREADS"] = str(threads)
            cost = _cost(lambda: calibrate_file(raw, home / "CORR.h5", cal, packed=home / "packed"), 128)
            lines.setdefault("threads (JUNGFRAU)", []).append((threads, cost))
        for sequence in range(16):
            (run / f"RAW-R0001-JNGFR01-S{sequence:05d}.h5").symlink_to(raw)
            if sequence + 1 in (1, 4, 16):
                cost = _cost(
                    lambda: calibrate_run(run, home / "proc", cal, packed=home / "packed"), 128 * (sequence + 1)
                )
                lines.setdefault("modules (JUNGFRAU)", []).append((sequence + 1, cost))
        for path in (raw, home / "CORR.h5", *(home / "proc").iterdir()):
            path.unlink()
        write_agipd_constants(home / "cal", 1)
        raw = home / "RAW-R0001-AGIPD00-S00000.h5"
        for trains in (10, 100, 1000, 10_000):
            write_agipd(raw, trains)
            cost = _cost(lambda: calibrate_file(raw, home / "CORR.h5", home / "cal", packed=home / "packed"), trains)
            lines.setdefault("trains (AGIPD, one frame each)", []).append((trains, cost))
            raw.unlink()
    for label, points in lines.items():
        for number, cost in points:
            show(f"scaling: {number:g} {label}", cost, "ms/frame")
    by = {label.split()[0]: dict(points) for label, points in lines.items()}
    show("scaling: 1 to 2 threads", by["threads"][1] / by["threads"][2], "ratio")
    show("scaling: 1 to 16 modules, cost per frame", by["modules"][16] / by["modules"][1], "ratio", at_most=1.15)
    show(
        "scaling: 1,000 to 10,000 trains, cost per frame",
        by["trains"][10_000] / by["trains"][1000],
        "ratio",
        at_most=1.15,
    )
    fixed = (by["trains"][10] - by["trains"][10_000]) * 10
    show("scaling: what a file costs beside its frames", fixed, "ms")
    if given.plot:
        given.plot.write_text(drawn("Cost per frame", "ms", lines))


def streams(given: argparse.Namespace) -> None:
    """From storage to storage, beside a copy of the same bytes."""
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="xdc-bench-") as name:
        stream_figures.streams(Path(name), given.in_files)


def action(given: argparse.Namespace) -> None:
    """The action from event to corrected file. Not in it: the way of the event through Kafka, router and dispatcher."""
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="xdc-bench-") as name:
        stream_figures.action(Path(name), given.in_files)


def _cost(work: Callable[[], object], frames: int) -> float:
    """Milliseconds per frame, the median of three."""
    return statistics.median(in_turn({"work": work}, 3)["work"]) / frames * 1e3


if __name__ == "__main__":
    main()
