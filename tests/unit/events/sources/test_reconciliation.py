"""Files that no event has named are told after the grace time, once, with the id that their event would have had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.clients.errors import Unreachable
from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.events.sources.facts import Facts
from xdc_testbed.events.sources.listing import Seen
from xdc_testbed.events.sources.named import Names
from xdc_testbed.events.sources.reconcile import ReconcileConfig, Reconciler, ReconcileTable

FACTS = Facts("bed", "dcache")
START = 1_000_000.0


class Storage:
    """Files and folders in memory; folders carry the time at which a name in them changed last."""

    def __init__(self, *, incremental: bool = True) -> None:
        self.incremental = incremental
        self.names: dict[str, Seen] = {"/data": Seen("/data", True, None, START)}
        self.listed: list[str] = []
        self.away = False

    def put(self, path: str, storage_id: str | None, at: float, size: int | None = 5) -> None:
        """A file, with the folders above it."""
        parts = path.split("/")
        for depth in range(2, len(parts)):
            folder = "/".join(parts[:depth])
            self.names.setdefault(folder, Seen(folder, True, None, at))
        self.names[path] = Seen(path, False, size, at, storage_id, {"adler32": "00000001"})
        self._touch(path, at)

    def remove(self, path: str, at: float) -> None:
        """A file is gone."""
        del self.names[path]
        self._touch(path, at)

    def _touch(self, path: str, at: float) -> None:
        folder = path.rpartition("/")[0]
        self.names[folder] = Seen(folder, True, None, at)

    def folder(self, path: str, known: float | None) -> tuple[float | None, list[Seen] | None] | None:
        if self.away:
            raise Unreachable("away")
        if path in self.names and self.incremental and self.names[path].modified == known:
            return known, None
        self.listed.append(path)
        if path not in self.names:
            return None
        inside = [each for name, each in self.names.items() if name.rpartition("/")[0] == path and name != path]
        return self.names[path].modified if self.incremental else None, inside

    def file(self, path: str) -> Seen | None:
        return self.names.get(path)

    def event(self, seen: Seen, former: str | None) -> StorageEvent:
        if seen.storage_id is None:
            data = StorageData(endpoint="dcache", size=seen.size, closed_at=seen.modified)
            return StorageEvent.make(EventType.WRITTEN, seen.path, data, testbed="bed", session=str(seen.modified))
        if former is not None:
            return FACTS.moved(former, FileInfo(seen.path, seen.storage_id, False, seen.size, 0, 0), at=0.0)
        return FACTS.written(seen.path, seen.storage_id, at=0.0, size=seen.size, checksums=seen.checksums)


class Bed:
    """A storage, a topic in memory, and rounds at moments of the test's choice."""

    def __init__(self, folder: Path, storage: Storage, failed: frozenset[str] = frozenset(), **table: object) -> None:
        self.storage = storage
        self.topic: list[StorageEvent] = []
        self.told: list[StorageEvent] = []
        self._folder = folder
        self._table = ReconcileTable(
            testbed="bed",
            endpoint="dcache",
            folders=("/data",),
            state_file=folder / "names",
            grace=60,
            **table,  # type: ignore[arg-type]
        )
        self._failed = failed
        self.counters = Counters("test")
        self.start()

    def start(self) -> None:
        """Another process, with the same memory."""
        self.reconciler = Reconciler(
            self._table,
            self.storage,
            self.counters,
            announced=lambda _: list(self.topic),
            tell=self._tell,
            failed=self._failed.__contains__,
        )

    def _tell(self, events: list[StorageEvent]) -> None:
        self.told += events
        self.topic += events

    def rounds(self, *moments: float) -> None:
        """Rounds at seconds after the start."""
        for moment in moments:
            self.reconciler.round(START + moment)

    def words(self) -> list[tuple[str, str]]:
        """What was told."""
        return [(each.type.word, each.subject) for each in self.told]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path, Storage())
    yield made
    made.reconciler.close()


def test_a_file_without_an_event_is_told_after_the_grace_time_with_the_id_of_its_event(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/raw/r1/a", "A1", START + 5)
    bed.rounds(10, 40)
    assert bed.told == []
    bed.rounds(80, 140, 200)
    (event,) = bed.told
    assert event.id == FACTS.written("/data/raw/r1/a", "A1", at=99.0).id
    assert (event.data.size, event.data.checksums) == (5, {"adler32": "00000001"})


def test_without_grace_a_file_is_told_by_the_round_that_sees_it(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/a", "A1", START + 5)
    bed.reconciler.round(START + 6, grace=0)
    bed.rounds(80)
    assert bed.words() == [("written", "/data/a")]


def test_a_file_that_an_event_has_named_is_not_told(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/a", "A1", START + 5)
    bed.rounds(10)
    bed.topic.append(FACTS.written("/data/a", "A1", at=START + 20))
    bed.rounds(80, 200)
    assert bed.told == []


def test_an_overwritten_file_is_told_although_its_former_self_was_named(bed: Bed) -> None:
    bed.topic.append(FACTS.written("/data/a", "A1", at=START))
    bed.rounds(0)
    bed.storage.put("/data/a", "A2", START + 5)
    bed.rounds(10, 80)
    assert [(each.type.word, each.data.storage_id) for each in bed.told] == [("written", "A2")]


def test_a_renamed_file_is_told_as_moved_with_the_id_of_that_move(bed: Bed) -> None:
    bed.topic.append(FACTS.written("/data/a", "A1", at=START + 1))
    bed.rounds(0)
    bed.storage.put("/data/b", "A1", START + 5)
    bed.rounds(10, 80, 200)
    (event,) = bed.told
    assert (event.type.word, event.data.old_path) == ("moved", "/data/a")


@pytest.mark.parametrize("change", ["removed", "replaced", "failed", "unfinished", "temporary", "old"])
def test_what_is_not_there_as_a_whole_is_not_told(tmp_path: Path, change: str) -> None:
    bed = Bed(tmp_path, Storage(), failed=frozenset({"F1"}))
    bed.rounds(0)
    match change:
        case "failed":
            bed.storage.put("/data/a", "F1", START + 5)
        case "unfinished":
            bed.storage.put("/data/a", "A1", START + 5, size=None)
        case "temporary":
            bed.storage.put("/data/a.h5.part-1", "A1", START + 5)
        case "old":
            bed.storage.put("/data/a", "A1", START - 500)
        case _:
            bed.storage.put("/data/a", "A1", START + 5)
    bed.rounds(10)
    if change == "removed":
        bed.storage.remove("/data/a", START + 30)
    elif change == "replaced":
        bed.storage.put("/data/a", "A2", START + 75)
    bed.rounds(80, 100)
    assert bed.told == []
    bed.reconciler.close()


def test_a_long_upload_is_told_once_it_has_ended(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/a", "A1", START + 5, size=None)
    bed.rounds(10, 80)
    bed.storage.names["/data/a"] = Seen("/data/a", False, 9, START + 5, "A1")
    bed.rounds(90)
    assert bed.words() == [("written", "/data/a")]


def test_what_was_there_before_is_told_when_wanted(tmp_path: Path) -> None:
    storage = Storage()
    storage.put("/data/a", "A1", START - 500)
    bed = Bed(tmp_path, storage, announce_existing=True)
    bed.rounds(0, 70)
    assert bed.words() == [("written", "/data/a")]
    bed.reconciler.close()


def test_folders_that_have_not_changed_are_not_listed_again(bed: Bed) -> None:
    for number in range(5):
        bed.storage.put(f"/data/r{number}/a", f"A{number}", START)
    bed.rounds(10)
    bed.storage.listed.clear()
    bed.storage.put("/data/r3/b", "B1", START + 15)
    bed.rounds(20, 30)
    assert bed.storage.listed == ["/data/r3"]


def test_a_folder_that_has_just_changed_is_listed_again(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/a", "A1", START + 10)
    bed.rounds(10)
    bed.storage.put("/data/b", "B1", START + 10)  # in the same second
    bed.rounds(20, 100)
    assert sorted(bed.words()) == [("written", "/data/a"), ("written", "/data/b")]


def test_a_storage_that_rewrites_in_place_is_listed_every_time(tmp_path: Path) -> None:
    storage = Storage(incremental=False)
    bed = Bed(tmp_path, storage)
    bed.rounds(0)
    storage.put("/data/a", None, START + 5)
    bed.rounds(10, 80)
    storage.names["/data/a"] = Seen("/data/a", False, 6, START + 100)
    bed.rounds(110, 180)
    assert [each.data.size for each in bed.told] == [5, 6]
    bed.reconciler.close()


def test_after_a_restart_nothing_is_told_twice_and_nothing_is_missed(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/a", "A1", START + 5)
    bed.rounds(10, 80)
    bed.storage.put("/data/b", "B1", START + 85)
    bed.rounds(90)
    bed.reconciler.close()
    bed.start()
    bed.rounds(200, 300)
    assert bed.words() == [("written", "/data/a"), ("written", "/data/b")]


def test_when_the_storage_is_away_the_next_round_goes_on(bed: Bed) -> None:
    bed.rounds(0)
    bed.storage.put("/data/a", "A1", START + 5)
    bed.rounds(10)
    bed.storage.away = True
    bed.storage.put("/data/b", "B1", START + 15)
    with pytest.raises(Unreachable):
        bed.rounds(80)
    bed.storage.away = False
    bed.rounds(90, 200)
    assert sorted(bed.words()) == [("written", "/data/a"), ("written", "/data/b")]


def test_the_memory_forgets_what_is_beyond_the_horizon(bed: Bed, tmp_path: Path) -> None:
    bed.topic += [FACTS.written(f"/data/{number}", f"{number}", at=START + number) for number in range(50)]
    bed.rounds(60)
    bed.topic.clear()
    bed.rounds(8 * 86400)
    bed.reconciler.close()
    assert Names(tmp_path / "names").counts()["named"] == 0
    bed.start()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=10))
def test_every_file_is_told_once_by_event_or_by_listing(
    tmp_path_factory: pytest.TempPathFactory, uploads: list[tuple[int, bool]]
) -> None:
    bed = Bed(tmp_path_factory.mktemp("bed"), Storage())
    bed.rounds(0)
    for number, (name, told) in enumerate(uploads):
        at = 10.0 * (number + 1)
        bed.storage.put(f"/data/{name}", f"{number:04}", START + at)
        if told:
            bed.topic.append(FACTS.written(f"/data/{name}", f"{number:04}", at=START + at))
        bed.rounds(at + 5)
    bed.rounds(1000, 2000)
    last = {name: number for number, (name, _) in enumerate(uploads)}
    ids = [each.id for each in bed.topic]
    assert len(ids) == len(set(ids))
    named = {(each.subject, each.data.storage_id) for each in bed.topic}
    assert {(f"/data/{name}", f"{number:04}") for name, number in last.items()} <= named
    bed.reconciler.close()


def test_one_storage_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[kafka]\nbootstrap="x:1"\n[source]\ntestbed="b"\nendpoint="e"\nfolders=["/d"]\nstate_file="/s"\n')
    with pytest.raises(WrongUsage, match="frontend"):
        read_config(file, ReconcileConfig)
