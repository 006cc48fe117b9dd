"""From file to file the native kernels give what they give in memory; flags inflate; checksums are true."""

from __future__ import annotations

import os
import tempfile
import zlib
from functools import partial
from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected
from hypothesis import given, settings
from hypothesis import strategies as st

from xdc_testbed.calibration import native
from xdc_testbed.calibration.checksums import Passed
from xdc_testbed.calibration.failures import InputTruncated
from xdc_testbed.calibration.native import files

SETS = range(native.instructions() + 1)
CODED = native.Coding(native.CODE_IN_BYTE, value_bits=0x3FFF, code1=1, code2=3, counts_down=True)
ANALOG = native.Coding(native.THRESHOLDS)

seeds = st.integers(0, 2**32 - 1)
likely = st.sampled_from([0.0, 0.001, 0.01, 0.3, 1.0])  # switched pixels, and bad ones


def some_planes(rng: Any, frame: tuple[int, int], bad: float) -> native.Planes:
    shape = (2, 3, *frame)
    bits = np.where(rng.random(shape) < bad, rng.choice([1, 1 << 9, 0x01010101, 0xFFFFFFFF], shape), 0).astype(
        np.uint32
    )
    if rng.random() < 0.3:
        bits[:, :, : frame[0] // 2] = 1 << 19  # a part that sees nothing
    limits = np.full((2, 2, *frame), 5000, np.float32)
    limits[:, 1] += 1000
    offset, factor = (rng.normal(*at, shape).astype(np.float32) for at in ((4000, 9), (0.1, 0.01)))
    return native.Planes(offset, factor, bits, limits)


@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.sampled_from([(1, 1), (3, 11), (8, 32), (5, 77), (64, 64), (128, 512)]),
    st.integers(1, 4),
    likely,
    likely,
    st.sampled_from([CODED, ANALOG]),
    st.sampled_from(list(SETS)),
    st.sampled_from([1, 64, 100, 4096, 16384]),
)
def test_files_get_what_memory_gets(
    seed: int,
    frame: tuple[int, int],
    frames: int,
    switched: float,
    bad: float,
    coding: native.Coding,
    instructions: int,
    slab: int,
) -> None:
    rng = np.random.default_rng(seed)
    if frame[0] * frame[1] > 5000 * slab:
        slab = 4096  # thousands of headers say nothing more
    planes = some_planes(rng, frame, bad)
    raw = rng.integers(0, 9000, (frames, *frame)).astype(np.uint16)
    moved = rng.random(raw.shape) < switched
    if coding is ANALOG:
        gain = np.where(moved, rng.integers(5000, 7000, raw.shape), 4000).astype(np.uint16)
    else:
        gain = np.where(moved, rng.choice(np.array([1, 2, 3, 7]), raw.shape), 0).astype(np.uint8)
    cells = rng.choice(np.array([-1, 0, 1]), frames)
    energy, mask, stage = (np.empty(raw.shape, kind) for kind in (np.float32, np.uint32, np.uint8))
    want = native.Counts.zero()
    run = native.Run(instructions=instructions)
    native.correct(raw, gain, cells, planes, coding, energy=energy, mask=mask, stage=stage, counts=want, how=run)
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        content = b"head" + raw.tobytes() + gain.tobytes()
        source.write(content)
        source.flush()
        order = np.arange(frames)
        at = (4 + order * raw[0].nbytes, 4 + raw.nbytes + order * gain[0].nbytes)
        streamed = np.frombuffer(b"?" + content, np.uint8)  # begins at an odd address
        places: dict[str, tuple[files.Stored, files.Stored]] = {
            "file": (
                files.InFile.at(source.fileno(), at[0], 2),
                files.InFile.at(source.fileno(), at[1], gain.itemsize),
            ),
            "frames": (files.InMemory.of(raw), files.InMemory.of(gain)),
            "bytes": (
                files.InMemory(streamed, 1 + at[0], 2, np.ones(frames, np.uint32)),
                files.InMemory(streamed, 1 + at[1], gain.itemsize, np.ones(frames, np.uint32)),
            ),
        }
        room = np.zeros(8 + energy.nbytes, np.uint8)
        for kind, (from_, codes) in places.items():
            where = 8 + order[::-1] * energy[0].nbytes
            into: files.Stored = files.InFile.at(target.fileno(), where, 4)
            if kind == "bytes":
                into = files.InMemory(room, where, 4, np.ones(frames, np.uint32))
            counts = native.Counts.zero()
            flags = files.correct(
                from_, codes, cells, planes, native.Steps(coding),
                frame=frame, energy=into, counts=counts, instructions=instructions, slab=slab,
            )  # fmt: skip
            stored = room[8:].tobytes() if kind == "bytes" else os.pread(target.fileno(), energy.nbytes, 8)
            written = np.frombuffer(stored, np.uint32).reshape(energy.shape)
            np.testing.assert_array_equal(written[::-1], energy.view(np.uint32))
            for k in range(frames):
                assert files.deflated(stage[k], instructions, slab) == flags.stage[k]
                assert files.deflated(mask[k], 0, slab) == flags.mask[k]
                assert zlib.decompress(flags.stage[k]) == stage[k].tobytes()
                assert zlib.decompress(flags.mask[k]) == mask[k].tobytes()
            assert into.adler is not None
            assert into.adler.tolist() == [zlib.adler32(each.tobytes()) for each in energy]
            np.testing.assert_array_equal(counts.stages, want.stages)
            np.testing.assert_array_equal(counts.reasons, want.reasons)
        for kind in ("file", "bytes"):
            for place, values in zip(places[kind], (raw, gain), strict=True):
                assert place.adler is not None
                assert place.adler.tolist() == [zlib.adler32(each.tobytes()) for each in values]


def test_flags_of_few_runs_become_small() -> None:
    rng = np.random.default_rng(4)
    raw, frame = np.full((1, 512, 1024), 5000, np.uint16), (512, 1024)
    codes = (rng.random(raw.shape) < 0.01).astype(np.uint8)
    with tempfile.TemporaryFile() as target:
        flags = files.correct(
            files.InMemory.of(raw), files.InMemory.of(codes), np.zeros(1, np.int64),
            some_planes(np.random.default_rng(0), frame, 0.005), native.Steps(CODED),
            frame=frame, energy=files.InFile.at(target.fileno(), np.zeros(1, np.int64), 4),
            counts=native.Counts.zero(), instructions=0,
        )  # fmt: skip
    stage, mask = flags.stage[0], flags.mask[0]
    assert len(stage) < 1.1 * len(zlib.compress(zlib.decompress(stage), 1))
    assert len(mask) < 1.1 * len(zlib.compress(zlib.decompress(mask), 1))


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint32])
def test_flags_that_are_unlike_those_before_them_still_fit(instructions: int, kind: Any) -> None:
    """The code is made of the first parts; noise, for which it is worst, comes after them."""
    flags = np.zeros((512, 1024), kind)
    flags[300:] = np.random.default_rng(5).integers(0, np.iinfo(kind).max, (212, 1024), kind, endpoint=True)
    deflated = files.deflated(flags, instructions)
    assert zlib.decompress(deflated) == flags.tobytes()
    assert deflated == files.deflated(flags, 0)


def test_input_that_ends_in_a_frame_is_truncated() -> None:
    frame = (8, 32)
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(bytes(700))
        source.flush()
        with pytest.raises(InputTruncated, match="input ends at byte 700, in a frame"):
            files.correct(
                files.InFile.at(source.fileno(), np.array([0, 512]), 2), None, np.zeros(2, np.int64),
                some_planes(np.random.default_rng(0), frame, 0), native.Steps(native.Coding(native.FIXED_STAGE)),
                frame=frame, energy=files.InFile.at(target.fileno(), np.array([0, 1024]), 4),
                counts=native.Counts.zero(), instructions=0,
            )  # fmt: skip


@given(st.binary(max_size=3000), st.lists(st.tuples(st.integers(0, 2900), st.integers(0, 300)), max_size=12))
def test_parts_in_any_order_make_the_checksum_of_the_whole(data: bytes, spans: list[tuple[int, int]]) -> None:
    passed = Passed()
    for at, size in spans:  # some overlap, some end behind the file: then all is read
        passed.add(np.array([at]), size, np.array([zlib.adler32(data[at : at + size])], np.uint32))
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        assert passed.adler32(partial(os.pread, file.fileno()), len(data)) == zlib.adler32(data)


def test_the_manifest_has_the_checksums_of_the_files(corrected: Corrected) -> None:
    for outcome in corrected.manifest.files:
        for folder, record in ((corrected.raw, outcome.input), (corrected.proc, outcome.output)):
            if record:
                assert record.adler32 == f"{zlib.adler32((folder / record.name).read_bytes()):08x}"


def test_flags_of_a_corrected_file_have_the_filter_that_readers_know(corrected: Corrected) -> None:
    with h5py.File(corrected.proc / "CORR-R0001-AGIPD00-S00000.h5") as file:
        mask = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image/mask"]
        assert (mask.compression, mask.compression_opts, mask.chunks) == ("gzip", 1, (1, 512, 128))
