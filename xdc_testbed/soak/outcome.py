"""What came of a soak: a line for each fault, and all of them. Written as JSON lines, read by the reports."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from xdc_testbed.endpoints import Endpoint


class _Outcome(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(_Outcome):
    """When a step was. faults: as sentences; began, over: seconds after the first file, over: when its faults were.

    recovered: seconds from there until the last file that was held up had ended; None when something did not recover.
    """

    name: str
    faults: tuple[str, ...] = ()
    began: float = 0.0
    over: float = 0.0
    recovered: float | None = 0.0
    must_say: str | None = None


class Line(_Outcome):
    """The ledger of one step of a soak.

    refused: uploads that had to be tried again, by reason; repeated: ends too many.

    results, dead_letters: files that ended so; reasons: of dead letters, and how many have it; problems: why it is red.
    """

    span: Span
    files_in: int
    transferred: int
    results: int
    dead_letters: int
    reasons: dict[str, int]
    refused: dict[str, int]
    repeated: int
    problems: tuple[str, ...]

    @property
    def green(self) -> bool:
        """Whether files in = results + dead letters, nothing is there twice, and all is well again."""
        return not self.problems and self.files_in == self.results + self.dead_letters


class Outcome(_Outcome):
    """A whole soak. lines: one for each step, the last one for the files from between; started: epoch seconds.

    residue: names at the other site that no file has: what was being copied when something died; backlog: files
    without an end, at each second.
    """

    title: str
    testbed: str
    run: str
    started: float
    seconds: float
    lines: tuple[Line, ...]
    residue: tuple[str, ...]
    backlog: tuple[int, ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def green(self) -> bool:
        """Whether every line is."""
        return all(line.green for line in self.lines)
