"""Ask every cell of a plan, several at a time; each with a deadline, clean-up and a search for residue.

A case that fails, hangs or breaks never stops the others. At the end the storages' namespaces have to be as
before.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from xdc_testbed.clients.errors import NotFound, StorageError, Unreachable
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import DeadlineExceeded, RequirementMissing, XdcError
from xdc_testbed.interop import capabilities, deviations
from xdc_testbed.interop.deviations import Deviation
from xdc_testbed.interop.matrix import Cell
from xdc_testbed.interop.outcome import Skip, Wrong
from xdc_testbed.interop.place import Folder, Place, remove_tree, tree
from xdc_testbed.interop.pulse import Pulse
from xdc_testbed.interop.record import CaseRecord, Outcome, Party, Timings
from xdc_testbed.interop.trial import Trial

log = logging.getLogger(__name__)

_GRACE = 5.0  # seconds beyond its deadline after which a case is left behind
# No answer says nothing of a case: the server may have been ended and started anew. It is asked once more. XRootD 5.5.3
# may end while a client waits for a file that is still open elsewhere; its last words are "Could not run request".
_BROKEN = re.compile(
    "^Unreachable: |Operation expired|Connection re(set by peer|fused)|does not answer any more|Could not run request"
)
_LAST_ASKED = 15.0  # seconds that an interrupted run gives the cases that are being asked

Reporter = Callable[[CaseRecord], None]


@dataclass(frozen=True)
class Ground:
    """Where on the storages the suite works. private, public: folders of the suite alone, made and removed
    by it.
    """

    run_id: str
    private: str = "/data/interop"
    public: str = "/pub/interop"

    @property
    def private_run(self) -> str:
        """The folder of this run that needs a credential."""
        return f"{self.private}/{self.run_id}"

    @property
    def public_run(self) -> str:
        """The folder of this run that anybody may read."""
        return f"{self.public}/{self.run_id}"


def run(
    cells: Sequence[Cell],
    places: Mapping[str, Place],
    ground: Ground,
    known: Sequence[Deviation],
    report: Reporter,
    *,
    workers: int = 6,
    today: date | None = None,
) -> list[CaseRecord]:
    """Ask all cells and return their records in the plan's order, with one more per storage for its
    namespace.

    places: by endpoint id, for every endpoint of the cells and the origins of caches; report: told of each
    record as it comes.
    """
    day = today or date.today()  # noqa: DTZ011 - expiry is a calendar day where the suite runs
    storages = {place.writable.endpoint.id: place.writable for cell in cells for place in _of(cell, places)}
    before = {name: _listing(place, ground) for name, place in storages.items()}
    for place in storages.values():
        _prepare(place, ground)
    records: dict[int, CaseRecord] = {}
    stopping = threading.Event()
    pulse = Pulse()
    waiting: queue.SimpleQueue[tuple[int, Cell]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, CaseRecord | Exception]] = queue.SimpleQueue()
    for item in sorted(enumerate(cells), key=lambda item: -item[1].case.deadline):  # long ones first
        waiting.put(item)

    def work() -> None:
        while not stopping.is_set():
            try:
                number, cell = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, _ask(number, cell, places, ground, pulse)))
            except Exception as error:
                done.put((number, error))

    threads = [threading.Thread(target=work, name=f"interop-{n}", daemon=True) for n in range(max(1, workers))]
    for thread in threads:
        thread.start()
    try:
        broken: dict[int, CaseRecord] = {}
        for _ in cells:
            number, answer = done.get()
            if isinstance(answer, Exception):
                raise answer
            records[number] = deviations.judge(answer, known, day)
            if records[number].bad and _BROKEN.search(records[number].reason or ""):
                broken[number] = records[number]
            else:
                report(records[number])
        for number, first in broken.items():
            cell = cells[number]
            if all(pulse.comes_back(one) for one in cell.endpoints):
                second = _ask(len(cells) + number, cell, places, ground, pulse)
                evidence = {**second.evidence, "asked_again_after": first.reason}
                records[number] = deviations.judge(second.model_copy(update={"evidence": evidence}), known, day)
            report(records[number])
    finally:  # an interrupted run leaves nothing behind either
        stopping.set()
        for thread in threads:
            thread.join(_LAST_ASKED)
        namespaces = [_namespace_record(place, ground, before[name]) for name, place in storages.items()]
    for record in namespaces:
        report(record)
    return [*(records[number] for number in sorted(records)), *namespaces]


def _of(cell: Cell, places: Mapping[str, Place]) -> Iterator[Place]:
    return (places[endpoint.id] for endpoint in cell.endpoints)


class _Attempt:
    """One cell in a thread of its own, so that a case that hangs can be left behind."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.outcome: Outcome = "error"
        self.reason: str | None = None
        self._thread = threading.Thread(target=self._run, name=trial.cell.name, daemon=True)

    def within(self, seconds: float) -> bool:
        """Run the case; False when it has not ended after these seconds."""
        self._thread.start()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for folder in self.trial.folders:
                folder.make()
            self.trial.cell.case.run(self.trial)
        except (Skip, RequirementMissing) as skip:
            self.outcome, self.reason = "skipped", skip.message
        except Wrong as wrong:
            self.outcome, self.reason = "fail", wrong.message
        except (StorageError, Unreachable) as error:
            self.outcome, self.reason = "fail", f"{type(error).__name__}: {error.message}"
        except DeadlineExceeded as error:
            self.outcome, self.reason = "error", error.message
        except XdcError as error:
            self.outcome, self.reason = "fail", error.message
        except Exception as error:
            log.exception("%s", self.trial.cell.name)
            self.outcome, self.reason = "error", f"defect of the suite: {type(error).__name__}: {error}"
        else:
            self.outcome = "pass"


def _ask(number: int, cell: Cell, places: Mapping[str, Place], ground: Ground, pulse: Pulse) -> CaseRecord:
    """The record of one cell, before known deviations are looked at."""
    path = f"{ground.private_run}/{number:04d}-{cell.case.id}"
    source = Folder(places[cell.source.id], path)
    destination = None if cell.destination is None else Folder(places[cell.destination.id], path + "-to")
    trial = Trial(cell, source, destination, ground.public_run)
    started_at, started = time.time(), time.monotonic()
    attempt = _Attempt(trial)
    outcome: Outcome = "error"
    reason = pulse.gone(cell)
    if reason is not None:
        pass
    elif attempt.within(cell.case.deadline + _GRACE):
        outcome, reason = attempt.outcome, attempt.reason
    else:
        reason = f"did not end within {cell.case.deadline:g} s"
    ended = time.monotonic()
    if outcome not in ("pass", "skipped"):
        pulse.feel(cell)
    residue, trouble = ([], None) if pulse.gone(cell) else _clean(trial)
    if residue:
        trial.note("residue", list(residue))
        if outcome == "pass":
            outcome, reason = "fail", f"residue: {', '.join(residue)}"
    if trouble:
        trial.note("cleanup", trouble)
        if outcome == "pass":
            outcome, reason = "fail", f"cannot be cleaned up: {trouble}"
    return CaseRecord(
        run_id=ground.run_id,
        case_id=cell.case.id,
        title=cell.case.title,
        client=", ".join(sorted(trial.clients)) or "xdc-testbed",
        source=Party.of(cell.source),
        destination=None if cell.destination is None else Party.of(cell.destination),
        protocol=cell.protocol,
        credential=cell.credential,
        direction=cell.direction,
        size=cell.size,
        variant=cell.variant,
        outcome=outcome,
        reason=reason,
        timings=Timings(started_at=started_at, seconds=ended - started, cleanup_seconds=time.monotonic() - ended),
        evidence=dict(trial.evidence),
    )


def _clean(trial: Trial) -> tuple[list[str], str | None]:
    """Remove the case's folders. Returns what it had not named, and why something could not be removed."""
    residue: list[str] = []
    for folder in trial.folders:
        try:
            residue += [f"{folder.id}:{name}" for name in folder.remove()]
        except XdcError as error:
            return residue, f"{folder.id}: {error.message}"
    return residue, None


def _listing(place: Place, ground: Ground) -> set[str] | XdcError:
    """The suite's folders with all that is below them, as far as they are there; an error where that cannot
    be seen.
    """
    door = place.admin()
    seen: set[str] = set()
    try:
        for folder in (ground.private, ground.public):
            if _is_there(door, folder):
                seen |= {folder, *(path for path in tree(door, folder) if _of_this_run(path, folder, ground))}
    except XdcError as error:
        return error
    return seen


def _is_there(door: WebDav, folder: str) -> bool:
    """Whether a folder is in the listing of its parent; a parent that is not there has none."""
    try:
        return any(entry.path == folder for entry in door.list(folder.rpartition("/")[0] or "/"))
    except NotFound:
        return False


def _prepare(place: Place, ground: Ground) -> None:
    """Make the folders of the run, level by level, as not every storage makes parents. What fails, the cases tell."""
    folders = [ground.private, ground.private_run]
    if capabilities.PUBLIC in capabilities.of(place.endpoint):
        folders += [ground.public, ground.public_run]
    for folder in folders:
        try:
            place.admin().mkcol(folder)
        except XdcError as error:
            log.info("%s: %s", place.endpoint.id, error.message)


def _of_this_run(path: str, folder: str, ground: Ground) -> bool:
    """Whether a path below the suite's folder belongs to this run, and not to one beside it that may be going on."""
    return path.startswith(f"{folder}/{ground.run_id}")


def _namespace_record(place: Place, ground: Ground, before: set[str] | XdcError) -> CaseRecord:
    """Remove the run's folders, and compare the namespace with the listing from before the run."""
    started_at, started = time.time(), time.monotonic()
    outcome: Outcome = "pass"
    reason = None
    after = _after(place, ground, before)
    if isinstance(after, Unreachable) and Pulse().comes_back(place.endpoint):
        after = _after(place, ground, before)
    if isinstance(before, XdcError) or isinstance(after, XdcError):
        cause = before if isinstance(before, XdcError) else after
        outcome, reason = "fail", f"the namespace cannot be listed: {cause}"
    elif after != before:
        more, fewer = sorted(after - before), sorted(before - after)
        outcome, reason = "fail", f"the namespace differs: added {more[:5]}, missing {fewer[:5]}"
    return CaseRecord(
        run_id=ground.run_id,
        case_id="namespace.unchanged",
        title="The namespace is as before the run",
        client="xdc-testbed",
        source=Party.of(place.endpoint),
        protocol="https",
        credential="token",
        outcome=outcome,
        reason=reason,
        timings=Timings(started_at=started_at, seconds=time.monotonic() - started),
        evidence={} if isinstance(before, XdcError) else {"paths": len(before)},
    )


def _after(place: Place, ground: Ground, before: set[str] | XdcError) -> set[str] | XdcError:
    """The listing once the run's folders have been removed."""
    try:
        _remove_ground(place, ground, before)
        return _listing(place, ground)
    except XdcError as error:
        return error


def _remove_ground(place: Place, ground: Ground, before: set[str] | XdcError) -> None:
    """Remove the run's folders, and the suite's own where this run has made them."""
    door = place.admin()
    for run_folder, folder in ((ground.private_run, ground.private), (ground.public_run, ground.public)):
        remove_tree(door, run_folder)
        if isinstance(before, set) and folder not in before and not any(tree(door, folder)):
            remove_tree(door, folder)
