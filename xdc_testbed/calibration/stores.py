"""Where a corrected file goes: a file of this machine, or a stream of bytes.

Each takes the blocks of a file as they are corrected, and says what the file is by content.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from xdc_testbed.calibration.blocks import Block, Progress, Target, Work, correct_blocks
from xdc_testbed.calibration.checksums import Passed, Sum
from xdc_testbed.calibration.corrected_file import create_corrected
from xdc_testbed.calibration.failures import OutputFailed
from xdc_testbed.calibration.manifest import FileRecord
from xdc_testbed.calibration.native import Counts
from xdc_testbed.calibration.raw_file import RawFile
from xdc_testbed.calibration.reduction import dtype_of
from xdc_testbed.calibration.streamed_file import FlagsTooLarge, StreamedFile

log = logging.getLogger(__name__)

Send = Callable[[int, Iterator[memoryview]], None]
"""Sends so many bytes, which it is given one after the other. What the bytes raise goes through it."""


@dataclass
class Correction:
    """A raw file of which everything is known but its pixels.

    raw: with the trains and frames that are wanted; counts, read: what was counted, and what of the raw file passed,
    when it was corrected last.
    """

    raw: RawFile
    work: Work
    progress: Progress | None = None
    counts: Counts = field(default_factory=Counts.zero)
    read: Passed = field(default_factory=Passed)

    def blocks(self, target: Target) -> Generator[Block, None, None]:
        """Correct the file."""
        self.counts, self.read = Counts.zero(), Passed()
        for block in correct_blocks(self.work, target, self.progress):
            self.counts.stages += block.counts.stages
            self.counts.reasons += block.counts.reasons
            for part in block.read:
                self.read.add(part.offsets, part.size, part.adler)
            yield block


Store = Callable[[Correction], FileRecord]
"""Puts a corrected file where it goes."""


def to_file(part: Path, out: Path, correction: Correction) -> FileRecord:
    """Write the file `part`, which will be `out`. Raises OutputFailed."""
    parameters, written = correction.work.parameters, Passed()
    with writing(out):
        with create_corrected(
            part, correction.raw, dtype=dtype_of(parameters), legacy_names=parameters.legacy_names
        ) as corrected:
            for block in correction.blocks(corrected):
                for frame, *flags in zip(block.which.tolist(), block.flags.stage, block.flags.mask, strict=True):
                    corrected.write_flags(frame, *flags)
                if block.energy.adler is not None:
                    written.add(block.energy.offsets, corrected.frame_bytes, block.energy.adler)
        return FileRecord.of(part, out.name, written)


def keep(part: Path, out: Path, _: int, content: Iterator[memoryview]) -> None:
    """Send a stream to the file `part`, which will be `out`. Raises OutputFailed."""
    with writing(out), part.open("wb") as file:
        for piece in content:
            file.write(piece)


def to_stream(name: str, send: Send, correction: Correction) -> FileRecord:
    """Send the file of this name. Raises what `send` raises."""
    try:
        return _sent(name, send, correction, measured=True)
    except FlagsTooLarge:
        log.info("%s is sent again: its flags need more room than those of its first frames", name)
        return _sent(name, send, correction, measured=False)


def _sent(name: str, send: Send, correction: Correction, *, measured: bool) -> FileRecord:
    """measured: the first block says how much room flags get."""
    parameters, passed = correction.work.parameters, Sum()
    stream = StreamedFile(correction.raw, dtype=dtype_of(parameters), legacy_names=parameters.legacy_names)
    with closing(correction.blocks(stream)) as blocks:
        content = stream.content(stream.measured(blocks) if measured else blocks)
        send(stream.size, passed.over(content))
    return FileRecord(name=name, size=stream.size, adler32=f"{passed.adler32:08x}")


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """What goes wrong with the output is told by name; h5py tells errors of the system in words only."""
    try:
        yield
    except OSError as error:
        known = next((n for n in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS) if _is(error, n)), None)
        reason = os.strerror(known) if known else str(error).splitlines()[0]
        raise OutputFailed(f"{out.name} cannot be written: {reason}", remedy=f"look at {out.parent}") from error


def _is(error: OSError, number: int) -> bool:
    return error.errno == number or f"errno = {number}," in str(error)
