"""The one-file HTML report: the matrix, every result with its evidence, known deviations, and what
answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, StrictUndefined, Template

from xdc_testbed import __version__
from xdc_testbed.interop.deviations import Deviation
from xdc_testbed.interop.record import MEANING, OUTCOMES, CaseRecord, count
from xdc_testbed.interop.registry import Case
from xdc_testbed.interop.report import Matrix, matrices
from xdc_testbed.interop.terminal import MARK

_KINDS = {
    "real": "the product itself, as its packages are published",
    "emulator": ("a small program that speaks the product's protocol; it says nothing about the product's own defects"),
    "external": "a service that this testbed did not make",
}


def render(records: Sequence[CaseRecord], known: Sequence[Deviation], cases: Sequence[Case], title: str) -> str:
    """The report as one HTML page without any reference to the outside.

    cases: those that explain themselves; title: what was tested, e.g. the testbed's name.
    """
    parties = {party for r in records for party in (r.source, r.destination) if party is not None}
    shown = {r.deviation for r in records if r.outcome in ("expected-deviation", "unexpected-pass")}
    began = min((r.timings.started_at for r in records), default=0.0)
    ended = max((r.timings.started_at + r.timings.seconds + r.timings.cleanup_seconds for r in records), default=0.0)
    return _template().render(
        title=title,
        version=__version__,
        records=records,
        matrices=[(matrix, _subjects(matrix)) for matrix in matrices(records)],
        parties=sorted(parties, key=lambda party: party.endpoint),
        kinds={kind: text for kind, text in _KINDS.items() if any(party.kind == kind for party in parties)},
        counts={outcome: number for outcome, number in count(records).items() if number},
        outcomes=OUTCOMES,
        meaning=MEANING,
        mark={outcome: mark for outcome, (mark, _) in MARK.items()},
        questions={case.id: case.explanation for case in cases},
        subject_texts={case.subject: case.subject_text for case in cases},
        deviations=[entry for entry in known if entry.id in shown],
        bad=[record for record in records if record.bad],
        began=datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        seconds=ended - began,
        run_id=records[0].run_id if records else "",
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8"))


def _subjects(matrix: Matrix) -> list[tuple[str, list[tuple[int, str]]]]:
    """Rows (number, case id) of a matrix by subject, in order."""
    numbered = [(number, row.case_id) for number, row in enumerate(matrix.rows)]
    return [(subject, list(rows)) for subject, rows in groupby(numbered, key=lambda row: row[1].partition(".")[0])]
