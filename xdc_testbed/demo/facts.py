"""What the demonstration has seen: the content of story.json, written on the client node, judged elsewhere.

All times are epoch seconds by the clock of the node that saw the thing happen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from xdc_testbed.demo.detector_data import RawDataFile
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.events.model import Result

STORY_FILE = "story.json"
RUN_FILE = "run.json"
BEFORE_FILE = "before.npz"


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Copy(_Facts):
    """A corrected file as one storage has it, read and compared with the first one. seconds: of the read."""

    endpoint: str
    size: int
    adler32: str
    equal: bool
    seconds: float


class Tape(_Facts):
    """The class of a raw file in the end, as its storage says. locality: e.g. `ONLINE_AND_NEARLINE`."""

    qos: str | None
    locality: str | None

    @property
    def safe(self) -> bool:
        """Whether it has the class and a copy on tape."""
        return self.qos == "tape" and "NEARLINE" in (self.locality or "")


class FileStory(_Facts):
    """What became of one raw file.

    path, corrected: in the storage's namespace; calibrate, transfer, catalogue, archive (the action qos): the results
    of the actions; copies: the corrected file at the sites; cached: the same read through the cache, first and second
    time; tape: of the raw file, where the storage has one; said: the outcome in words.
    """

    raw: RawDataFile
    path: str
    upload_started: float
    uploaded: float
    calibrate: Result | None = None
    transfer: Result | None = None
    catalogue: Result | None = None
    archive: Result | None = None
    tape: Tape | None = None
    dead_letter: str | None = None
    corrected: str | None = None
    copies: tuple[Copy, ...] = ()
    cached: tuple[Copy, ...] = ()
    outcome: Literal["corrected", "failed", "missing"]
    said: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def as_expected(self) -> bool:
        """Whether it became what its manifest says, the failure word for word."""
        if self.raw.expected == "corrected":
            return self.outcome == "corrected" and all(copy.equal for copy in (*self.copies, *self.cached))
        return self.outcome == "failed" and (self.raw.reason or "") in (self.dead_letter or "")


class Phase(_Facts):
    """A step of the demonstration, and how long it took."""

    name: str
    said: str
    seconds: float


class Story(_Facts):
    """The whole demonstration.

    origin, remote, cache: ids of endpoints; archived: whether raw data had to go to tape; events: storage
    events of this run's files that went through the broker; residue: names that no complete file has, left in a
    folder of results.
    """

    schema_version: Literal[3] = 3
    preset: str
    run: int
    started: float
    ended: float
    endpoints: tuple[Endpoint, ...]
    origin: str
    remote: str | None
    cache: str | None
    archived: bool = False
    phases: tuple[Phase, ...]
    files: tuple[FileStory, ...]
    events: int
    residue: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        """Whether every file became what it had to, and nothing else is left."""
        return all(file.as_expected for file in self.files) and not self.residue

    @property
    def unexpected(self) -> list[str]:
        """A line for each thing that is not as it had to be."""
        lines = [f"{file.name}: {file.said}" for file in self.files if not file.as_expected]
        return lines + [f"left over: {name}" for name in self.residue]

    @classmethod
    def read(cls, folder: Path) -> Story:
        """The story in a folder that the demonstration wrote. Raises FileNotFoundError, ValidationError."""
        return cls.model_validate_json((folder / STORY_FILE).read_bytes())

    def write(self, folder: Path) -> None:
        """Write story.json."""
        (folder / STORY_FILE).write_text(self.model_dump_json(indent=2) + "\n")
