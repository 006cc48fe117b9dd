"""A steady stream of small files into the first storage, and what the broker says of them: runs on the client node.

    python -m xdc_testbed.soak.stream --run ID --control DIR --files-per-second 2 ...

Tells facts as JSON lines. A file `stop` in the control folder ends the writing; a file `finish` then ends the
following: copies are compared, everything is removed, and the program ends.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from xdc_testbed import endpoints as endpoint_list
from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.demo import places
from xdc_testbed.demo.streams import KafkaAccess, Tail
from xdc_testbed.errors import XdcError
from xdc_testbed.events.model import DeadLetter, Result
from xdc_testbed.soak.facts import Began, Copy, Dead, Ended, Fact, In, Problem, Ready, Refused, Residue

log = logging.getLogger(__name__)

RESULTS, DEAD_LETTERS = "activation-results", "dead-letter"
_CONFIG = Path("/etc/xdc-testbed")
_WRITERS = 48  # uploads under way, those that wait for their next try included
_PAUSE = 1.0  # seconds between two tries of one file
_READERS = 8
_LOOK = 0.3

Tell = Callable[[Fact], None]


@dataclass(frozen=True)
class Settings:
    """What is written. run: word in every path; share: of files that go to the other site; longest: seconds."""

    run: str
    files_per_second: float
    share: float
    size: int
    longest: float
    control: Path

    @property
    def mark(self) -> str:
        """The folder that all paths of this run, and no others, have in them."""
        return f"soak-{self.run}"

    def path(self, number: int, attempt: int) -> str:
        """Where a try of a file goes: the rules send CORR files of /data/proc to the other site, bench to noop."""
        again = f"-try{attempt}" if attempt > 1 else ""
        if self.transferred(number):
            return f"/data/proc/{self.mark}/CORR-{number:06d}{again}"
        return f"/data/bench/{self.mark}/{number:06d}{again}"

    def transferred(self, number: int) -> bool:
        """Whether a file goes to the other site: spread evenly."""
        return int((number + 1) * self.share) > int(number * self.share)

    def content(self, number: int) -> bytes:
        """The bytes of a file: its own, and the same whenever they are asked for."""
        return random.Random(f"{self.run}/{number}").randbytes(self.size)  # noqa: S311 - not a secret

    @property
    def stopped(self) -> bool:
        """Whether no more files shall be written."""
        return (self.control / "stop").exists()

    @property
    def finished(self) -> bool:
        """Whether nobody waits for results any more."""
        return (self.control / "finish").exists()


@dataclass
class Writer:
    """Uploads files in time, each until it is taken; does not wait for one before the next."""

    origin: WebDav
    settings: Settings
    tell: Tell
    taken: dict[str, In] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)

    def write(self) -> None:
        """Write until told to stop."""
        began, number = time.monotonic(), 0
        waiting: set[Future[None]] = set()
        with ThreadPoolExecutor(_WRITERS) as pool:
            while not self.settings.stopped and time.monotonic() - began < self.settings.longest:
                due = began + number / self.settings.files_per_second
                time.sleep(max(0.0, min(_LOOK, due - time.monotonic())))
                for future in [future for future in waiting if future.done()]:
                    waiting.remove(future)
                    future.result()
                if time.monotonic() >= due and len(waiting) < _WRITERS:
                    waiting.add(pool.submit(self._file, number))
                    number += 1

    def _file(self, number: int) -> None:
        self.tell(Began(file=number, transferred=self.settings.transferred(number)))
        content, attempt = self.settings.content(number), 0
        while not self.settings.finished:
            attempt += 1
            path = self.settings.path(number, attempt)
            self.tried.append(path)
            try:
                sent = self.origin.put(path, content)
            except XdcError as error:
                self.tell(Refused(file=number, path=path, reason=error.message))
                time.sleep(_PAUSE)
                continue
            self.taken[path] = In(file=number, path=path, size=sent.size, adler32=sent.adler32, tries=attempt)
            self.tell(self.taken[path])
            return


def follow(tail: Tail, settings: Settings, tell: Tell, writing: Future[None]) -> None:
    """Tell what the broker says of this run's files, until nobody waits any more. Raises what ended the writing."""
    while not settings.finished:
        if writing.done():
            writing.result()
        for topic, value in tail.records(_LOOK):
            if (fact := fact_of(topic, value)) is not None and f"/{settings.mark}/" in fact.path:
                tell(fact)


def fact_of(topic: str, value: bytes) -> Ended | Dead | None:
    """What one record of the broker says; None for one that is not about a file's work."""
    try:
        if topic == RESULTS:
            result = Result.model_validate_json(value)
            return Ended(
                path=result.subject, action=_short(result.action), status=result.status, attempts=result.attempts
            )
        letter = DeadLetter.model_validate_json(value)
    except ValidationError:
        return None
    if letter.item is None:
        return None
    return Dead(path=letter.item.event.subject, action=_short(letter.item.action), reason=letter.reason)


def compare(writer: Writer, origin_id: str, remote: WebDav | None, remote_id: str | None, tell: Tell) -> None:
    """Look at every file that was taken, where it was written and where it had to go."""

    def look(storage: WebDav, endpoint: str, path: str) -> None:
        try:
            found = storage.head(path)
        except NotFound:
            tell(Copy(path=path, endpoint=endpoint, size=None, adler32=None))
        else:
            tell(Copy(path=path, endpoint=endpoint, size=found.size, adler32=found.checksums.get("adler32")))

    with ThreadPoolExecutor(_READERS) as pool:
        looks = [pool.submit(look, writer.origin, origin_id, path) for path in writer.taken]
        if remote is not None and remote_id is not None:
            sent = [one.path for one in writer.taken.values() if writer.settings.transferred(one.file)]
            looks += [pool.submit(look, remote, remote_id, path) for path in sent]
            folder = f"/data/proc/{writer.settings.mark}"
            known = set(writer.tried)
            tell(Residue(names=tuple(sorted(path for path in _listed(remote, folder) if path not in known))))
        for one in looks:
            one.result()


def clean(storages: Sequence[WebDav], mark: str) -> None:
    """Remove what the run wrote, also what nobody acknowledged."""
    for storage in storages:
        for folder in (f"/data/bench/{mark}", f"/data/proc/{mark}"):
            with ThreadPoolExecutor(_READERS) as pool:
                list(pool.map(lambda path, storage=storage: _delete(storage, path), _listed(storage, folder)))
            _delete(storage, folder)


def run(settings: Settings, endpoints: Path, kafka: Path, credentials: Path, tell: Tell) -> None:
    """Write, follow, compare, clean. Raises what the clients raise before the first file and after the last."""
    chosen = places.choose(endpoint_list.load(endpoints))
    with ExitStack() as stack:
        origin = stack.enter_context(places.client(chosen.origin, credentials))
        remote = stack.enter_context(places.client(chosen.remote, credentials)) if chosen.remote else None
        tail = Tail(KafkaAccess.read(kafka), (RESULTS, DEAD_LETTERS))
        stack.callback(tail.close)
        tell(Ready(origin=chosen.origin.id, remote=chosen.remote.id if chosen.remote else None))
        writer = Writer(origin, settings, tell)
        with ThreadPoolExecutor(1, thread_name_prefix="writer") as pool:
            follow(tail, settings, tell, pool.submit(writer.write))
        compare(writer, chosen.origin.id, remote, chosen.remote.id if chosen.remote else None, tell)
        clean([storage for storage in (origin, remote) if storage is not None], settings.mark)


def main(words: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m xdc_testbed.soak.stream", description="files and their fate")
    parser.add_argument("--endpoints", type=Path, default=_CONFIG / "endpoints.json")
    parser.add_argument("--kafka", type=Path, default=_CONFIG / "kafka-client.toml")
    parser.add_argument("--credentials", type=Path, default=_CONFIG / "credentials")
    parser.add_argument("--run", required=True, help="word in every path")
    parser.add_argument("--control", type=Path, required=True, help="folder that is looked into for `stop`, `finish`")
    parser.add_argument("--files-per-second", type=float, required=True)
    parser.add_argument("--share", type=float, required=True, help="of files that go to the other site")
    parser.add_argument("--size", type=int, required=True, help="bytes of a file")
    parser.add_argument("--longest", type=float, required=True, help="seconds of writing at most")
    given = parser.parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    lock = threading.Lock()

    def tell(fact: Fact) -> None:
        with lock:
            sys.stdout.write(fact.model_dump_json() + "\n")
            sys.stdout.flush()

    settings = Settings(given.run, given.files_per_second, given.share, given.size, given.longest, given.control)
    given.control.mkdir(parents=True, exist_ok=True)
    try:
        run(settings, given.endpoints, given.kafka, given.credentials, tell)
    except XdcError as error:
        tell(Problem(message=error.message, remedy=error.remedy))
        return error.exit_code
    return 0


def _listed(storage: WebDav, folder: str) -> list[str]:
    try:
        return [entry.path for entry in storage.list(folder)]
    except NotFound:
        return []


def _delete(storage: WebDav, path: str) -> None:
    try:
        storage.delete(path)
    except NotFound:
        log.info("%s was gone already", path)


def _short(action: str) -> str:
    """`/_/xdc/transfer` is transfer."""
    return action.rpartition("/")[2]


if __name__ == "__main__":
    sys.exit(main())
