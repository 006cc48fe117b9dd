"""A raw file that is read by ranges, and a corrected file that is one stream of bytes."""

from __future__ import annotations

import io
import re
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from corrected_run import Corrected, pixels
from detector_runs import KINDS, write_constants, write_raw
from extra_data import RunDirectory
from extra_data.components import AGIPD1M
from hypothesis import given
from hypothesis import strategies as st
from test_corrected_file import LAYOUTS, WHERE, problems, store_again

from xdc_testbed.calibration import (
    CalibrationManifest,
    InputChanged,
    InputTruncated,
    Parameters,
    blocks,
    calibrate_file,
    calibrate_stream,
    inputs,
    streamed_file,
)
from xdc_testbed.calibration.checksums import Passed
from xdc_testbed.calibration.failures import NothingSelected
from xdc_testbed.calibration.repeat import repeat
from xdc_testbed.errors import XdcError

JF, AG = "JNGFR01-S00000", "AGIPD00-S00000"


class Gone(XdcError):
    """What a storage says when it has gone."""


@dataclass
class Served:
    """A file as a storage would serve it. asked: ranges, first byte and number; before: called before each of them."""

    data: bytes
    name: str = "RAW-R0001-X-S00000.h5"
    adler32: str = ""
    asked: list[tuple[int, int]] = field(default_factory=list)
    before: Callable[[Served], None] = lambda _: None
    same: bool = True
    _lock: Any = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, path: Path, **more: Any) -> Served:
        data = path.read_bytes()
        return cls(data, path.name, f"{zlib.adler32(data):08x}", **more)

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, at: int, room: memoryview) -> None:
        with self._lock:
            self.before(self)
            self.asked.append((at, len(room)))
        room[:] = self.data[at : at + len(room)]

    def unchanged(self) -> bool:
        return self.same


@dataclass
class Sent:
    """Takes a stream as an upload does. sizes: announced, of each time that it was sent."""

    path: Path
    sizes: list[int] = field(default_factory=list)

    def __call__(self, size: int, parts: Iterator[memoryview]) -> None:
        self.sizes.append(size)
        with self.path.open("wb") as file:
            for part in parts:
                file.write(part)
            assert file.tell() == size


def streamed(raw: Any, out: Path, cal: Path, **more: Any) -> CalibrationManifest:
    return calibrate_stream(raw, out.name, Sent(out), cal, **more)


@pytest.mark.parametrize("name", [JF, "JNGFR01-S00001", "JNGFR02-S00000", AG])
def test_both_ways_at_once_give_the_pixels_and_the_record_of_files(
    corrected: Corrected, tmp_path: Path, name: str
) -> None:
    raw, out = corrected.raw / f"RAW-R0001-{name}.h5", tmp_path / f"CORR-R0001-{name}.h5"
    served = Served.of(raw)
    (outcome,) = streamed(served, out, corrected.cal).files
    before = next(file for file in corrected.manifest.files if file.input.name == raw.name)
    assert outcome.streamed
    assert outcome.model_copy(update={"output": before.output, "streamed": False}) == before
    assert outcome.output is not None
    assert (outcome.output.name, outcome.output.size) == (out.name, out.stat().st_size)
    assert outcome.output.adler32 == f"{zlib.adler32(out.read_bytes()):08x}"
    assert pixels(out) == pixels(corrected.proc / out.name)
    assert problems(tmp_path) == []


def test_all_but_the_order_of_pixels_is_as_in_a_file(corrected: Corrected, tmp_path: Path) -> None:
    out = tmp_path / f"CORR-R0001-{AG}.h5"
    streamed(corrected.raw / f"RAW-R0001-{AG}.h5", out, corrected.cal)
    with h5py.File(out) as one, h5py.File(corrected.proc / out.name) as other:
        names: list[str] = []
        other.visit(names.append)
        for name in names:
            assert type(one[name]) is type(other[name])
            if isinstance(other[name], h5py.Dataset):
                assert one[name].dtype == other[name].dtype
                assert one[name].compression == other[name].compression
                np.testing.assert_array_equal(one[name][...], other[name][...])
    with RunDirectory(str(tmp_path)) as run:
        assert AGIPD1M(run, raw=False).masked_data().ndarray().shape == (1, 8, 512, 128)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["native", "numpy"])
def test_every_detector(kind: str, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDC_KERNEL", kernel)
    raw, out = write_raw(KINDS[kind], tmp_path / "raw"), tmp_path / "proc" / "CORR.h5"
    write_constants(KINDS[kind], tmp_path / "cal")
    out.parent.mkdir()
    calibrate_file(raw, tmp_path / "CORR.h5", tmp_path / "cal")
    streamed(Served.of(raw), out, tmp_path / "cal")
    assert contents(out) == contents(tmp_path / "CORR.h5")
    assert problems(out.parent) == []


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of all datasets of numbers."""
    found: dict[str, bytes] = {}

    def take(name: str, each: Any) -> None:
        if isinstance(each, h5py.Dataset) and each.dtype.kind in "uif":
            found[name] = each[...].tobytes()

    with h5py.File(path) as file:
        file.visititems(take)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [JF, AG])
def test_raw_data_elsewhere_may_be_stored_in_any_way(
    corrected: Corrected, tmp_path: Path, name: str, layout: str
) -> None:
    raw, out = tmp_path / f"RAW-R0001-{name}.h5", tmp_path / f"CORR-R0001-{name}.h5"
    shutil.copy(corrected.raw / raw.name, raw)
    store_again(raw, layout)
    served = Served.of(raw)
    calibrate_file(served, out, corrected.cal)
    assert pixels(out) == pixels(corrected.proc / out.name)


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(half_precision=True),
        Parameters(mantissa_bits=5, legacy_names=False),
        Parameters(cells=(1, 3)),
        Parameters(common_mode=True, fixed_gain=1),
    ],
)
def test_parameters_mean_the_same(corrected: Corrected, tmp_path: Path, parameters: Parameters) -> None:
    raw = corrected.raw / f"RAW-R0001-{AG}.h5"
    calibrate_file(raw, tmp_path / "CORR.h5", corrected.cal, parameters=parameters)
    streamed(Served.of(raw), tmp_path / "sent.h5", corrected.cal, parameters=parameters)
    assert contents(tmp_path / "sent.h5") == contents(tmp_path / "CORR.h5")


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_bytes_come_out_whatever_the_threads(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    raw = corrected.raw / f"RAW-R0001-{AG}.h5"
    monkeypatch.setattr(blocks, "STREAM_BLOCK_BYTES", 1 << 19)
    streamed(raw, tmp_path / "one.h5", corrected.cal)
    monkeypatch.setenv("XDC_THREADS", str(threads))
    streamed(Served.of(raw), tmp_path / "other.h5", corrected.cal)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_flags_that_need_more_room_than_the_first_ones_told_are_sent_again(
    corrected: Corrected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, out = tmp_path / f"RAW-R0001-{AG}.h5", tmp_path / f"CORR-R0001-{AG}.h5"
    shutil.copy(corrected.raw / raw.name, raw)
    with h5py.File(raw, "r+") as file:
        image = file[WHERE[1]]
        image[1:, 1] = np.random.default_rng(1).integers(4000, 9000, (7, 512, 128)).astype(np.uint16)
    monkeypatch.setattr(blocks, "STREAM_BLOCK_BYTES", 1)
    sent = Sent(out)
    (outcome,) = calibrate_stream(raw, out.name, sent, corrected.cal).files
    assert len(sent.sizes) == 2
    assert sent.sizes[0] < sent.sizes[1] == out.stat().st_size
    (before,) = calibrate_file(raw, tmp_path / "CORR.h5", corrected.cal).files
    assert contents(out) == contents(tmp_path / "CORR.h5")
    assert outcome.pixels_by_stage == before.pixels_by_stage


def test_what_was_sent_is_repeated_from_its_manifest_byte_for_byte(corrected: Corrected, tmp_path: Path) -> None:
    raw = corrected.raw / f"RAW-R0001-{AG}.h5"
    sent, again = tmp_path / "sent" / f"CORR-R0001-{AG}.h5", tmp_path / "again" / f"CORR-R0001-{AG}.h5"
    sent.parent.mkdir()
    recorded = streamed(Served.of(raw), sent, corrected.cal)
    done = repeat(recorded, raw, again.parent, corrected.cal)
    assert (done.differences, done.changed) == ({}, ())
    assert again.read_bytes() == sent.read_bytes()


def test_a_file_in_which_no_train_has_data_is_sent_without(corrected: Corrected, tmp_path: Path) -> None:
    raw = tmp_path / f"RAW-R0001-{AG}.h5"
    shutil.copy(corrected.raw / raw.name, raw)
    with h5py.File(raw, "r+") as file:
        where: list[str] = []
        file["INDEX"].visit(lambda key: where.append(key) if re.search(r"(data|image)/(first|count)$", key) else None)
        for key in where:
            file[f"INDEX/{key}"][:] = 0
    served = Served.of(raw)
    raw.unlink()
    manifest = streamed(served, tmp_path / f"CORR-R0001-{AG}.h5", corrected.cal)
    assert (manifest.files[0].trains, manifest.files[0].frames) == (2, 0)
    assert problems(tmp_path) == []


def test_pixels_are_asked_for_in_few_ranges_and_once(corrected: Corrected, tmp_path: Path) -> None:
    served = Served.of(corrected.raw / f"RAW-R0001-{AG}.h5")
    streamed(served, tmp_path / "CORR.h5", corrected.cal)
    assert len(served.asked) <= 12
    assert sum(size for _, size in served.asked) < 1.6 * served.size


def test_a_file_that_is_cut_off_is_truncated_before_anything_is_sent(corrected: Corrected, tmp_path: Path) -> None:
    served = Served.of(corrected.raw / f"RAW-R0001-{AG}.h5")
    served.data = served.data[:-1]
    with pytest.raises(InputTruncated, match="input is truncated: file has"):
        streamed(served, tmp_path / "CORR.h5", corrected.cal)
    assert list(tmp_path.iterdir()) == []


def test_what_the_storage_says_in_the_middle_is_told_as_it_is(corrected: Corrected, tmp_path: Path) -> None:
    """Also where HDF5 was reading, which would say only that it could not."""
    path = corrected.raw / f"RAW-R0001-{AG}.h5"
    whole = Served.of(path)
    streamed(whole, tmp_path / "CORR.h5", corrected.cal)
    for number in range(len(whole.asked)):

        def goes(served: Served, last: int = number) -> None:
            if len(served.asked) == last:
                raise Gone("the storage has gone")

        with pytest.raises(Gone, match="the storage has gone"):
            streamed(Served.of(path, before=goes), tmp_path / "CORR.h5", corrected.cal)


def test_a_file_that_is_replaced_meanwhile_is_named(corrected: Corrected, tmp_path: Path) -> None:
    path = corrected.raw / f"RAW-R0001-{AG}.h5"
    with pytest.raises(InputChanged, match="input was replaced or written while it was read"):
        streamed(Served.of(path, same=False), tmp_path / "CORR.h5", corrected.cal)
    other = Served.of(path)
    other.data = other.data[:-9] + bytes(9)
    with pytest.raises(InputChanged, match=r"adler32 of input as read is \w{8}, the storage says \w{8}"):
        streamed(other, tmp_path / "CORR.h5", corrected.cal)


def test_nothing_is_sent_where_nothing_is_selected(corrected: Corrected, tmp_path: Path) -> None:
    sent = Sent(tmp_path / "CORR.h5")
    with pytest.raises(NothingSelected):
        calibrate_stream(
            Served.of(corrected.raw / f"RAW-R0001-{AG}.h5"), "CORR.h5", sent, corrected.cal,
            parameters=Parameters(trains=(1, 2)),
        )  # fmt: skip
    assert sent.sizes == []


def test_an_upload_that_fails_ends_the_computing(corrected: Corrected) -> None:
    def refuses(_: int, parts: Iterator[memoryview]) -> None:
        next(parts)
        raise Gone("the storage is full")

    before = threading.active_count()
    with pytest.raises(Gone, match="the storage is full"):
        calibrate_stream(Served.of(corrected.raw / f"RAW-R0001-{AG}.h5"), "CORR.h5", refuses, corrected.cal)
    assert threading.active_count() == before


# -- ranges and indices -----------------------------------------------------------------------------------------------


@given(
    st.binary(min_size=1, max_size=2000),
    st.lists(st.tuples(st.integers(0, 2100), st.integers(0, 400)), max_size=20),
    st.sampled_from([1, 7, 64, 300]),
    st.sampled_from([1, 2, 50]),
)
def test_pages_are_the_file(data: bytes, reads: list[tuple[int, int]], page: int, pages: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "PAGE", page)
        patch.setattr(inputs, "PAGES", pages)
        file = inputs.PagedFile(Served(data))
        for at, size in reads:
            file.seek(at)
            room = bytearray(size)
            assert bytes(room[: file.readinto(room)]) == data[at : at + size]
        begin, end, sums = file.sums()
        for b, e, adler in zip(begin.tolist(), end.tolist(), sums.tolist(), strict=True):
            assert adler == zlib.adler32(data[b:e])


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 60)), min_size=1, max_size=3),
    st.lists(st.integers(0, 900), min_size=1, max_size=9),
    st.sampled_from([0, 5, 100]),
)
def test_pieces_that_were_fetched_are_those_of_the_file(
    kinds: list[tuple[int, int]], starts: list[int], between: int
) -> None:
    data = bytes(range(256)) * 8
    served = Served(data)
    wanted = [(np.array(starts) + shift, size) for shift, size in kinds]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "BETWEEN", between)
        with inputs.opened(served) as source:
            memory, places = inputs.fetch(source, wanted)
    for (at, size), place in zip(wanted, places, strict=True):
        for a, p in zip(at.tolist(), place.tolist(), strict=True):
            assert memory[p : p + size].tobytes() == data[a : a + size]
    spans = sorted(served.asked)
    assert all(a + n + between < b for (a, n), (b, _) in pairwise(spans))


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=6),
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=6),
)
def test_overlapping_parts_are_found(passed: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    parts = Passed()
    for at, size in passed:
        parts.add(np.array([at]), size, np.array([1], np.uint32))
    begin = np.array([at for at, _ in others], np.int64)
    end = np.array([at + size for at, size in others], np.int64)
    known = {byte for at, size in passed for byte in range(at, at + size)}
    want = [bool(known & set(range(at, at + size))) for at, size in others]
    found = parts.overlaps(begin, end).tolist()
    assert all(f or not w for f, w in zip(found, want, strict=True))
    if len({at for at, _ in passed}) == len(passed) and not any(
        a < b < a + n for a, n in passed for b, _ in passed
    ):  # parts that overlap each other are never compared in earnest
        assert found == want


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 128, 4096, 4097, 5000])
def test_an_index_of_any_number_of_chunks_is_read_by_hdf5(tmp_path: Path, frames: int) -> None:
    """With one level of nodes, two and three; chunks are of two bytes."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("earliest", "v110")) as file:
        each = file.create_dataset("each", (frames, 1, 2), "u1", chunks=(1, 1, 2))
        file.flush()
        chunks = np.array([(frame, 0, 0) for frame in range(frames)], np.int64)
        index = streamed_file._index(memory.getvalue(), each, chunks)
    head = memory.getvalue()
    values = np.arange(2 * frames, dtype=np.uint8)
    index.places[:], index.sizes[:] = len(head) + 2 * np.arange(frames), 2
    content = bytearray(head + values.tobytes() + index.rendered(len(head) + 2 * frames))
    struct.pack_into("<Q", content, index.pointer, len(content) - index.node)
    struct.pack_into("<Q", content, 40, len(content))
    path = tmp_path / "file.h5"
    path.write_bytes(content)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["each"][...].reshape(-1), values)
        assert file["each"].id.get_num_chunks() == frames
        seen: list[int] = []
        file["each"].id.chunk_iter(lambda chunk: seen.append(chunk.byte_offset))
        assert seen == index.places.tolist()
