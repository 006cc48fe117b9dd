"""What an action prints is kept by the platform, for everybody who may read its records: it goes there without
credentials, line by line.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from xdc_testbed import redaction


@contextmanager
def without_credentials(known: Sequence[str]) -> Iterator[None]:
    """Search everything that Python code prints; known: the secrets of this action, which need not look like one."""
    out, err = _Searched(sys.stdout, known), _Searched(sys.stderr, known)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            out.end()
            err.end()


class _Searched(io.TextIOBase):
    """A stream in front of another one. A line is written when it is whole: half a secret would not be found."""

    def __init__(self, stream: TextIO, known: Sequence[str]) -> None:
        self._stream, self._known, self._rest = stream, known, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._stream.write(redaction.text(line, self._known) + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def end(self) -> None:
        """Write what is left of an unfinished line."""
        if self._rest:
            self.write("\n")
