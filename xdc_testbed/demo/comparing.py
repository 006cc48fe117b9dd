"""Reads the corrected files back from wherever they have to be, and compares them byte by byte."""

from __future__ import annotations

import filecmp
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xdc_testbed.clients.dcache import Dcache
from xdc_testbed.clients.errors import NotFound, Unreachable
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.demo.accounting import MANIFEST, Account, corrected_path
from xdc_testbed.demo.detector_data import RawDataFile
from xdc_testbed.demo.facts import Copy, FileStory, Tape
from xdc_testbed.demo.places import Places
from xdc_testbed.errors import VerifyFailed, XdcError

log = logging.getLogger(__name__)

_PATIENCE = 30.0
"""Seconds for a read through a cache that breaks off."""


@dataclass(frozen=True)
class Upload:
    """A raw file on the storage. started, ended: epoch seconds of the upload."""

    raw: RawDataFile
    path: str
    started: float
    ended: float


@dataclass(frozen=True)
class Comparison:
    """Compares the copies of one run. clients: by endpoint id; out: folder for what the judge gets; spare: for copies
    that are removed again; frontend: of an origin that archives raw data.
    """

    places: Places
    clients: Mapping[str, WebDav]
    out: Path
    spare: Path
    frontend: Dcache | None = None

    def story(self, upload: Upload, account: Account) -> FileStory:
        """What became of a file; of a corrected one every copy is read. A copy that is not there is said."""
        outcome, said = _outcome(account), account.said
        copies: list[Copy] = []
        cached: list[Copy] = []
        tape: Tape | None = None
        if outcome == "corrected":
            try:
                self._read(account, copies, cached)
                tape = self._tape(account)
            except XdcError as error:
                outcome, said = "missing", f"missing: {error.message}"
            else:
                said = _differences([*copies, *cached]) or said
        return FileStory(
            raw=upload.raw,
            path=upload.path,
            upload_started=upload.started,
            uploaded=upload.ended,
            calibrate=account.work("calibrate"),
            transfer=account.work("transfer"),
            catalogue=account.work("catalogue"),
            archive=account.work("qos"),
            tape=tape,
            dead_letter=account.dead_letter,
            corrected=corrected_path(upload.path) if outcome == "corrected" else None,
            copies=tuple(copies),
            cached=tuple(cached),
            outcome=outcome,
            said=said,
        )

    def _read(self, account: Account, copies: list[Copy], cached: list[Copy]) -> None:
        """Read from the origin to keep, and from the others to compare."""
        path = corrected_path(account.path)
        kept = self.out / "proc" / Path(path).parent.name / Path(path).name
        kept.parent.mkdir(parents=True, exist_ok=True)
        origin = self.places.origin
        copies.append(self._copy(origin.id, path, kept, kept))
        manifest = self.clients[origin.id].get(path + MANIFEST)
        kept.with_name(kept.name + MANIFEST).write_bytes(manifest)
        if self.places.remote is not None:
            copies.append(self._compared(self.places.remote.id, path, kept))
            if self.clients[self.places.remote.id].get(path + MANIFEST) != manifest:
                raise VerifyFailed(f"another manifest at {self.places.remote.id}")
        if self.places.cache is not None:
            cached.extend(self._through_cache(self.places.cache.id, path, kept) for _ in ("miss", "hit"))

    def _through_cache(self, cache: str, path: str, kept: Path) -> Copy:
        """Like `_compared`. A cache learns by a read that its connection to the storage has died, and breaks it off:
        as its clients do, that is asked again."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._compared(cache, path, kept)
            except Unreachable as error:
                if time.monotonic() > until:
                    raise
                log.warning("read again through %s: %s", cache, error.message)
                time.sleep(1)

    def _tape(self, account: Account) -> Tape | None:
        """The class of the raw file, where raw data is archived. Raises VerifyFailed when it is not on tape."""
        if self.frontend is None:
            return None
        info = self.frontend.stat(account.path, qos=True)
        tape = Tape(qos=info.qos, locality=info.locality)
        if not tape.safe:
            raise VerifyFailed(f"raw file is {info.qos}, {info.locality}: not on tape")
        return tape

    def _compared(self, endpoint: str, path: str, kept: Path) -> Copy:
        spare = self.spare / f"{endpoint}-{kept.name}"
        try:
            return self._copy(endpoint, path, spare, kept)
        finally:
            spare.unlink(missing_ok=True)

    def _copy(self, endpoint: str, path: str, target: Path, kept: Path) -> Copy:
        """Read one copy, and compare: its bytes with those kept, and with what the storage says of them."""
        client = self.clients[endpoint]
        started = time.monotonic()
        content = client.receive(path, target)
        seconds = time.monotonic() - started
        cache = self.places.cache
        checksums = {} if cache is not None and endpoint == cache.id else client.head(path).checksums
        told = checksums.get("adler32", content.adler32)  # a cache only passes the question on
        equal = told == content.adler32 and (target == kept or filecmp.cmp(target, kept, shallow=False))
        return Copy(endpoint=endpoint, size=content.size, adler32=told, equal=equal, seconds=round(seconds, 4))

    def residue(self, stories: list[FileStory], run: int) -> list[str]:
        """What lies among the results at the sites that is no result."""
        results = {path for story in stories if (path := story.corrected)}
        wanted = results | {path + MANIFEST for path in results}
        left = []
        for place in (self.places.origin, self.places.remote):
            if place is not None:
                paths = _names(self.clients[place.id], f"/data/proc/r{run:04d}")
                left += [f"{place.id}:{path}" for path in paths if path not in wanted]
        return left


def _outcome(account: Account) -> str:
    if not account.settled:
        return "missing"
    return "failed" if account.dead_letter is not None else "corrected"


def _differences(copies: list[Copy]) -> str | None:
    different = sorted({copy.endpoint for copy in copies if not copy.equal})
    return f"other bytes at {', '.join(different)}" if different else None


def _names(client: WebDav, folder: str) -> list[str]:
    try:
        return [f"{folder}/{entry.name}" for entry in client.list(folder)]
    except NotFound:
        return []
