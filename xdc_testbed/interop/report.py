"""Reports of a run: JSON lines, JUnit XML and one HTML file; and the matrix that the terminal and the HTML
show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from xdc_testbed.interop.record import OUTCOMES, CaseRecord, Outcome, count

RECORDS = "records.jsonl"
JUNIT = "junit.xml"
MATRIX = "matrix.txt"
HTML = "report.html"


@dataclass(frozen=True)
class Summary:
    """The records of one case at one place (an endpoint or an ordered pair)."""

    records: tuple[CaseRecord, ...]

    @property
    def worst(self) -> Outcome:
        """The outcome that a reader has to know of."""
        return max((record.outcome for record in self.records), key=OUTCOMES.index)

    @property
    def counts(self) -> dict[Outcome, int]:
        """Outcomes that occur, worst first."""
        return {outcome: n for outcome, n in reversed(count(self.records).items()) if n}


@dataclass(frozen=True)
class Row:
    """One case over all places. cells: as long as the matrix's places, None where the case was not asked."""

    case_id: str
    title: str
    cells: tuple[Summary | None, ...]


@dataclass(frozen=True)
class Matrix:
    """Cases by places; places are ids of endpoints, or `source → destination`."""

    title: str
    places: tuple[str, ...]
    rows: tuple[Row, ...]


def matrices(records: Sequence[CaseRecord]) -> list[Matrix]:
    """The matrix of single endpoints and the one of ordered pairs, each in the records' order; without
    empty ones.
    """
    return [
        matrix
        for title, of_pairs in (("Single endpoints", False), ("Ordered pairs", True))
        if (matrix := _matrix(title, [r for r in records if (r.destination is not None) is of_pairs])).rows
    ]


def _matrix(title: str, records: Sequence[CaseRecord]) -> Matrix:
    places = tuple(sorted({record.where for record in records}))
    subjects = list(dict.fromkeys(record.case_id.partition(".")[0] for record in records))
    cells: dict[str, dict[str, list[CaseRecord]]] = {}
    for record in records:
        cells.setdefault(record.case_id, {}).setdefault(record.where, []).append(record)
    rows = (
        Row(
            case_id=case_id,
            title=next(iter(by_place.values()))[0].title,
            cells=tuple(Summary(tuple(by_place[place])) if place in by_place else None for place in places),
        )
        for case_id, by_place in sorted(cells.items(), key=lambda item: subjects.index(item[0].partition(".")[0]))
    )
    return Matrix(title, places, tuple(rows))


def json_lines(records: Sequence[CaseRecord]) -> str:
    """One record a line."""
    return "".join(record.model_dump_json() + "\n" for record in records)


def junit(records: Sequence[CaseRecord], name: str = "xdc-testbed interop") -> str:
    """JUnit XML: a suite per case, a test case per record; an expected deviation counts as skipped, with
    its reason.
    """
    root = ElementTree.Element("testsuites", {"name": name, **_totals(records)})
    by_case: dict[str, list[CaseRecord]] = {}
    for record in records:
        by_case.setdefault(record.case_id, []).append(record)
    for case_id, of_case in by_case.items():
        began = datetime.fromtimestamp(min(r.timings.started_at for r in of_case), UTC).isoformat(timespec="seconds")
        attributes = {"name": case_id, "timestamp": began, **_totals(of_case)}
        suite = ElementTree.SubElement(root, "testsuite", attributes)
        for record in of_case:
            test = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"interop.{case_id}",
                name=printable(f"{record.where} [{record.dimensions}]"),
                time=f"{record.timings.seconds:.3f}",
            )
            _verdict(test, record)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _verdict(test: ElementTree.Element, record: CaseRecord) -> None:
    reason = printable(record.reason or "")
    match record.outcome:
        case "fail" | "unexpected-pass":
            ElementTree.SubElement(test, "failure", type=record.outcome, message=reason).text = reason
        case "error":
            ElementTree.SubElement(test, "error", type="error", message=reason).text = reason
        case "expected-deviation":
            message = f"expected deviation {record.deviation}: {reason}"
            ElementTree.SubElement(test, "skipped", type=record.outcome, message=message)
        case "skipped":
            ElementTree.SubElement(test, "skipped", type=record.outcome, message=reason)
        case "pass":
            pass


def _totals(records: Sequence[CaseRecord]) -> dict[str, str]:
    seen = count(records)
    return {
        "tests": str(len(records)),
        "failures": str(seen["fail"] + seen["unexpected-pass"]),
        "errors": str(seen["error"]),
        "skipped": str(seen["skipped"] + seen["expected-deviation"]),
        "time": f"{sum(record.timings.seconds for record in records):.3f}",
    }


def printable(text: str) -> str:
    """Text without the characters that XML 1.0 forbids."""
    return "".join(c if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE else "�" for c in text)


def write(texts: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Write files into a folder, which is made; each appears whole or not at all. Returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        part = folder / f".{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)
    return {name: folder / name for name in texts}
