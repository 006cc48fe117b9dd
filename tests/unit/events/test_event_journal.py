"""Following a journal: every complete line once, across half lines, restarts, truncation and replacement."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.events.journal import Journal, Line, Place


def texts(lines: list[Line]) -> list[bytes]:
    return [line.text for line in lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def test_lines_that_are_there_come_at_once(path: Path) -> None:
    append(path, b"a\nb\n")
    with Journal(path) as journal:
        assert texts(list(journal.lines(0))) == [b"a", b"b"]


def test_a_half_line_waits_for_its_end(path: Path) -> None:
    append(path, b"a\nhal")
    with Journal(path) as journal:
        assert texts(list(journal.lines(0))) == [b"a"]
        append(path, b"f\n")
        assert texts(list(journal.lines(0))) == [b"half"]


def test_a_restart_goes_on_after_the_last_line(path: Path) -> None:
    append(path, b"a\nb\n")
    with Journal(path) as journal:
        first, *_ = journal.lines(0)
    with Journal(path, first.resume) as journal:
        assert texts(list(journal.lines(0))) == [b"b"]


def test_a_line_has_the_same_place_when_read_again(path: Path) -> None:
    append(path, b"a\nb\n")
    with Journal(path) as journal:
        once = list(journal.lines(0))
    with Journal(path) as journal:
        assert list(journal.lines(0)) == once


def test_the_file_may_come_later(path: Path) -> None:
    with Journal(path) as journal:
        assert list(journal.lines(0)) == []
        append(path, b"a\n")
        assert texts(list(journal.lines(0))) == [b"a"]


def test_an_appended_line_wakes_the_reader(path: Path) -> None:
    append(path, b"")
    with Journal(path) as journal:
        list(journal.lines(0))
        writer = threading.Thread(target=append, args=(path, b"late\n"))
        writer.start()
        found: list[Line] = []
        while not found:
            found = list(journal.lines(10))
        writer.join()
    assert texts(found) == [b"late"]


def test_truncation_begins_a_new_generation(path: Path) -> None:
    append(path, b"aaaa\nbbbb\n")
    with Journal(path) as journal:
        before, *_ = journal.lines(0)
        path.write_bytes(b"cccc\n")
        after, *_ = journal.lines(0)
    assert after.text == b"cccc"
    assert after.start == Place(before.start.inode, before.start.generation + 1, 0)


def test_truncation_while_nobody_reads_begins_a_new_generation(path: Path) -> None:
    append(path, b"aaaa\nbbbb\n")
    with Journal(path) as journal:
        last = list(journal.lines(0))[-1]
    path.write_bytes(b"c\n")
    with Journal(path, last.resume) as journal:
        assert [(line.text, line.start.generation) for line in journal.lines(0)] == [(b"c", 1)]


def test_a_replaced_file_is_read_to_its_end_and_the_new_one_from_its_beginning(path: Path) -> None:
    append(path, b"a\n")
    with Journal(path) as journal:
        list(journal.lines(0))
        append(path, b"b\n")
        path.rename(path.with_name("journal.1"))
        append(path, b"c\n")
        assert texts(list(journal.lines(0))) == [b"b", b"c"]


def rotate(path: Path) -> None:
    """As the program does that keeps the journal."""
    for number in range(8, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def test_what_was_rotated_away_while_nobody_read_is_read_in_order(path: Path) -> None:
    append(path, b"a\nb\n")
    with Journal(path) as journal:
        first, *_ = journal.lines(0)
    for text in (b"c\n", b"d\n", b"e\n"):
        rotate(path)
        append(path, text)
    with Journal(path, first.resume) as journal:
        assert texts(list(journal.lines(0))) == [b"b", b"c", b"d", b"e"]


def test_a_place_stays_the_same_when_its_file_is_rotated_away(path: Path) -> None:
    append(path, b"a\nb\n")
    with Journal(path) as journal:
        once = list(journal.lines(0))
    rotate(path)
    append(path, b"c\n")
    with Journal(path) as journal:
        assert list(journal.lines(0))[:2] == once


def test_when_the_known_file_is_gone_everything_that_is_left_is_read(path: Path) -> None:
    append(path, b"a\n")
    with Journal(path) as journal:
        (last,) = journal.lines(0)
    for text in (b"b\n", b"c\n"):
        rotate(path)
        append(path, text)
    path.with_name("journal.2").unlink()
    with Journal(path, last.resume) as journal:
        assert texts(list(journal.lines(0))) == [b"b", b"c"]


@given(
    st.lists(st.binary(max_size=20).filter(lambda text: b"\n" not in text), max_size=20),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_any_cut_of_the_writes_gives_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cuts") / "journal"
    content = b"".join(line + b"\n" for line in lines)
    found: list[bytes] = []
    with Journal(path) as journal:
        last = 0
        for cut in [*sorted(cuts), len(content)]:
            append(path, content[last:cut])
            last = max(last, min(cut, len(content)))
            found += texts(list(journal.lines(0)))
    assert found == lines
