"""A testbed that exists only in memory: storages that are dictionaries, and a pipeline that runs at once.

The calibration is the real one, so that judge and report see real corrected files.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

from xdc_testbed import endpoints
from xdc_testbed.calibration.failures import CalibrationError
from xdc_testbed.calibration.pipeline import calibrate_file
from xdc_testbed.clients.dcache import FileInfo
from xdc_testbed.clients.digests import Content, adler32
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.multistatus import Entry
from xdc_testbed.clients.webdav import Stat
from xdc_testbed.demo import places, story
from xdc_testbed.demo.accounting import DEAD_LETTERS, EVENTS, MANIFEST, RESULTS, corrected_path
from xdc_testbed.demo.detector_data import DetectorPlan, FileId, RunPlan
from xdc_testbed.demo.facts import Story
from xdc_testbed.demo.story import Report, Step
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.events.model import DeadLetter, EventType, Result, StorageData, StorageEvent, Times, WorkItem

ENDPOINTS = [
    Endpoint(
        id=name,
        site=site,
        product=product,
        version="5.5.3",
        kind="real",
        urls={"https": f"https://{name}.xdc.test:8443"},
        origin="desy-storage" if product == "xcache" else None,
    )
    for name, site, product in (
        ("desy-storage", "desy", "xrootd"),
        ("remote-storage", "remote", "xrootd"),
        ("remote-cache", "remote", "xcache"),
    )
]
FUNCTIONS = Endpoint(
    id="desy-functions", site="desy", product="openwhisk", version="1.0", kind="emulator", urls={"api": "https://f"}
)


@dataclass
class Storage:
    """The part of WebDav that the demonstration uses, over a dictionary."""

    testbed: PretendTestbed
    files: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def put(self, path: str, data: Path) -> Content:
        self.files[path] = data.read_bytes()
        self.testbed.notice(path)
        return Content(len(self.files[path]), adler32(self.files[path]))

    def get(self, path: str) -> bytes:
        if path not in self.files:
            raise NotFound(f"GET {path}: HTTP 404", status=404)
        return self.files[path]

    def receive(self, path: str, file: Path) -> Content:
        data = self.get(path)
        file.write_bytes(data)
        return Content(len(data), adler32(data))

    def head(self, path: str) -> Stat:
        return Stat(len(self.get(path)), {"adler32": adler32(self.files[path])})

    def list(self, path: str) -> list[Entry]:
        below = {name.removeprefix(path + "/").split("/")[0] for name in self.files if name.startswith(path + "/")}
        if not below:
            raise NotFound(f"PROPFIND {path}: HTTP 404", status=404)
        return [Entry(name, f"{path}/{name}", False, 0, None) for name in sorted(below)]


@dataclass
class PretendTestbed:
    """Runs the pipeline for each raw file when it is written. lose: raw files whose events get lost;
    spoil: corrected files that arrive at the remote site with another byte; tape: whether the origin has one;
    stay: raw files that the storage says to be on disk in the end."""

    lose: set[str] = field(default_factory=set)
    spoil: set[str] = field(default_factory=set)
    tape: bool = False
    stay: set[str] = field(default_factory=set)
    records: list[tuple[str, bytes]] = field(default_factory=list)
    pending: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.storages = {name: Storage(self) for name in ("desy-storage", "remote-storage")}
        self.storages["remote-cache"] = self.storages["desy-storage"]

    def notice(self, path: str) -> None:
        """A file was closed at the origin."""
        if path.startswith("/data/raw/") and path not in self.lose:
            self.pending.append((path, time.time()))

    def work(self) -> None:
        """Let the pipeline take the next file."""
        path, closed = self.pending.pop(0)
        target = corrected_path(path)
        started = time.time()
        try:
            self._calibrate(path, target)
        except CalibrationError as error:
            self._end(path, "calibrate", closed, started, error.message)
            return
        self._end(path, "calibrate", closed, started)
        closed = time.time()
        self._ship(target)
        for shipped in (target, target + MANIFEST):
            self._end(shipped, "transfer", closed, closed + 0.011)
        for action in ("catalogue", *(["qos"] if self.tape else [])):
            self._end(target + MANIFEST, action, closed, closed + 0.012, endpoint="remote-storage")

    def _ship(self, target: str) -> None:
        for name in (target, target + MANIFEST):
            data = self.storages["desy-storage"].files[name]
            self.storages["remote-storage"].files[name] = data[:-1] + b"?" if name in self.spoil else data

    def _calibrate(self, path: str, target: str) -> None:
        origin = self.storages["desy-storage"]
        with tempfile.TemporaryDirectory() as folder:
            raw, out = Path(folder) / path.rsplit("/", 1)[-1], Path(folder) / target.rsplit("/", 1)[-1]
            raw.write_bytes(origin.files[path])
            for name, data in origin.files.items():
                if name.startswith("/data/cal/"):
                    constants = Path(folder) / name.removeprefix("/data/")
                    constants.parent.mkdir(parents=True, exist_ok=True)
                    constants.write_bytes(data)
            manifest = calibrate_file(raw, out, Path(folder) / "cal")
            origin.files[target] = out.read_bytes()
        origin.files[target + MANIFEST] = manifest.to_json().encode()

    def _end(
        self,
        path: str,
        action: str,
        closed: float,
        started: float,
        reason: str | None = None,
        *,
        endpoint: str = "desy-storage",
    ) -> None:
        data = StorageData(endpoint=endpoint, size=1, closed_at=closed)
        event = StorageEvent.make(EventType.WRITTEN, path, data, testbed="demo", session=str(closed))
        item = WorkItem.make(event, f"{action}-rule", f"/_/xdc/{action}", {}, created_at=closed)
        now = time.time()
        result = Result(
            id=item.id,
            event_id=event.id,
            subject=path,
            endpoint=endpoint,
            rule=item.rule,
            action=item.action,
            status="failed" if reason else "ok",
            reason=reason,
            activation_id="a" * 32,
            attempts=1,
            result={} if reason else {"status": "done"},
            times=Times(
                closed=closed,
                event=closed + 0.002,
                routed=closed + 0.005,
                invoked=started - 0.001,
                action_started=started,
                ended=max(now, started + 0.02),
            ),
        )
        self.records += [(EVENTS, event.to_json()), (RESULTS, result.to_json())]
        if reason:
            self.records.append((DEAD_LETTERS, DeadLetter.of(item, result).to_json()))


@dataclass
class Frontend:
    """The part of dCache's frontend that the demonstration uses."""

    testbed: PretendTestbed

    def __enter__(self) -> Frontend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def stat(self, path: str, *, qos: bool) -> FileInfo:
        assert qos
        size = len(self.testbed.storages["desy-storage"].files[path])
        found = ("disk", "ONLINE") if path in self.testbed.stay else ("tape", "ONLINE_AND_NEARLINE")
        return FileInfo(path, "0" * 36, False, size, 1.0, 1.0, {}, found[1], found[0])


class PretendTail:
    """Lets a pretended testbed work, and gives each of its records once."""

    def __init__(self, testbed: PretendTestbed) -> None:
        self._testbed = testbed

    def records(self, wait: float) -> list[tuple[str, bytes]]:
        assert wait <= 1, "progress has to be said more often"
        while self._testbed.pending:
            self._testbed.work()
        taken, self._testbed.records = self._testbed.records, []
        return taken

    def close(self) -> None:
        return


Told = tuple[Story, Path]


def silent(step: Step) -> None:
    """Says nothing."""


def settings_for(folder: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a demonstration on a pretended testbed, as keywords."""
    return {
        "endpoints": folder / "endpoints.json",
        "kafka": folder / "kafka.toml",
        "credentials": folder,
        "work": folder / "work",
        "out": folder / "out",
        "preset": "tiny",
        "deadline": 5.0,
        **changes,
    }


PLAN = RunPlan(
    detectors=(
        DetectorPlan(kind="JUNGFRAU", detector_id="SPB_IRDA_JF4M", modules=(1,), trains=1),
        DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=(0, 1), sequences=2, cells=2),
    ),
    missing=FileId(module="AGIPD00", sequence=1),
    truncated=FileId(module="AGIPD01", sequence=1),
)
"""Five small files with everything that may go wrong."""


def tell(folder: Path, testbed: PretendTestbed, report: Report = silent, **changes: object) -> Told:
    """Run the demonstration in a folder; the story and the folder for the judge."""
    settings = story.Settings(**settings_for(folder, **changes))
    origin, *others = ENDPOINTS
    if testbed.tape:
        urls = {**origin.urls, "frontend": "https://desy-storage.xdc.test:3880"}
        origin = origin.model_copy(update={"product": "dcache", "kind": "emulator", "urls": urls})
    settings.endpoints.write_text(endpoints.dump([origin, *others, FUNCTIONS]))

    def client(endpoint: Endpoint, credentials: Path) -> Storage:
        return testbed.storages[endpoint.id]

    with (
        mock.patch.dict(story.PLANS, {"tiny": lambda: PLAN}),
        mock.patch.object(places, "client", client),
        mock.patch.object(places, "frontend", return_value=Frontend(testbed)),
        mock.patch.object(story, "KafkaAccess"),
        mock.patch.object(story, "Tail", return_value=PretendTail(testbed)),
    ):
        return story.tell(settings, report), settings.out
