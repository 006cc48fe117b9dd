"""Write a raw run of two detectors whose truth is known, with everything that goes wrong at a beamline.

Below the given folder:

    raw/r0001/RAW-R0001-JNGFR01-S00000.h5     what is uploaded; one file per module and sequence
    cal/SPB_IRDA_JF4M/JNGFR01/cal.2026...h5   constants of each module, the facility's layout
    truth/r0001/TRUTH-R0001-JNGFR01-...h5     photons, gain stage and expected mask of every frame
    run.json                                  RunManifest: every file, its checksum, what has to become of it

Among the raw files one train is missing in one module, one file is cut off, and pixels have wrong gain bits.
The same plan gives the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from xdc_testbed.demo.detector_geometry import FRAME, Kind, layout
from xdc_testbed.demo.detector_response import Digitised, Response
from xdc_testbed.demo.diffraction import Scene
from xdc_testbed.demo.raw_files import RawSpan, add, create_raw

CONSTANTS_FILE = "cal.20260301T000000Z.h5"
"""Valid from the morning of the day on which the run was taken."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DetectorPlan(_Model):
    """One detector of a run. modules: numbers, from 1 for JUNGFRAU (to 8), from 0 for AGIPD (to 15);
    trains: in each sequence; cells: frames per train, one memory cell each."""

    kind: Kind
    detector_id: str
    modules: tuple[int, ...]
    sequences: PositiveInt = 1
    trains: PositiveInt = 2
    cells: PositiveInt = 1

    def module_name(self, module: int) -> str:
        return f"JNGFR{module:02d}" if self.kind == "JUNGFRAU" else f"AGIPD{module:02d}"

    def source(self, module: int) -> str:
        name, channel = (f"JNGFR{module:02d}", "daqOutput") if self.kind == "JUNGFRAU" else (f"{module}CH0", "xtdf")
        return f"{self.detector_id}/DET/{name}:{channel}"


class FileId(_Model):
    """A raw file of a run: the module as in the file's name, `JNGFR03`, and the sequence."""

    module: str
    sequence: int


class RunPlan(_Model):
    """What to write.

    missing: the file that lacks its last train; truncated: the file that is cut off, and kept_part: how much
    of it is left; photon_energy: keV.
    """

    run: PositiveInt = 1
    proposal: PositiveInt = 900001
    seed: int = 2026
    photon_energy: PositiveFloat = 9.3
    detectors: tuple[DetectorPlan, ...]
    missing: FileId | None = None
    truncated: FileId | None = None
    kept_part: PositiveFloat = 0.6

    @classmethod
    def default(cls) -> RunPlan:
        """All modules of a JUNGFRAU 4M and an AGIPD 1M: 32 files, 67 MB."""
        return cls(
            detectors=(
                DetectorPlan(kind="JUNGFRAU", detector_id="SPB_IRDA_JF4M", modules=tuple(range(1, 9)), sequences=2),
                DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=tuple(range(16)), cells=2),
            ),
            missing=FileId(module="JNGFR03", sequence=0),
            truncated=FileId(module="JNGFR08", sequence=1),
        )

    @classmethod
    def tiny(cls) -> RunPlan:
        """Two modules of JUNGFRAU in two sequences and one of AGIPD, with the same faults: 5 files, 12 MB."""
        return cls(
            detectors=(
                DetectorPlan(kind="JUNGFRAU", detector_id="SPB_IRDA_JF4M", modules=(1, 2), sequences=2),
                DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=(0,), cells=4),
            ),
            missing=FileId(module="JNGFR01", sequence=1),
            truncated=FileId(module="JNGFR02", sequence=1),
        )


class DataFile(_Model):
    """A file that was written. path: relative to the folder of the run; adler32: as storage reports it."""

    path: str
    size: int
    adler32: str


class RawDataFile(DataFile):
    """A raw file and what has to become of it.

    trains, frames: that have data; reason: of the failure, word for word; truth: path of the file with the
    photons, None when nothing can be corrected.
    """

    detector_id: str
    kind: Kind
    module: str
    sequence: int
    trains: int
    frames: int
    expected: Literal["corrected", "failed"]
    reason: str | None = None
    truth: str | None = None


class RunManifest(_Model):
    """Everything that `write_run` wrote."""

    plan: RunPlan
    files: tuple[RawDataFile, ...]
    constants: tuple[DataFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all raw files."""
        return sum(file.size for file in self.files)


def write_run(directory: Path, plan: RunPlan) -> RunManifest:
    """Write the run, its constants and its truth below `directory`, and `run.json` last."""
    raw = directory / "raw" / f"r{plan.run:04d}"
    truth = directory / "truth" / f"r{plan.run:04d}"
    for folder in (raw, truth):
        folder.mkdir(parents=True, exist_ok=True)
    files: list[RawDataFile] = []
    constants: list[DataFile] = []
    for number, detector in enumerate(plan.detectors):
        for module in detector.modules:
            writer = _ModuleWriter(directory, plan, detector, module, number)
            constants.append(writer.write_constants())
            files += [writer.write_sequence(sequence) for sequence in range(detector.sequences)]
    manifest = RunManifest(plan=plan, files=tuple(files), constants=tuple(constants))
    (directory / "run.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def write_darks(directory: Path, plan: RunPlan, *, trains: int = 4) -> dict[int, Path]:
    """Write a dark run for each gain stage: dark/r1001 (high), r1002, r1003. trains: an even number.

    Noise goes up and down by turns, so that the mean is exactly the offset. Returns gain stage -> folder.
    """
    folders = {stage: directory / "dark" / f"r{1001 + stage}" for stage in range(3)}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for number, detector in enumerate(plan.detectors):
        longer = detector.model_copy(update={"trains": trains})
        for module in detector.modules:
            writer = _ModuleWriter(directory, plan, longer, module, number)
            for stage, folder in folders.items():
                writer.write_dark(folder, stage)
    return folders


class _ModuleWriter:
    """Writes all files of one module; keeps its response, which is the expensive part."""

    def __init__(self, directory: Path, plan: RunPlan, detector: DetectorPlan, module: int, number: int) -> None:
        self._directory, self._plan, self._detector, self._module = directory, plan, detector, module
        self._name = detector.module_name(module)
        seed = [plan.seed, number, module]
        self._response = Response.make(detector.kind, cells=detector.cells, seed=seed)
        self._scene = Scene(layout(detector.kind), seed=plan.seed + number)
        self._background = self._scene.background(module)
        self._seed = seed

    def write_constants(self) -> DataFile:
        path = self._directory / "cal" / self._detector.detector_id / self._name / CONSTANTS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        pdu = f"{self._detector.kind.title()}_M{100 + self._module:03d}"
        self._response.write_constants(path, pdu)
        return DataFile(**self._file(path))

    def write_sequence(self, sequence: int) -> RawDataFile:
        here = FileId(module=self._name, sequence=sequence)
        label = f"R{self._plan.run:04d}-{self._name}-S{sequence:05d}.h5"
        path = self._directory / "raw" / f"r{self._plan.run:04d}" / f"RAW-{label}"
        truth = self._directory / "truth" / f"r{self._plan.run:04d}" / f"TRUTH-{label}"
        with_data = np.ones(self._detector.trains, np.uint64)
        if here == self._plan.missing:
            with_data[-1] = 0
        self._write_pair(path, truth, sequence, with_data)
        reason = None
        if here == self._plan.truncated:
            whole = path.stat().st_size
            kept = int(whole * self._plan.kept_part)
            with path.open("r+b") as file:
                file.truncate(kept)
            truth.unlink()
            reason = f"input is truncated: file has {kept} bytes, HDF5 end of file is {whole}"
        return RawDataFile(
            **self._file(path),
            detector_id=self._detector.detector_id,
            kind=self._detector.kind,
            module=self._name,
            sequence=sequence,
            trains=int(with_data.sum()),
            frames=int(with_data.sum()) * self._detector.cells,
            expected="failed" if reason else "corrected",
            reason=reason,
            truth=None if reason else str(truth.relative_to(self._directory)),
        )

    def write_dark(self, folder: Path, stage: int) -> None:
        """All trains in one gain stage, without light."""
        detector, path = self._detector, folder / f"RAW-R{folder.name[1:]}-{self._name}-S00000.h5"
        with_data = np.ones(detector.trains, np.uint64)
        span = self._span(0, with_data)
        frames = []
        for number in range(detector.trains * detector.cells):
            train, cell = divmod(number, detector.cells)
            draw = np.random.default_rng([*self._seed, stage, number])
            sent = self._response.held_dark(cell, stage, 1 if train % 2 else -1, draw)
            frames.append((np.zeros(FRAME[detector.kind], np.uint16), sent))
        with create_raw(path, span) as file:
            if detector.kind == "JUNGFRAU":
                _write_jungfrau(file, span, frames, detector.cells)
            else:
                _write_agipd(file, span, frames, detector.cells, with_data)

    def _file(self, path: Path) -> dict[str, str | int]:
        data = path.read_bytes()
        return {
            "path": str(path.relative_to(self._directory)),
            "size": len(data),
            "adler32": f"{zlib.adler32(data):08x}",
        }

    def _write_pair(self, path: Path, truth_path: Path, sequence: int, with_data: npt.NDArray[np.uint64]) -> None:
        detector = self._detector
        span = self._span(sequence, with_data)
        frames = list(self._frames(sequence, with_data))
        with create_raw(path, span) as file, h5py.File(truth_path, "w") as truth:
            if detector.kind == "JUNGFRAU":
                _write_jungfrau(file, span, frames, detector.cells)
            else:
                _write_agipd(file, span, frames, detector.cells, with_data)
            stack = (len(frames), *FRAME[detector.kind])
            for key, values in (
                ("photons", [photons for photons, _ in frames]),
                ("stage", [sent.stage for _, sent in frames]),
                ("mask", [sent.mask for _, sent in frames]),
            ):
                data = np.array(values).reshape(stack)
                chunk = (1, *stack[1:]) if frames else None
                truth.create_dataset(key, data=data, chunks=chunk, shuffle=True, compression="gzip", compression_opts=1)
            truth.attrs["photon_energy_kev"] = self._plan.photon_energy

    def _span(self, sequence: int, with_data: npt.NDArray[np.uint64]) -> RawSpan:
        detector = self._detector
        once = np.ones(detector.trains, np.uint64)
        groups = (
            {"data": with_data}
            if detector.kind == "JUNGFRAU"
            else {"header": once, "image": with_data * np.uint64(detector.cells), "trailer": once}
        )
        return RawSpan(
            source=detector.source(self._module),
            groups=groups,
            first_train=sequence * detector.trains,
            trains=detector.trains,
            run=self._plan.run,
            proposal=self._plan.proposal,
            sequence=sequence,
        )

    def _frames(
        self, sequence: int, with_data: npt.NDArray[np.uint64]
    ) -> Iterator[tuple[npt.NDArray[np.uint16], Digitised]]:
        """(photons, what the chip sends) of every frame that has data, in the order of the file."""
        for train in np.flatnonzero(with_data):
            for cell in range(self._detector.cells):
                frame = (sequence * self._detector.trains + int(train)) * self._detector.cells + cell
                photons = self._scene.photons(self._module, frame, self._background)
                draw = np.random.default_rng([*self._seed, frame])
                yield photons, self._response.digitise(photons, cell, self._plan.photon_energy, draw)


_Frames = list[tuple[npt.NDArray[np.uint16], Digitised]]


def _write_jungfrau(file: h5py.File, span: RawSpan, frames: _Frames, cells: int) -> None:
    slow, fast = FRAME["JUNGFRAU"]
    rows = len(frames) // cells
    shape, chunk = (rows, cells, slow, fast), (1, cells, slow, fast)
    adc = add(file, span, "data/adc", shape=shape, dtype="u2", chunk=chunk)
    gain = add(file, span, "data/gain", shape=shape, dtype="u1", chunk=chunk)
    for number, (_, sent) in enumerate(frames):
        adc[number // cells, number % cells] = sent.value
        gain[number // cells, number % cells] = sent.gain
    numbers = np.arange(rows * cells, dtype=np.uint64).reshape(rows, cells)
    first = np.uint64(span.first_train * cells)
    add(file, span, "data/frameNumber", numbers + first + 1)
    add(file, span, "data/memoryCell", np.broadcast_to(np.arange(cells, dtype=np.uint8), (rows, cells)))
    add(file, span, "data/timestamp", (numbers + first) * 1e-3)


def _write_agipd(
    file: h5py.File, span: RawSpan, frames: _Frames, cells: int, with_data: npt.NDArray[np.uint64]
) -> None:
    slow, fast = FRAME["AGIPD"]
    image = add(file, span, "image/data", shape=(len(frames), 2, slow, fast), dtype="u2", chunk=(1, 2, slow, fast))
    for number, (_, sent) in enumerate(frames):
        image[number, 0], image[number, 1] = sent.value, sent.gain
    cell = np.tile(np.arange(cells), len(frames) // cells)[:, None]
    add(file, span, "image/cellId", cell.astype(np.uint16))
    add(file, span, "image/pulseId", cell.astype(np.uint64) * np.uint64(4))
    add(file, span, "image/length", np.full(cell.shape, 2 * 2 * slow * fast, np.uint32))
    add(file, span, "image/status", np.zeros(cell.shape, np.uint16))
    add(file, span, "header/pulseCount", with_data * np.uint64(cells))
    add(file, span, "trailer/status", np.zeros(span.trains, np.uint64))
