"""What notices of names mean: as a running dCache sent them, and in orders that it might send them in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.clients.dcache_events import Notice
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import EventType, StorageEvent
from xdc_testbed.events.sources.facts import Facts
from xdc_testbed.events.sources.tree import Tree
from xdc_testbed.events.sources.watching import Verdict, Watching

KINDS = frozenset(EventType) - {EventType.READ}
FOLDER = "/data"
CAPTURES = Path(__file__).parents[1] / "captures" / "sse"


class World:
    """A namespace as it is now, a watcher, and a clock that the test moves."""

    def __init__(self, path: Path | str = ":memory:", *, verdicts: dict[str, Verdict] | None = None) -> None:
        self.files: dict[str, FileInfo] = {}
        self.now = 1000.0
        self.tree = Tree(Path(path))
        self.counters = Counters("test")
        self.watching = Watching(
            self.tree,
            Facts("bed", "dcache"),
            self.counters,
            settle=0.25,
            kinds=KINDS,
            verdict=(verdicts or {}).get,  # type: ignore[arg-type]
            patience=1.0 if verdicts is not None else 0.0,
        )

    def has(self, path: str, pnfsid: str, size: int | None = 5, qos: str = "disk", locality: str = "ONLINE") -> None:
        """A file as the namespace tells it."""
        where = "NONE" if size is None else locality
        self.files[path] = FileInfo(path, pnfsid, False, size, 0, 0, {"adler32": "00000001"}, where, qos)

    def said(self, name: str, *masks: str, cookie: str | None = None, folder: str = FOLDER) -> None:
        """Notices of one name."""
        for mask in masks:
            flags = frozenset(mask.split("+"))
            self.watching.notice(folder, Notice("inotify", 1, mask=flags, name=name, cookie=cookie), self.now)

    def uploaded(self, name: str, pnfsid: str) -> None:
        """A whole upload, with all that is said of it."""
        self.has(f"{FOLDER}/{name}", pnfsid)
        self.said(name, "IN_CREATE", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_ATTRIB")

    def settle(self, seconds: float = 60) -> None:
        """Let time go on, and look at what is due."""
        end = self.now + seconds
        while (due := self.tree.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            for upload in self.tree.due(self.now):
                self.watching.looked_up(upload, self.files.get(upload.path), self.now)
        self.now = end
        self.watching.overdue(self.now)

    def told(self) -> list[StorageEvent]:
        """What waits in the outbox."""
        return [event for _, event in self.tree.outbox(0)]

    def words(self) -> list[tuple[str, str]]:
        """The same in short."""
        return [(each.type.word, each.subject) for each in self.told()]


def captured(name: str, folders: Iterable[str] = (FOLDER,)) -> Iterator[tuple[str, Notice]]:
    """The inotify events of captures/sse/<name>.body with their folders, which were subscribed to in this order."""
    places: dict[str, str] = {}
    left = list(folders)
    for block in (CAPTURES / f"{name}.body").read_text().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if not fields:
            continue
        notice = Notice.parse(fields["event"], fields.get("id", ""), fields["data"])
        if notice.what == "NEW_SUBSCRIPTION":
            places[notice.subscription] = left.pop(0)
        elif notice.kind == "inotify":
            yield places.get(notice.subscription, FOLDER), notice


def test_the_uploads_moves_and_removals_of_a_capture() -> None:
    world = World()
    ids = {"up1.bin": "A1", "up2.bin": "B1", "zero.bin": "C1"}
    for folder, notice in captured("inotify-dir-all"):
        if notice.name == "up2.bin" and "IN_CREATE" in notice.mask and notice.id == 26:
            ids["up2.bin"] = "B2"
        if "IN_CLOSE_WRITE" in notice.mask and notice.name is not None:
            world.has(f"{folder}/{notice.name}", ids[notice.name])
        if "IN_DELETE" in notice.mask:
            world.files.pop(f"{folder}/{notice.name}", None)
        world.watching.notice(folder, notice, world.now)
        if "IN_ATTRIB" in notice.mask:
            world.settle(1)
    world.settle()
    assert world.words() == [
        ("written", "/data/up1.bin"),
        ("written", "/data/up2.bin"),
        ("written", "/data/zero.bin"),
        ("moved", "/data/up1-renamed.bin"),
        ("written", "/data/up2.bin"),
        ("deleted", "/data/up2.bin"),
    ]
    assert world.watching.watch == ["/data/sub"]


def test_the_failed_uploads_of_a_capture_are_never_told_but_doubted() -> None:
    world = World()
    world.has("/data/badsum.bin", "A1")
    world.has("/data/cut.bin", "B1")
    for folder, notice in captured("failed-uploads"):
        world.watching.notice(folder, notice, world.now)
    world.settle()
    assert world.words() == []
    assert [(each.path, each.reason[:23]) for each in world.watching.doubts] == [
        ("/data/badsum.bin", "5 changes of attributes"),
        ("/data/cut.bin", "4 changes of attributes"),
    ]


def test_a_failed_upload_is_not_told_when_it_is_removed_or_renamed_either() -> None:
    world = World()
    world.has("/data/cut.bin", "B1")
    for folder, notice in captured("failed-uploads"):
        world.watching.notice(folder, notice, world.now)
    world.settle()
    del world.files["/data/cut.bin"]
    world.said("cut.bin", "IN_DELETE")
    world.settle()
    assert world.words() == []


def test_an_upload_by_ftp_a_rename_and_a_removal() -> None:
    world = World()
    world.has("/data/ftp.bin", "A1")
    for folder, notice in captured("ftp-upload-rename-delete"):
        if "IN_MOVED_FROM" in notice.mask:
            world.settle(1)
        world.watching.notice(folder, notice, world.now)
    world.settle()
    assert world.words() == [("written", "/data/ftp.bin"), ("moved", "/data/ftp2.bin"), ("deleted", "/data/ftp2.bin")]


def test_transitions_are_told_when_they_have_ended() -> None:
    world = World()
    names = {f"/data/{name}": name for name in ("qos1.bin", "qos2.bin", "e1.bin", "e2.bin")}
    for number, path in enumerate(names):
        world.has(path, f"{number:02}")
    world.watching.first_listing(world.files, world.now)
    world.has("/data/qos2.bin", "01", qos="tape", locality="ONLINE_AND_NEARLINE")
    for folder, notice in captured("qos-transitions", ("/data", "/tape")):
        world.watching.notice(folder, notice, world.now)
    world.settle()
    (event,) = world.told()
    assert (event.type.word, event.subject, event.data.raw["qos"]) == ("qos-changed", "/data/qos2.bin", "tape")


def test_a_file_fetched_from_tape_is_staged() -> None:
    world = World()
    world.has("/tape/qos3.bin", "A1", qos="tape", locality="NEARLINE")
    world.watching.first_listing(world.files, world.now)
    world.has("/tape/qos3.bin", "A1", qos="tape", locality="ONLINE_AND_NEARLINE")
    for folder, notice in captured("stage", ("/tape",)):
        world.watching.notice(folder, notice, world.now)
    world.settle()
    assert world.words() == [("staged", "/tape/qos3.bin")]


def test_a_class_on_its_way_is_not_told_yet() -> None:
    world = World()
    world.has("/data/a", "A1")
    world.watching.first_listing(world.files, world.now)
    info = world.files["/data/a"]
    world.files["/data/a"] = FileInfo(info.path, "A1", False, 5, 0, 0, {}, "ONLINE", "volatile", target_qos="tape")
    world.said("a", "IN_ATTRIB")
    world.settle()
    assert world.words() == []


def test_an_upload_that_was_there_before_is_told_only_when_it_ends_afterwards() -> None:
    world = World()
    world.has("/data/old", "A1")
    world.has("/data/running", "B1", size=None)
    world.has("/data/raced", "C1")
    world.watching.first_listing(world.files, world.now)
    world.settle()
    world.said("raced", "IN_CLOSE_WRITE", "IN_ATTRIB")  # it ended between subscription and listing
    world.has("/data/running", "B1")
    world.said("running", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_ATTRIB")
    world.said("old", "IN_ATTRIB")
    world.settle()
    assert sorted(world.words()) == [("written", "/data/raced"), ("written", "/data/running")]


def test_an_upload_without_size_is_looked_at_again() -> None:
    world = World()
    world.has("/data/a", "A1", size=None)
    world.said("a", "IN_CREATE", "IN_CLOSE_WRITE")
    world.settle(0.3)
    assert world.words() == []
    world.has("/data/a", "A1")
    world.settle(1)
    assert world.words() == [("written", "/data/a")]


def test_files_of_a_new_folder_are_found_by_its_listing_and_told_once() -> None:
    world = World()
    world.said("run", "IN_CREATE+IN_ISDIR")
    assert world.watching.watch == ["/data/run"]
    world.has("/data/run/early", "A1")
    world.watching.listed_folder([world.files["/data/run/early"]], world.now)
    world.said("early", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_ATTRIB", folder="/data/run")
    world.settle()
    assert world.words() == [("written", "/data/run/early")]


def test_a_file_moved_from_its_temporary_name_at_once_is_moved_and_not_written() -> None:
    world = World()
    world.has("/data/a.h5", "A1")
    world.said("a.h5.part-1", "IN_CREATE", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_ATTRIB")
    world.said("a.h5.part-1", "IN_MOVED_FROM", cookie="c")
    world.said("a.h5", "IN_MOVED_TO", cookie="c")
    world.settle()
    (event,) = world.told()
    assert (event.type.word, event.subject, event.data.old_path, event.data.size, dict(event.data.checksums)) == (
        "moved",
        "/data/a.h5",
        "/data/a.h5.part-1",
        5,
        {"adler32": "00000001"},
    )


def test_the_files_of_a_renamed_folder_have_moved() -> None:
    world = World()
    world.tree.watch("/data/run", "/sub+1", "/sub%2B1")
    world.has("/data/run/a", "A1")
    world.said("a", "IN_CREATE", "IN_CLOSE_WRITE", folder="/data/run")
    world.settle()
    world.said("run", "IN_MOVED_FROM+IN_ISDIR", cookie="c")
    world.said("run2", "IN_MOVED_TO+IN_ISDIR", cookie="c")
    assert world.words() == [("written", "/data/run/a"), ("moved", "/data/run2/a")]
    assert world.tree.folders() == {"/data/run2": "/sub%2B1"}
    assert world.tree.watched("/sub+1") == "/data/run2"


def test_what_is_moved_out_of_sight_is_forgotten_and_not_deleted() -> None:
    world = World()
    world.uploaded("a", "A1")
    world.settle()
    world.said("a", "IN_MOVED_FROM", cookie="c")
    world.settle()
    world.said("a", "IN_DELETE")
    world.settle()
    assert world.words() == [("written", "/data/a")]


@pytest.mark.parametrize(("verdict", "words"), [("whole", [("written", "/data/a")]), ("failed", [])])
def test_billing_records_say_what_notices_cannot(verdict: Verdict, words: list[tuple[str, str]]) -> None:
    world = World(verdicts={"A1": verdict})
    world.has("/data/a", "A1")
    attributes = ["IN_ATTRIB"] * (4 if verdict == "whole" else 1)
    world.said("a", "IN_CREATE", *attributes, "IN_CLOSE_WRITE")
    world.settle()
    assert world.words() == words


def test_a_record_that_does_not_come_is_not_waited_for_for_ever() -> None:
    world = World(verdicts={})
    world.uploaded("a", "A1")
    world.settle(0.9)
    assert world.words() == []
    world.settle(1)
    assert world.words() == [("written", "/data/a")]


def test_after_a_loss_the_listing_tells_what_has_changed() -> None:
    world = World()
    for name, pnfsid in (("stays", "A1"), ("goes", "B1"), ("moves", "C1"), ("again", "D1")):
        world.uploaded(name, pnfsid)
    world.settle()
    before = len(world.told())
    del world.files["/data/goes"], world.files["/data/moves"]
    world.has("/data/moved", "C1")
    world.has("/data/again", "D2")
    world.has("/data/new", "E1")
    world.watching.caught_up(world.files, world.now)
    world.settle()
    assert sorted(world.words()[before:]) == [
        ("deleted", "/data/goes"),
        ("moved", "/data/moved"),
        ("written", "/data/again"),
        ("written", "/data/new"),
    ]


def test_names_exchanged_during_a_loss_are_moves() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.uploaded(name, name.upper())
    world.settle()
    before = len(world.told())
    world.has("/data/b", "A")
    world.has("/data/a", "B")
    del world.files["/data/c"]
    world.watching.caught_up(world.files, world.now)
    world.settle()
    assert [(*words, event.data.storage_id) for words, event in zip(world.words(), world.told(), strict=True)][
        before:
    ] == [
        ("deleted", "/data/c", "C"),
        ("moved", "/data/b", "A"),
        ("moved", "/data/a", "B"),
    ]


def test_notices_older_than_a_listing_do_not_undo_it() -> None:
    world = World()
    world.uploaded("a", "A1")
    world.settle()
    world.has("/data/a", "A2")
    world.watching.caught_up(world.files, world.now)
    world.settle(1)
    world.said("a", "IN_DELETE", "IN_CREATE", "IN_CLOSE_WRITE")  # told before the listing, read after it
    world.settle()
    assert world.words() == [("written", "/data/a"), ("written", "/data/a")]
    assert [each.data.storage_id for each in world.told()] == ["A1", "A2"]


def test_a_file_written_over_by_an_upload_that_fails_is_gone() -> None:
    world = World()
    world.uploaded("a", "A1")
    world.settle()
    world.has("/data/a", "A2")
    world.said("a", "IN_DELETE", "IN_CREATE", *["IN_ATTRIB"] * 2, "IN_CLOSE_WRITE", *["IN_ATTRIB"] * 3)
    world.settle()
    assert [(each.type.word, each.data.storage_id) for each in world.told()] == [("written", "A1"), ("deleted", "A1")]


def test_an_overflow_asks_for_a_listing() -> None:
    world = World()
    world.watching.notice(FOLDER, Notice("inotify", 1, mask=frozenset({"IN_Q_OVERFLOW"})), world.now)
    assert world.watching.relist


def test_what_was_not_committed_is_not_remembered(tmp_path: Path) -> None:
    world = World(tmp_path / "tree")
    world.uploaded("a", "A1")
    world.settle()
    world.tree.commit()
    world.uploaded("b", "B1")
    world.settle()
    world.tree.close()
    assert World(tmp_path / "tree").words() == [("written", "/data/a")]


def test_an_event_never_has_the_number_of_one_that_was_sent() -> None:
    world = World()
    numbers = []
    for name in ("a", "b", "c"):
        world.uploaded(name, name)
        world.settle()
        ((number, _),) = world.tree.outbox(0)
        world.tree.sent(number)
        numbers.append(number)
    assert numbers == sorted(set(numbers))


STEPS = st.lists(st.tuples(st.sampled_from(["put", "delete", "move", "wait"]), st.integers(0, 2)), max_size=14)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 14), st.booleans())
def test_whatever_happens_the_events_lead_to_what_is_there(steps: list[tuple[str, int]], cut: int, lost: bool) -> None:
    """Files are written, moved and removed; from a moment on notices are lost or not; then the tree is listed."""
    world, number = World(), 0
    for position, (what, name) in enumerate(steps):
        seen, path, other = not lost or position < cut, f"/data/{name}", f"/data/{(name + 1) % 3}"
        if what == "put":
            number += 1
            if path in world.files and seen:
                world.said(str(name), "IN_DELETE")
            world.has(path, f"{number:04}")
            if seen:
                world.uploaded(str(name), f"{number:04}")
        elif what == "delete" and path in world.files:
            del world.files[path]
            if seen:
                world.said(str(name), "IN_DELETE")
        elif what == "move" and path in world.files and other not in world.files:
            old = world.files.pop(path)
            world.has(other, old.pnfsid)
            if seen:
                world.said(str(name), "IN_MOVED_FROM", cookie=str(position))
                world.said(other[-1], "IN_MOVED_TO", cookie=str(position))
        else:
            world.settle(1)
    world.watching.caught_up(world.files, world.now)
    world.settle()
    there: dict[str, str | None] = {}
    for event in world.told():
        match event.type.word:
            case "written":
                there[event.subject] = event.data.storage_id
            case "moved":
                if there.get(event.data.old_path or "") == event.data.storage_id:
                    del there[event.data.old_path or ""]
                there[event.subject] = event.data.storage_id
            case "deleted" if there.get(event.subject) == event.data.storage_id:
                del there[event.subject]
    assert there == {path: info.pnfsid for path, info in world.files.items()}
    written = [each.id for each in world.told() if each.type == EventType.WRITTEN]
    assert len(written) == len(set(written))


def test_the_memory_holds_what_json_holds() -> None:
    world = World()
    world.uploaded("a b#%é\n", "A1")
    world.settle()
    assert json.loads(world.told()[0].to_json())["subject"] == "/data/a b#%é\n"
