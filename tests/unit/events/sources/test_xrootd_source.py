"""XRootD's notifications as StorageEvents."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.journal import Place
from xdc_testbed.events.model import EventType, StorageEvent
from xdc_testbed.events.sources.outlet import PlaceFile
from xdc_testbed.events.sources.xrootd import NotANotice, Notice, Translator

PLACE = Place(inode=7, generation=0, position=100)


def translate(*lines: str) -> list[StorageEvent | None]:
    translator = Translator("bed", "desy-storage")
    return [
        translator.translate(Notice.parse(line.encode()), Place(7, 0, number), seen=5.0)
        for number, line in enumerate(lines)
    ]


def test_a_closed_file_was_written() -> None:
    (event,) = translate('{"ev":"closew","tid":"u.12:3@host","lfn":"/data/a","size":"42"}')
    assert event is not None
    assert (event.type, event.subject, event.data.size, event.data.user, event.data.closed_at) == (
        EventType.WRITTEN,
        "/data/a",
        42,
        "u",
        5.0,
    )


def test_the_time_that_the_journal_gives_is_when_the_file_was_closed() -> None:
    (event,) = translate('{"ev":"closew","tid":"","lfn":"/data/a","size":"42","at":1700000000.250000}')
    assert event is not None
    assert event.data.closed_at == 1700000000.25


def test_the_source_names_testbed_and_endpoint() -> None:
    (event,) = translate('{"ev":"closew","tid":"","lfn":"/data/a","size":"42"}')
    assert event is not None
    assert (event.source, event.key) == ("xdc://bed/desy-storage", "desy-storage:/data/a")


def test_a_token_user_is_unknown() -> None:
    (event,) = translate('{"ev":"closew","tid":"unknown.5","lfn":"/data/a","size":"1"}')
    assert event is not None
    assert event.data.user is None


def test_a_moved_file_has_its_old_name_and_the_size_it_was_written_with() -> None:
    unseen, moved = translate(
        '{"ev":"closew","tid":"","lfn":"/data/a.part-1","size":"42"}',
        '{"ev":"mv","tid":"","lfn":"/data/a.part-1","lfn2":"/data/a"}',
    )
    assert unseen is None
    assert moved is not None
    assert (moved.type, moved.subject, moved.data.old_path, moved.data.size) == (
        EventType.MOVED,
        "/data/a",
        "/data/a.part-1",
        42,
    )


def test_an_aborted_upload_ends_as_deleted() -> None:
    written, deleted = translate(
        '{"ev":"closew","tid":"","lfn":"/data/a","size":"0"}', '{"ev":"rm","tid":"","lfn":"/data/a"}'
    )
    assert written is not None
    assert deleted is not None
    assert (written.type, deleted.type) == (EventType.WRITTEN, EventType.DELETED)


@pytest.mark.parametrize(
    "line",
    [
        '{"ev":"create","tid":"","lfn":"/data/a"}',
        '{"ev":"mkdir","tid":"","lfn":"/data/d"}',
        '{"ev":"rmdir","tid":"","lfn":"/data/d"}',
        '{"ev":"trunc","tid":"","size":"5"}',
        '{"ev":"closew","tid":"","lfn":"/data/a.h5.part-0123","size":"5"}',
        '{"ev":"rm","tid":"","lfn":"/data/a.h5.part-0123"}',
    ],
)
def test_what_concerns_no_finished_file_is_no_event(line: str) -> None:
    assert translate(line) == [None]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'{"ev":"closew"}',
        b"null",
        b'{"ev":"closew","lfn":"/a","size":"1"',
        b"\xff\xfe",
        b'{"ev":"closew","tid":"u.1:2@h","lfn":"/data/new',  # a name with a newline, which XRootD writes as it is:
        b'line.h5","size":"7","at":1.500000}',  # neither half may be taken for a file
    ],
)
def test_garbage_is_refused(line: bytes) -> None:
    with pytest.raises(NotANotice):
        Notice.parse(line)


@pytest.mark.parametrize(
    "line",
    [
        '{"ev":"closew","tid":"","lfn":"/a","size":"9007199254740992"}',
        f'{{"ev":"closew","tid":"","lfn":"/a","size":"{"9" * 5000}"}}',
        f'{{"ev":"closew","tid":"","lfn":"/{"a" * 8192}","size":"1"}}',
        f'{{"ev":"mv","tid":"","lfn":"/{"a" * 8192}","lfn2":"/a"}}',
        f'{{"ev":"rm","tid":"","lfn":"/a","at":{"9" * 40}.0}}',
    ],
)
def test_absurd_sizes_paths_and_times_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        translate(line)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=30))
def test_any_name_comes_through_unescaped(name: str) -> None:
    line = f'{{"ev":"closew","tid":"a.1:2@h","lfn":"/{name}","size":"7","at":1.500000}}'
    notice = Notice.parse(line.encode())
    assert (notice.lfn, notice.size, notice.at) == (f"/{name}", 7, 1.5)


def test_the_same_line_at_the_same_place_is_the_same_fact() -> None:
    line = Notice.parse(b'{"ev":"closew","tid":"","lfn":"/data/a","size":"42"}')
    first = Translator("bed", "desy-storage").translate(line, PLACE, seen=1.0)
    again = Translator("bed", "desy-storage").translate(line, PLACE, seen=9.0)
    assert first is not None
    assert again is not None
    assert first.id == again.id


def test_the_same_file_written_again_is_another_fact() -> None:
    line = '{"ev":"closew","tid":"","lfn":"/data/a","size":"42"}'
    first, second = translate(line, line)
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_a_stored_place_is_found_again(tmp_path: Path) -> None:
    PlaceFile(tmp_path / "place").store(PLACE)
    assert PlaceFile(tmp_path / "place").load(Place()) == PLACE


def test_without_a_stored_place_the_journal_is_read_from_its_beginning(tmp_path: Path) -> None:
    assert PlaceFile(tmp_path / "place").load(Place()) == Place()


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("{")
    with pytest.raises(WrongUsage, match="place"):
        PlaceFile(tmp_path / "place").load(Place())
