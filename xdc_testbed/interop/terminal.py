"""The matrix and what a reader has to know, for a terminal: renderables for the console that the command
line holds.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from xdc_testbed.interop.record import CaseRecord, Outcome, count
from xdc_testbed.interop.report import Matrix, Summary, matrices

MARK: dict[Outcome, tuple[str, str]] = {
    "pass": ("✓", "green"),
    "expected-deviation": ("≈", "yellow"),
    "skipped": ("○", "dim"),
    "fail": ("✗", "bold red"),
    "unexpected-pass": ("!", "bold magenta"),
    "error": ("E", "bold red"),
}
_SHOWN = 30  # bad records that are listed one by one


def render(records: Sequence[CaseRecord]) -> RenderableType:
    """Matrices, bad records, expected deviations, legend and totals."""
    return Group(*_parts(records))


def as_text(records: Sequence[CaseRecord], width: int = 140) -> str:
    """What `render` shows, as plain text. width: columns."""
    console = Console(width=width, color_system=None, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(render(records))
    return captured.get()


def totals(records: Sequence[CaseRecord]) -> Text:
    """One line: how many came to which outcome."""
    text = Text(f"{len(records)} results: ")
    for outcome, number in count(records).items():
        if number:
            mark, style = MARK[outcome]
            text.append(f"{mark} {number} {outcome}  ", style)
    return text


def _parts(records: Sequence[CaseRecord]) -> Iterator[RenderableType]:
    for matrix in matrices(records):
        yield _table(matrix)
        yield Text()
    bad = [record for record in records if record.bad]
    for record in bad[:_SHOWN]:
        mark, style = MARK[record.outcome]
        yield Text.assemble((f"{mark} {record.name}", style), f"\n    {record.reason}")
    if len(bad) > _SHOWN:
        yield Text(f"… and {len(bad) - _SHOWN} more in the report")
    yield from _deviations(records)
    yield from _ends(records)
    yield totals(records)


def _table(matrix: Matrix) -> Table:
    table = Table(title=matrix.title, title_justify="left", header_style="bold", row_styles=("", "dim"), pad_edge=False)
    table.add_column("case", no_wrap=True)
    for place in matrix.places:
        table.add_column(escape(place.replace(" → ", "\n→ ")), justify="center")
    for row in matrix.rows:
        table.add_row(row.case_id, *(_cell(cell) for cell in row.cells))
    return table


def _cell(summary: Summary | None) -> Text:
    if summary is None:
        return Text("·", "dim")
    text = Text()
    for outcome, number in summary.counts.items():
        mark, style = MARK[outcome]
        text.append(f" {mark}{number}", style)
    return text


def _deviations(records: Sequence[CaseRecord]) -> Iterator[RenderableType]:
    ids = dict.fromkeys(r.deviation for r in records if r.outcome == "expected-deviation" and r.deviation)
    for deviation in ids:
        of_it = [r for r in records if r.deviation == deviation and r.outcome == "expected-deviation"]
        yield Text.assemble((f"≈ {deviation}", "yellow"), f" ({len(of_it)}): {of_it[0].reason}")


def _ends(records: Sequence[CaseRecord]) -> Iterator[RenderableType]:
    """Which endpoints answered, and of which kind they are: an emulator's result is never taken for a
    product's.
    """
    parties = {party for r in records for party in (r.source, r.destination) if party is not None}
    for party in sorted(parties, key=lambda one: one.endpoint):
        kind = "green" if party.kind == "real" else "yellow"
        yield Text.assemble(
            f"  {party.endpoint}: {party.product} {party.version} at {party.site}, ", (party.kind, kind)
        )
