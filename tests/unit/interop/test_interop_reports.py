from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from interop_examples import party, record

from xdc_testbed.interop import deviations, html, registry, report, terminal
from xdc_testbed.interop.record import OUTCOMES, CaseRecord, count, read, size_name

PAIR = {"source": party("desy-storage"), "destination": party("remote-storage")}
RECORDS = [
    record(case_id="transfer.put-get", title="Upload and download", size=1 << 20),
    record(case_id="transfer.put-get", title="Upload and download", size=0, outcome="fail", reason="<wrong> & bytes"),
    record(case_id="copy.https", title="Third-party copy", direction="pull", **PAIR),
    record(
        case_id="copy.status",
        title="Status",
        direction="pull",
        outcome="expected-deviation",
        reason="answered with 201",
        deviation="xrootd-5-copy-answers-201",
        **PAIR,
    ),
    record(case_id="denial.read", title="Who", outcome="skipped", reason="no stranger", credential="stranger"),
    record(case_id="cache.read", title="Read", source=party("cache", kind="emulator"), outcome="error", reason="late"),
]

texts = st.text(max_size=40)
records = st.lists(
    st.builds(
        record,
        case_id=st.sampled_from(["a.b", "a.c", "d.e"]),
        outcome=st.sampled_from(OUTCOMES),
        reason=st.none() | texts,
        variant=st.none() | texts,
        size=st.none() | st.integers(0, 1 << 40),
        source=st.builds(party, st.sampled_from(["one", "two"]), kind=st.sampled_from(["real", "emulator"])),
        destination=st.none() | st.builds(party, st.sampled_from(["three", "four"])),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(records)
def test_records_survive_json_lines(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_text(report.json_lines(some), encoding="utf-8", newline="")
    assert list(read(path)) == some


@settings(deadline=None)
@given(records)
def test_junit_is_well_formed_and_counts_every_record_once(some):
    root = ElementTree.fromstring(report.junit(some))  # noqa: S314 - written a line ago
    cases = root.findall(".//testcase")
    seen = count(some)
    assert len(cases) == len(some) == int(root.attrib["tests"])
    assert len(root.findall(".//failure")) == seen["fail"] + seen["unexpected-pass"]
    assert len(root.findall(".//error")) == seen["error"]
    assert len(root.findall(".//skipped")) == seen["skipped"] + seen["expected-deviation"]


@settings(deadline=None)
@given(records)
def test_every_record_is_in_exactly_one_cell_of_the_matrices(some):
    cells = [cell for matrix in report.matrices(some) for row in matrix.rows for cell in row.cells if cell]
    assert sorted(r.name for cell in cells for r in cell.records) == sorted(r.name for r in some)


def test_junit_gives_the_reason_of_a_failure():
    root = ElementTree.fromstring(report.junit(RECORDS))  # noqa: S314 - written a line ago
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.attrib["message"] == "<wrong> & bytes"


def test_a_cell_shows_its_worst_outcome():
    singles = report.matrices(RECORDS)[0]
    row = next(one for one in singles.rows if one.case_id == "transfer.put-get")
    cell = row.cells[singles.places.index("desy-storage")]
    assert cell is not None
    assert cell.worst == "fail"
    assert cell.counts == {"fail": 1, "pass": 1}


def test_the_terminal_shows_matrix_reasons_and_kinds():
    text = terminal.as_text(RECORDS)
    assert "✗1 ✓1" in text
    assert "<wrong> & bytes" in text
    assert re.search(r"cache: .*emulator", text)
    assert "6 results" in text


def test_the_terminal_takes_reasons_that_look_like_markup():
    assert "[/bold] [ERROR] closed" in terminal.as_text([record(outcome="fail", reason="[/bold] [ERROR] closed")])


def page(some: list[CaseRecord]) -> str:
    return html.render(some, deviations.load(), registry.all_cases(), "testbed demo")


def test_the_page_needs_nothing_from_outside():
    outside = re.findall(r'(?:src|href)="(?!#)([^"]*)"', page(RECORDS))
    assert outside == ["https://github.com/xrootd/xrootd/issues/2625"]
    assert "url(" not in page(RECORDS)
    assert "@import" not in page(RECORDS)


def test_the_page_shows_every_record_once_with_its_reason():
    text = page(RECORDS)
    assert text.count("<details ") == len(RECORDS)
    assert "&lt;wrong&gt; &amp; bytes" in text
    assert "<wrong>" not in text


def test_the_page_says_which_kind_answered_and_what_that_means():
    text = page(RECORDS)
    assert '<span class="badge emulator">emulator</span>' in text
    assert "says nothing about the product" in text


def test_the_page_explains_a_shown_deviation_and_no_other():
    text = page(RECORDS)
    assert "xrootd-5-copy-answers-201" in text
    assert "xrootd-5-mkcol-twice" not in text


@settings(max_examples=25, deadline=None)
@given(records)
def test_the_page_can_be_made_of_any_records(some):
    assert page(some).endswith("</html>")


def test_files_of_a_run_appear_whole(tmp_path):
    written = report.write({"a.txt": "a", "b.txt": "b"}, tmp_path / "out")
    assert {name: path.read_text() for name, path in written.items()} == {"a.txt": "a", "b.txt": "b"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b.txt"]


def test_sizes_are_named_for_people():
    assert [size_name(size) for size in (0, 1, 1000, 1024, 16 << 20, 3 << 30)] == [
        "0 B",
        "1 B",
        "1000 B",
        "1 KiB",
        "16 MiB",
        "3 GiB",
    ]
