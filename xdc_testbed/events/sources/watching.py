"""What dCache's notices of names mean. Knows its memory and the rules of the stream; asks nobody and sends nothing.

A removal is told once the name is free: a file that is written over is told as written and nothing else, as the billing
records have it.

A written file is told once it has settled: dCache also says IN_CLOSE_WRITE for an upload that has failed, before and
after the attributes are set. Then it is looked up, and told when it is there, has a size and a place, and did not fail.
Failure is not written in the namespace: a redirected upload that was cut leaves a partial file with a size and a
checksum of its own. It is known by the billing records where those are read (`uploads`); else by the number of
IN_ATTRIB: a whole upload has two (three with Content-MD5), a failed one had four and five in every capture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.clients.dcache_events import Notice
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import EventType, StorageEvent
from xdc_testbed.events.sources.facts import TEMPORARY, Facts
from xdc_testbed.events.sources.tree import Known, Told, Tree, Upload

log = logging.getLogger(__name__)

FLAGS = ("IN_CREATE", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_DELETE", "IN_MOVED_FROM", "IN_MOVED_TO")
WHOLE_UPLOAD_CHANGES = 3

Verdict: TypeAlias = Literal["whole", "failed"] | None

_NEVER_CLOSED = 86400.0  # seconds after which an upload that nothing was heard of is expected no more
_OTHER_SIDE = 2.0  # seconds within which both sides of a move have come
_VERDICT_PAUSE = 0.1  # seconds between looks for the record of an upload
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # seconds between looks at an upload that has no size yet


@dataclass(frozen=True)
class Doubt:
    """An upload that is not told, and why."""

    path: str
    pnfsid: str
    reason: str


class Watching:
    """Notices, look-ups and listings in; events into the outbox of the memory.

    settle: seconds of quiet after which a name is looked up; verdict: what the billing records say of a pnfsid;
    patience: seconds for which that is waited for; kinds: of the events to tell. `watch` and `unwatch` collect folders
    that came into sight or left it, `relist` says that something was missed, `doubts` what was not told; whoever calls
    empties them. now: epoch seconds.
    """

    def __init__(
        self,
        tree: Tree,
        facts: Facts,
        counters: Counters,
        *,
        settle: float,
        kinds: frozenset[EventType],
        verdict: Callable[[str], Verdict] = lambda _: None,
        patience: float = 0.0,
    ) -> None:
        self._tree = tree
        self._facts = facts
        self._counters = counters
        self._settle = settle
        self._kinds = kinds
        self._verdict = verdict
        self._waits = round(patience / _VERDICT_PAUSE)
        self._left: dict[str, tuple[str, bool, float]] = {}  # by cookie: old path, folder or not, when
        self.watch: list[str] = []
        self.unwatch: list[str] = []
        self.relist = False
        self.doubts: list[Doubt] = []

    # -- notices --------------------------------------------------------------------------------------------------

    def notice(self, folder: str, notice: Notice, now: float) -> None:
        """One inotify event of a watched folder."""
        mask = notice.mask
        if "IN_Q_OVERFLOW" in mask:
            self.relist = True
        elif "IN_IGNORED" in mask:
            self._tree.unwatch(folder)
        elif notice.name is not None:
            path = f"{folder.rstrip('/')}/{notice.name}"
            if "IN_ISDIR" in mask:
                self._of_folder(path, notice, now)
            else:
                self._of_file(path, notice, now)

    def overdue(self, now: float) -> None:
        """What was moved away and came nowhere is out of sight: known no more, and not said to be deleted."""
        for cookie, (path, is_folder, at) in list(self._left.items()):
            if now - at > _OTHER_SIDE:
                del self._left[cookie]
                self._out_of_sight(path, is_folder)
        self._tree.drop_before(now - _NEVER_CLOSED)

    def _of_folder(self, path: str, notice: Notice, now: float) -> None:
        mask = notice.mask
        if "IN_CREATE" in mask:
            self.watch.append(path)
        elif "IN_DELETE" in mask:
            self._tree.unwatch(path)
        elif "IN_MOVED_FROM" in mask and notice.cookie:
            self._left[notice.cookie] = (path, True, now)
        elif "IN_MOVED_TO" in mask:
            old = self._left.pop(notice.cookie or "", None)
            if old is None:
                self.watch.append(path)
            else:
                self._move_folder(old[0], path, now)

    def _of_file(self, path: str, notice: Notice, now: float) -> None:
        mask = notice.mask
        if "IN_CREATE" in mask:
            self._tree.expect(Upload(path, now))
        elif "IN_CLOSE_WRITE" in mask:
            upload = self._tree.upload(path) or Upload(path, now)
            self._tree.expect(replace(upload, closed=True, due=now + self._settle, tries=0))
        elif "IN_ATTRIB" in mask:
            self._attributes(path, now)
        elif "IN_DELETE" in mask:
            self._tree.drop(path)
            if self._tree.file(path) is not None:  # gone, or about to be written anew: looked at before it is told
                self._tree.expect(Upload(path, now, due=now + self._settle))
        elif "IN_MOVED_FROM" in mask and notice.cookie:
            self._left[notice.cookie] = (path, False, now)
        elif "IN_MOVED_TO" in mask:
            old = self._left.pop(notice.cookie or "", None)
            if old is None:  # from where nobody watches
                self._tree.expect(Upload(path, now, closed=True, due=now + self._settle))
            else:
                self._move_file(old[0], path, now)

    def _attributes(self, path: str, now: float) -> None:
        upload = self._tree.upload(path)
        if upload is None:
            upload = Upload(path, now, due=now + self._settle)  # a known file: its class may have changed
        self._tree.expect(
            replace(upload, changes=upload.changes + 1, due=None if upload.due is None else now + self._settle)
        )

    def _gone(self, known: Known, now: float) -> None:
        self._tree.forget(known.path)
        if known.told != Told.FAILED:
            self._tell(self._facts.deleted(known.path, known.pnfsid, at=now, raw={"mask": "IN_DELETE"}))

    def _move_file(self, old: str, path: str, now: float) -> None:
        known, upload = self._tree.file(old), self._tree.upload(old)
        if upload is not None:
            self._tree.drop(old)
            if known is None or upload.closed:
                self._tree.expect(replace(upload, path=path, old=upload.old or old, due=now + self._settle))
        if known is not None:
            self._tree.forget(old)
            self._tree.remember(replace(known, path=path))
            if known.told != Told.FAILED:
                self._tell(self._facts.moved(old, known.info(path), at=now, raw={"mask": "IN_MOVED_TO"}))
        elif upload is None:
            self._tree.expect(Upload(path, now, closed=True, due=now + self._settle, old=old))

    def _move_folder(self, old: str, path: str, now: float) -> None:
        self._tree.rename_folder(old, path)
        for known in list(self._tree.files(old)):
            self._move_file(known.path, path + known.path[len(old) :], now)
        for upload in self._tree.uploads():
            if upload.path.startswith(old + "/"):
                self._move_file(upload.path, path + upload.path[len(old) :], now)
        self.watch.append(path)  # listed again: what was not known yet is found

    def _out_of_sight(self, path: str, is_folder: bool) -> None:
        if is_folder:
            for folder in self._tree.folders(path):
                self.unwatch.append(folder)
            for known in list(self._tree.files(path)):
                self._tree.forget(known.path)
        else:
            self._tree.drop(path)
            self._tree.forget(path)

    # -- look-ups -------------------------------------------------------------------------------------------------

    def looked_up(self, upload: Upload, info: FileInfo | None, now: float) -> None:
        """What a name that was due is. info: None when nothing has that name."""
        known = self._tree.file(upload.path)
        if info is None or info.is_directory:
            self._tree.drop(upload.path)
            if known is not None:
                self._gone(known, now)
            return
        same = known is not None and known.pnfsid == info.pnfsid
        if known is not None and same and not (known.told == Told.EXISTED and upload.closed):
            self._tree.drop(upload.path)
            self._class(known, info, now)
        elif not finished(info):
            self._again(upload, now)
        else:
            self._written(upload, info, now)

    def _again(self, upload: Upload, now: float) -> None:
        if upload.tries >= len(_PAUSES):
            self._counters.add("unfinished")
            self._tree.drop(upload.path)
        else:
            self._tree.expect(replace(upload, tries=upload.tries + 1, due=now + _PAUSES[upload.tries]))

    def _written(self, upload: Upload, info: FileInfo, now: float) -> None:
        verdict = self._verdict(info.pnfsid)
        if verdict is None and upload.tries < self._waits:
            self._tree.expect(replace(upload, tries=upload.tries + 1, due=now + _VERDICT_PAUSE))
            return
        self._tree.drop(upload.path)
        if verdict == "failed":
            self._doubt(info, "the billing records say that its upload has failed", now)
        elif verdict is None and upload.closed and upload.changes > WHOLE_UPLOAD_CHANGES:
            self._doubt(
                info,
                f"{upload.changes} changes of attributes during the upload, where a whole one has at most"
                f" {WHOLE_UPLOAD_CHANGES}",
                now,
            )
        else:
            self._tree.remember(Known.of(info, Told.WRITTEN))
            if upload.old is not None:  # renamed before it was looked at: as from a temporary name, it has moved
                self._tell(self._facts.moved(upload.old, info, at=now, raw={"mask": "IN_MOVED_TO"}))
                return
            raw = {"mask": "IN_CLOSE_WRITE"}
            self._tell(
                self._facts.written(info.path, info.pnfsid, at=now, size=info.size, checksums=info.checksums, raw=raw)
            )

    def _doubt(self, info: FileInfo, reason: str, now: float) -> None:
        self._counters.add("failed_uploads")
        known = self._tree.file(info.path)
        self._tree.remember(Known.of(info, Told.FAILED))
        self.doubts.append(Doubt(info.path, info.pnfsid, reason))
        if known is not None and known.told != Told.FAILED:  # what had this name before
            self._tell(self._facts.deleted(info.path, known.pnfsid, at=now, raw={"mask": "IN_DELETE"}))

    def _class(self, known: Known, info: FileInfo, now: float) -> None:
        """Tell what has changed of class and locality, once the class is settled."""
        if info.qos is None or info.target_qos is not None:
            return
        self._tree.remember(Known.of(info, known.told))
        if known.qos is None or known.told == Told.FAILED:
            return
        before = known.info(info.path)
        raw = {"mask": "IN_ATTRIB"}
        if before.on_tape and not before.on_disk and info.on_disk:
            self._tell(self._facts.staged(info, at=now, raw=raw))
        if (before.qos, before.on_tape) != (info.qos, info.on_tape):
            self._tell(self._facts.qos_changed(info, at=now, raw=raw))

    # -- listings -------------------------------------------------------------------------------------------------

    def listed_folder(self, children: list[FileInfo], now: float) -> None:
        """A folder that has just come into sight: its files are new unless known."""
        for info in children:
            if info.is_directory:
                if info.path not in self._tree.folders(info.path):
                    self.watch.append(info.path)
                continue
            known = self._tree.file(info.path)
            if (known is None or known.pnfsid != info.pnfsid) and self._tree.upload(info.path) is None:
                self._tree.expect(Upload(info.path, now, closed=True, due=now + self._settle))

    def first_listing(self, found: Mapping[str, FileInfo], now: float) -> None:
        """The whole tree when the watch begins: what is there existed before."""
        for info in found.values():
            if finished(info):
                self._tree.remember(Known.of(info, Told.EXISTED))
            elif self._tree.upload(info.path) is None:
                self._tree.expect(Upload(info.path, now))

    def caught_up(self, found: Mapping[str, FileInfo], now: float) -> None:
        """The whole tree after something was missed: what has changed since it was seen last."""
        self._left.clear()
        places = {info.pnfsid: path for path, info in found.items()}
        elsewhere: list[Known] = []
        for known in list(self._tree.files()):
            if known.path in found and found[known.path].pnfsid == known.pnfsid:
                self._class(known, found[known.path], now)
            elif known.pnfsid in places:
                self._tree.forget(known.path)
                elsewhere.append(known)
            elif known.path not in found:
                self._gone(known, now)
        for known in elsewhere:  # once all old names are free: names may have been exchanged
            info = found[places[known.pnfsid]]
            self._tree.remember(Known.of(info, known.told))
            if known.told != Told.FAILED:
                self._tell(self._facts.moved(known.path, info, at=now, raw={"seen": "listing"}))
        for path, info in found.items():
            if (seen := self._tree.file(path)) is None or seen.pnfsid != info.pnfsid:
                upload = self._tree.upload(path) or Upload(path, now)
                self._tree.expect(replace(upload, closed=True, due=now + self._settle, tries=0))
        for upload in self._tree.uploads():
            if upload.path not in found:
                self._tree.drop(upload.path)

    def _tell(self, event: StorageEvent) -> None:
        if event.type in self._kinds and not TEMPORARY.search(event.subject):
            self._counters.add(event.type.word.replace("-", "_"))
            self._tree.tell(event)


def finished(info: FileInfo) -> bool:
    """Whether the first upload has ended: it has a size and a place."""
    return info.size is not None and info.locality not in (None, "NONE")
