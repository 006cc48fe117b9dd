"""The demonstration, from the client node: raw files go in as from a detector, every one is accounted for.

write the run and its constants -> upload the constants -> upload all raw files in a burst ->
follow the broker until every file has ended -> compare sites, read twice through the cache -> story.json
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from xdc_testbed import endpoints as endpoint_list
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.demo import places
from xdc_testbed.demo.accounting import TOPICS, Ledger, Way
from xdc_testbed.demo.before import write_before
from xdc_testbed.demo.comparing import Comparison, Upload
from xdc_testbed.demo.detector_data import RawDataFile, RunManifest, RunPlan, write_run
from xdc_testbed.demo.facts import BEFORE_FILE, RUN_FILE, Phase, Story
from xdc_testbed.demo.streams import KafkaAccess, Tail
from xdc_testbed.errors import VerifyFailed

Preset = Literal["default", "tiny"]
PLANS: dict[str, Callable[[], RunPlan]] = {"default": RunPlan.default, "tiny": RunPlan.tiny}

_BURST = 8  # uploads at a time: a data acquisition writes one stream for each module
_READERS = 4
_LOOK = 0.5  # seconds between two lines of progress while waiting for the broker
_RUN = re.compile(r"r(\d{4,})")

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Settings:
    """What the demonstration needs.

    work: folder for raw data and spare copies; out: folder for what the judge gets; deadline: seconds for the
    pipeline after the last upload.
    """

    endpoints: Path
    kafka: Path
    credentials: Path
    work: Path
    out: Path
    preset: str = "default"
    deadline: float = 300.0


@dataclass(frozen=True)
class Step:
    """Progress: `done` of `total` in one phase; total 0: not known."""

    phase: str
    step: str
    done: int
    total: int
    message: str


Report = Callable[[Step], None]


def tell(settings: Settings, report: Report) -> Story:
    """Run the demonstration and write all its facts below `out`, also when files are missing in the end.

    Raises WrongUsage for settings that cannot work, VerifyFailed for an upload that is not what was sent, and
    what the clients raise.
    """
    started = time.time()
    known = endpoint_list.load(settings.endpoints)
    chosen = places.choose(known)
    phases = _Phases(report)
    settings.work.mkdir(parents=True, exist_ok=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        clients = {place.id: stack.enter_context(places.client(place, settings.credentials)) for place in chosen.all}
        tail = Tail(KafkaAccess.read(settings.kafka), TOPICS)
        stack.callback(tail.close)
        origin = clients[chosen.origin.id]
        with phases("data", "writing a raw run whose truth is known"):
            run = next_run(origin)
            manifest = _write_data(settings, run)
        with phases("constants", "uploading the detectors' constants"):
            put = partial(_put_constants, origin, settings.work)
            phases.all(put, [file.path for file in manifest.constants], "constants", workers=_READERS)
        with phases("burst", f"uploading {len(manifest.files)} raw files in a burst"):
            take = partial(_put_raw, origin, settings.work)
            uploads = phases.all(take, manifest.files, "raw files", workers=_BURST)
        remote = chosen.remote.id if chosen.remote else None
        way = Way(chosen.origin.id, remote, archived=chosen.archived)
        ledger = Ledger([upload.path for upload in uploads], way)
        with phases("pipeline", "events start actions, until every file is accounted for"):
            _follow(tail, ledger, settings.deadline, phases)
        with phases("readers", "reading corrected files at every site, and twice through the cache"):
            frontend = (
                stack.enter_context(places.frontend(chosen.origin, settings.credentials)) if way.archived else None
            )
            comparison = Comparison(chosen, clients, settings.out, settings.work, frontend)
            compare = lambda upload: comparison.story(upload, ledger.accounts[upload.path])  # noqa: E731
            files = phases.all(compare, uploads, "files", workers=_READERS)
            residue = comparison.residue(files, run)
    story = Story(
        preset=settings.preset,
        run=run,
        started=started,
        ended=time.time(),
        endpoints=tuple(known),
        origin=chosen.origin.id,
        remote=remote,
        cache=chosen.cache.id if chosen.cache else None,
        archived=chosen.archived,
        phases=tuple(phases.ended),
        files=tuple(files),
        events=len(ledger.events),
        residue=tuple(residue),
    )
    story.write(settings.out)
    return story


def next_run(origin: WebDav) -> int:
    """The first run number that the storage has no raw data of: a run is taken once."""
    try:
        names = [entry.path.rstrip("/").rsplit("/", 1)[-1] for entry in origin.list("/data/raw")]
    except NotFound:
        return 1
    taken = [int(found[1]) for name in names if (found := _RUN.fullmatch(name))]
    return max(taken, default=0) + 1


def _write_data(settings: Settings, run: int) -> RunManifest:
    """Write the run into `work`, and what the judge needs of it into `out`."""
    plan = PLANS[settings.preset]().model_copy(update={"run": run})
    manifest = write_run(settings.work, plan)
    shutil.copy2(settings.work / RUN_FILE, settings.out / RUN_FILE)
    shutil.copytree(settings.work / "truth", settings.out / "truth", dirs_exist_ok=True)
    write_before(settings.work, manifest, settings.out / BEFORE_FILE)
    return manifest


def _put_constants(origin: WebDav, work: Path, path: str) -> None:
    origin.put(f"/data/{path}", work / path)


def _put_raw(origin: WebDav, work: Path, raw: RawDataFile) -> Upload:
    """Write a raw file under its own name, as a data acquisition does: no temporary name, no second try."""
    path = f"/data/{raw.path}"
    started = time.time()
    sent = origin.put(path, work / raw.path)
    ended = time.time()
    if (sent.size, sent.adler32) != (raw.size, raw.adler32):
        raise VerifyFailed(
            f"{path}: sent {sent.size} bytes {sent.adler32}, the manifest says {raw.size} {raw.adler32}",
            remedy="is another demonstration writing into the same folder? give another --work",
        )
    return Upload(raw, path, started, ended)


def _follow(tail: Tail, ledger: Ledger, deadline: float, phases: _Phases) -> None:
    """Read the broker until every file is accounted for, or the deadline has passed."""
    total, until = len(ledger.accounts), time.monotonic() + deadline
    while not ledger.settled and time.monotonic() < until:
        before = ledger.count
        for topic, value in tail.records(min(_LOOK, max(0.0, until - time.monotonic()))):
            ledger.take(topic, value)
        if ledger.count != before:
            phases.step("accounted", ledger.count, total, f"{ledger.count} of {total} files accounted for")
    for line in ledger.missing():
        phases.step("missing", ledger.count, total, line)


@dataclass
class _Phases:
    """Times the phases, and says how far they are."""

    report: Report
    ended: list[Phase] = field(default_factory=list)
    name: str = ""

    @contextmanager
    def __call__(self, name: str, said: str) -> Iterator[None]:
        self.name = name
        self.report(Step(name, "begin", 0, 0, said))
        started = time.monotonic()
        yield
        seconds = round(time.monotonic() - started, 3)
        self.ended.append(Phase(name=name, said=said, seconds=seconds))
        self.report(Step(name, "end", 0, 0, f"{said}: {seconds:.1f} s"))

    def step(self, step: str, done: int, total: int, message: str) -> None:
        """Say how far the phase is."""
        self.report(Step(self.name, step, done, total, message))

    def all(self, work: Callable[[Item], Made], items: Sequence[Item], what: str, *, workers: int) -> list[Made]:
        """Do the work for all items, some at a time; results in the order of the items."""
        made = []
        with ThreadPoolExecutor(workers) as pool:
            for number, result in enumerate(pool.map(work, items), 1):
                made.append(result)
                self.step(what, number, len(items), f"{number} of {len(items)} {what}")
        return made
