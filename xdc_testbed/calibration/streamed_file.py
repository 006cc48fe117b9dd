"""A corrected file as one stream of bytes, from the first to the last, of a length that is known before.

HDF5 says at the beginning of a file where everything is; what flags deflate to is known at its end. So:

    head     all but the pixels, as HDF5 writes it; it names the places of the indices
    frames   of each block in the order of the plan: energies, then deflated stages and mask, one chunk per frame
    room     what flags did not need of the room for them
    indices  where the chunks are, a B-tree per dataset, at a place that follows from the number of frames

Source: HDF5 File Format Specification 3.0: superblock version 0 (II.A), B-tree version 1 (III.A.1), data layout message
version 3 (IV.A.2.i). Why not otherwise: docs/explanation/decisions/019.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import h5py
import numpy as np
import numpy.typing as npt

from xdc_testbed.calibration.blocks import Block
from xdc_testbed.calibration.corrected_file import describe
from xdc_testbed.calibration.native.files import InMemory, most_deflated
from xdc_testbed.calibration.raw_file import RawFile

_END_OF_FILE = 40  # where superblock version 0 has it
_CHILDREN = 64  # of a node that indexes chunks: HDF5's default
_NOWHERE = 0xFFFFFFFFFFFFFFFF
_ZEROS = bytes(1 << 20)
_SPARE = 8 << 10


class FlagsTooLarge(Exception):
    """Flags deflate to more than there is room for."""


class StreamedFile:
    """What is sent of one corrected file."""

    streamed = True

    def __init__(self, raw: RawFile, *, dtype: np.dtype[Any], legacy_names: bool) -> None:
        self._frame_bytes, self._itemsize = math.prod(raw.module.detector.frame) * dtype.itemsize, dtype.itemsize
        self._most_flags = sum(most_deflated(math.prod(raw.module.detector.frame), size) for size in (1, 4))
        self._head, self._indices = _described(raw, dtype, legacy_names=legacy_names)
        self._frames = len(self._indices[0].places) if self._indices else 0
        self._flags = self._most_flags

    def room(self, frames: npt.NDArray[np.intp]) -> InMemory:
        """Where the energies of frames are put: in memory."""
        offsets = self._frame_bytes * np.arange(frames.size, dtype=np.int64)
        return InMemory(np.empty(self._frame_bytes * frames.size, np.uint8), offsets, self._itemsize)

    def measured(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks; the first one says how much room flags get, which is what they need at worst otherwise."""
        first = next(blocks, None)
        if first is None:
            return iter(())
        mean = sum(map(len, chain(first.flags.stage, first.flags.mask))) // first.which.size
        self._flags = min(2 * mean + _SPARE, self._most_flags)
        return chain([first], blocks)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._end_of_frames + sum(index.size for index in self._indices)

    def content(self, blocks: Iterable[Block]) -> Iterator[memoryview]:
        """All bytes, in order. Raises FlagsTooLarge when there is not enough room for flags."""
        yield memoryview(self._pointed_head())
        at, left = len(self._head), self._frames * self._flags
        for block in blocks:
            flags = [*block.flags.stage, *block.flags.mask]
            left -= sum(map(len, flags))
            if left < 0:
                raise FlagsTooLarge(f"{self._flags} bytes for the flags of a frame are not enough")
            yield memoryview(cast(InMemory, block.energy).memory.data)  # which is what `room` gave
            chunks = [self._frame_bytes] * block.which.size + list(map(len, flags))
            starts = at + np.append(0, np.cumsum(chunks))
            spans = zip(np.split(starts[:-1], 3), np.split(np.array(chunks), 3), strict=True)
            for index, (begin, size) in zip(self._indices, spans, strict=True):
                index.places[block.which], index.sizes[block.which] = begin, size
            yield memoryview(b"".join(flags))
            at = int(starts[-1])
        while at < self._end_of_frames:
            zeros = memoryview(_ZEROS)[: self._end_of_frames - at]
            yield zeros
            at += len(zeros)
        for index in self._indices:
            yield memoryview(index.rendered(at))
            at += index.size

    @property
    def _end_of_frames(self) -> int:
        return len(self._head) + self._frames * (self._frame_bytes + self._flags)

    def _pointed_head(self) -> bytearray:
        """The head, with the places of the indices and the end of the file."""
        head, at = bytearray(self._head), self._end_of_frames
        for index in self._indices:
            struct.pack_into("<Q", head, index.pointer, at + index.size - index.node)
            at += index.size
        struct.pack_into("<Q", head, _END_OF_FILE, at)
        return head


@dataclass(frozen=True)
class _Index:
    """Where the chunks of one dataset are, one per frame.

    pointer: position in the head of the address of the index; chunks: where in the dataset they begin, (frames, axes);
    shape: of a chunk; places, sizes: in the file, bytes.
    """

    pointer: int
    chunks: npt.NDArray[np.int64]
    shape: tuple[int, ...]
    places: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @property
    def node(self) -> int:
        """Bytes of a node: children, and keys before, between and after them."""
        return 24 + _CHILDREN * 8 + (_CHILDREN + 1) * (8 + 8 * (len(self.shape) + 1))

    @property
    def size(self) -> int:
        """Bytes of all nodes. The root is the last one."""
        return self.node * sum(self._levels)

    @property
    def _levels(self) -> list[int]:
        """Number of nodes by level, from the leaves to the root."""
        levels = [-(-len(self.places) // _CHILDREN)]
        while levels[-1] > 1:
            levels.append(-(-levels[-1] // _CHILDREN))
        return levels

    def rendered(self, at: int) -> bytes:
        """All nodes, the first one at this byte of the file."""
        keys = [
            struct.pack(f"<II{len(self.shape) + 1}Q", size, 0, *begin, 0)
            for size, begin in zip(self.sizes.tolist(), self.chunks.tolist(), strict=True)
        ]
        after = struct.pack(f"<II{len(self.shape) + 1}Q", 0, 0, *(self.chunks[-1] + self.shape).tolist(), 0)
        children: list[int] = self.places.tolist()
        nodes: list[bytes] = []
        for level, number in enumerate(self._levels):
            first = at + len(nodes) * self.node
            for n in range(number):
                part = slice(n * _CHILDREN, (n + 1) * _CHILDREN)
                left = first + (n - 1) * self.node if n else _NOWHERE
                right = first + (n + 1) * self.node if n + 1 < number else _NOWHERE
                entries = zip(keys[part], children[part], strict=True)
                content = struct.pack("<4sBBHQQ", b"TREE", 1, level, len(children[part]), left, right)
                content += b"".join(key + struct.pack("<Q", child) for key, child in entries)
                content += keys[part.stop] if part.stop < len(keys) else after
                nodes.append(content.ljust(self.node, b"\0"))
            keys, children = keys[::_CHILDREN], [first + n * self.node for n in range(number)]
        return b"".join(nodes)


def _described(raw: RawFile, dtype: np.dtype[Any], *, legacy_names: bool) -> tuple[bytes, list[_Index]]:
    """All of a file but its pixels, and the indices of energies, stages and mask; none where there are no frames."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("earliest", "v110")) as file:
        datasets = describe(file, raw, dtype=dtype, legacy_names=legacy_names, in_one_piece=False)
        file.flush()
        head = memory.getvalue()
        frames = datasets.mask.shape[0] * datasets.per_row
        chunks = np.array([datasets.chunk(frame) for frame in range(frames)], np.int64)
        indices = [_index(head, each, chunks) for each in (datasets.energy, datasets.stage, datasets.mask) if frames]
    head = memory.getvalue()
    (end,) = struct.unpack_from("<Q", head, _END_OF_FILE)
    return head.ljust(end, b"\0"), indices


def _index(head: bytes, dataset: h5py.Dataset, chunks: npt.NDArray[np.int64]) -> _Index:
    """The index of a dataset of which no chunk is stored: its layout message says that it is nowhere."""
    message = struct.pack("<BBBQ", 3, 2, len(dataset.chunks) + 1, _NOWHERE)
    message += struct.pack(f"<{len(dataset.chunks) + 1}I", *dataset.chunks, dataset.dtype.itemsize)
    pointer = head.index(message, h5py.h5o.get_info(dataset.id).addr) + 3
    places, sizes = (np.zeros(len(chunks), np.int64) for _ in range(2))
    return _Index(pointer, chunks, dataset.chunks, places, sizes)
