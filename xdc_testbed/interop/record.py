"""What one case on one cell of the matrix came to: the only thing that reports are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from xdc_testbed.endpoints import Endpoint, Kind

Outcome = Literal["pass", "expected-deviation", "skipped", "fail", "unexpected-pass", "error"]
OUTCOMES: tuple[Outcome, ...] = ("pass", "expected-deviation", "skipped", "fail", "unexpected-pass", "error")
BAD: frozenset[Outcome] = frozenset({"fail", "unexpected-pass", "error"})

MEANING: dict[Outcome, str] = {
    "pass": "the answer is right",
    "expected-deviation": "the answer is wrong in a known way, with reason, link and expiry date",
    "skipped": "the case could not be asked here; the reason is given",
    "fail": "the product answered, and the answer is wrong",
    "unexpected-pass": "a known deviation did not show: its entry has to go",
    "error": "the suite could not ask: deadline exceeded, or a defect of the suite",
}


class Party(BaseModel):
    """One end of a case. kind says whether a real product, an emulator of one, or a service not made here
    answered.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    site: str
    product: str
    version: str
    kind: Kind

    @classmethod
    def of(cls, endpoint: Endpoint) -> Party:
        """The part of an endpoint that a report needs."""
        return cls(
            endpoint=endpoint.id,
            site=endpoint.site,
            product=endpoint.product,
            version=endpoint.version,
            kind=endpoint.kind,
        )


class Timings(BaseModel):
    """started_at: epoch seconds; seconds: the case itself; cleanup_seconds: removal of its files and search
    for residue.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    started_at: float
    seconds: float
    cleanup_seconds: float = 0.0


class CaseRecord(BaseModel):
    """One case on one cell of the matrix.

    source: the endpoint of a case that has only one; size: bytes; direction: of a third-party copy, `pull`
    or `push`; variant: what is varied beside the other dimensions, e.g. a name or a range; reason: why the
    outcome is
    not `pass`; deviation: id in deviations.toml; evidence: what was seen, without credentials.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    case_id: str
    title: str
    client: str
    source: Party
    destination: Party | None = None
    protocol: str
    credential: str
    direction: str | None = None
    size: int | None = None
    variant: str | None = None
    outcome: Outcome
    reason: str | None = None
    deviation: str | None = None
    timings: Timings
    evidence: dict[str, JsonValue] = {}

    @property
    def bad(self) -> bool:
        """Whether this record makes the run fail."""
        return self.outcome in BAD

    @property
    def where(self) -> str:
        """The endpoints: `desy-storage` or `desy-storage → remote-storage`."""
        return (
            self.source.endpoint
            if self.destination is None
            else f"{self.source.endpoint} → {self.destination.endpoint}"
        )

    @property
    def dimensions(self) -> str:
        """Everything that tells this record from the others of its case at the same endpoints."""
        size = None if self.size is None else size_name(self.size)
        return ", ".join(part for part in (self.protocol, self.credential, self.direction, size, self.variant) if part)

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.case_id} [{self.where}; {self.dimensions}]"


def size_name(size: int) -> str:
    """A size for people: `0 B`, `1 MiB`, `16 MiB`."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and size % (1 << power) == 0:
            return f"{size >> power} {unit}"
    return f"{size} B"


def count(records: Iterable[CaseRecord]) -> dict[Outcome, int]:
    """How many records came to which outcome; every outcome is there, in a fixed order."""
    seen = Counter(record.outcome for record in records)
    return {outcome: seen.get(outcome, 0) for outcome in OUTCOMES}


def read(path: Path) -> Iterator[CaseRecord]:
    """The records of a JSON lines file. Raises pydantic.ValidationError."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield CaseRecord.model_validate_json(line)
