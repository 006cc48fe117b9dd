"""Write small files to storages and time what follows: closed, routed, action started, ended.

    python -m xdc_testbed.events.probe [--count N] [--burst] [--out FILE] < question.json

The question says where and as whom; it comes on standard input because it holds secrets:

    {"kafka": {"bootstrap": "desy-stream.xdc.test:9093", "ca_file": "/etc/xdc-testbed/ca.pem"},
     "user": "client", "password": "...",
     "storages": {"desy-storage": "https://desy-storage.xdc.test:8443"}, "folder": "/data/bench",
     "issuer": "https://desy-stream.xdc.test:8444", "client_id": "demo", "client_secret": "...",
     "ca_file": "/etc/xdc-testbed/ca.pem",
     "credentials": {}}                                  # by storage: issuer, client_id, client_secret of its own

Files are written one after the other, each waiting for its result, or with --burst all at once. Standard
output gets one JSON line per file (--out puts them in a file instead) and a summary as the last line. Exit
status 1: a file has no result in time, a failed one, or more than one.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from xdc_testbed.clients.errors import NotFound
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import WrongUsage, XdcError
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import RESULTS, KafkaSection
from xdc_testbed.events.model import Result

log = logging.getLogger(__name__)

_WRITERS = 8  # files written at once in a burst
_SETTLE = 1.0  # seconds for which a second result of a file is waited for

File = tuple[str, str]  # endpoint id, path


class Client(BaseModel):
    """A client of a token issuer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    client_id: str
    client_secret: SecretStr

    def tokens(self, ca_file: Path) -> TokenSource:
        """Its tokens, for everything below /data."""
        secret = self.client_secret.get_secret_value()
        return TokenSource(self.issuer, self.client_id, secret, ca_file, "storage.read:/data storage.modify:/data")


class Question(BaseModel):
    """What comes on standard input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kafka: KafkaSection
    user: str
    password: SecretStr
    storages: dict[str, str]
    folder: str = "/data/bench"
    issuer: str
    client_id: str
    client_secret: SecretStr
    ca_file: Path
    credentials: dict[str, Client] = {}

    def tokens(self, storage: str) -> TokenSource:
        """Tokens that a storage accepts."""
        usual = Client(issuer=self.issuer, client_id=self.client_id, client_secret=self.client_secret)
        return self.credentials.get(storage, usual).tokens(self.ca_file)


@dataclass(frozen=True)
class Summary:
    """What came of all files. repeated: files with more than one result; latencies: ms from close to action
    start.
    """

    count: int
    ok: int
    failed: int
    missing: int
    repeated: int
    latencies: tuple[float, ...]

    @property
    def good(self) -> bool:
        """Whether every file was acted on, once and well."""
        return self.ok == self.count and self.repeated == 0

    def to_json(self) -> dict[str, Any]:
        """As the last line says it."""
        return {
            "count": self.count,
            "ok": self.ok,
            "failed": self.failed,
            "missing": self.missing,
            "repeated": self.repeated,
            "close_to_action_ms": percentiles(self.latencies),
        }


class Probe:
    """Writes files and collects their results. Use as a context manager."""

    def __init__(self, question: Question, *, deadline: float) -> None:
        self._question = question
        self._deadline = deadline
        self._run = f"probe-{secrets.token_hex(4)}"
        self._stack = ExitStack()
        self.results: defaultdict[File, list[Result]] = defaultdict(list)

    def __enter__(self) -> Probe:
        question = self._question
        self._storages = {
            endpoint: self._stack.enter_context(
                WebDav(url, ca_file=question.ca_file, token=question.tokens(endpoint).token)
            )
            for endpoint, url in question.storages.items()
        }
        connection = question.kafka.as_user(question.user, password=question.password)
        self._feed = self._stack.enter_context(Feed(connection, RESULTS))
        self._feed.from_now()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def files(self, count: int) -> list[File]:
        """Names that nobody has used, `count` for each storage."""
        folder = self._question.folder.rstrip("/")
        return [(storage, f"{folder}/{self._run}-{n}") for n in range(count) for storage in self._storages]

    def one_by_one(self, files: list[File]) -> None:
        """Write each file and wait for its result before the next."""
        for file in files:
            self._write(file)
            self._wait(lambda file=file: bool(self.results[file]))  # type: ignore[misc]

    def burst(self, files: list[File]) -> None:
        """Write all files at once, then wait for the results of all."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(self._write, files))
        self._wait(lambda: all(self.results[file] for file in files))

    def settle(self) -> None:
        """Take in what comes though nothing is waited for any more."""
        until = time.monotonic() + _SETTLE
        while time.monotonic() < until:
            self._take(until - time.monotonic())

    def clean(self, files: list[File]) -> None:
        """Remove the files again."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(self._remove, files))

    def _write(self, file: File) -> None:
        storage, path = file
        self._storages[storage].put(path, b"probe\n")

    def _remove(self, file: File) -> None:
        storage, path = file
        try:
            self._storages[storage].delete(path)
        except NotFound:
            log.info("%s of %s was gone already", path, storage)

    def _wait(self, done: Callable[[], bool]) -> None:
        """Take in results until done, at most for the deadline; what is missing then is seen by the
        summary.
        """
        until = time.monotonic() + self._deadline
        while not done() and time.monotonic() < until:
            self._take(0.2)

    def _take(self, timeout: float) -> None:
        entry = self._feed.next(max(0.0, timeout))
        if entry is not None and self._run.encode() in entry.key:
            result = Result.model_validate_json(entry.value)
            self.results[result.endpoint, result.subject].append(result)


def summary(files: list[File], results: dict[File, list[Result]]) -> Summary:
    """Count what came of the files."""
    first = [results[file][0] for file in files if results.get(file)]
    latencies = [each.times.action_started - each.times.closed for each in first if each.times.action_started]
    return Summary(
        count=len(files),
        ok=sum(each.status == "ok" for each in first),
        failed=sum(each.status == "failed" for each in first),
        missing=len(files) - len(first),
        repeated=sum(len(results.get(file, ())) > 1 for file in files),
        latencies=tuple(seconds * 1000 for seconds in latencies),
    )


def percentiles(values: tuple[float, ...]) -> dict[str, float]:
    """p50, p95 and the largest, rounded to 0.1; empty without values."""
    if not values:
        return {}
    if len(values) == 1:
        return {"p50": round(values[0], 1), "p95": round(values[0], 1), "max": round(values[0], 1)}
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {"p50": round(cuts[9], 1), "p95": round(cuts[18], 1), "max": round(max(values), 1)}


def lines(files: list[File], results: dict[File, list[Result]]) -> Iterator[dict[str, Any]]:
    """One record per file: what happened when, in ms after the close."""
    for storage, path in files:
        found = results.get((storage, path), [])
        record: dict[str, Any] = {"endpoint": storage, "path": path, "results": len(found)}
        if found:
            times = found[0].times
            steps = {
                "routed": times.routed,
                "invoked": times.invoked,
                "action_started": times.action_started,
                "ended": times.ended,
            }
            record["status"] = found[0].status
            record["reason"] = found[0].reason
            record["ms"] = {name: round((at - times.closed) * 1000, 1) for name, at in steps.items() if at is not None}
        yield record


def run(question: Question, *, count: int, burst: bool, deadline: float, out: TextIO) -> Summary:
    """Probe and report."""
    with Probe(question, deadline=deadline) as probe:
        files = probe.files(count)
        try:
            (probe.burst if burst else probe.one_by_one)(files)
            probe.settle()
        finally:
            probe.clean(files)
        for record in lines(files, probe.results):
            out.write(json.dumps(record) + "\n")
        return summary(files, probe.results)


def main() -> int:
    """Read the question, probe, say what was seen."""
    parser = argparse.ArgumentParser(prog="event-probe", description="Time the way from a closed file to its action")
    parser.add_argument("--count", type=int, default=1, help="files for each storage")
    parser.add_argument("--burst", action="store_true", help="write all files at once")
    parser.add_argument(
        "--deadline", type=float, default=20, help="seconds to wait for a result, or for all of a burst"
    )
    parser.add_argument("--out", type=Path, help="file for the line of each file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        question = Question.model_validate_json(sys.stdin.buffer.read())
        with ExitStack() as stack:
            out = stack.enter_context(arguments.out.open("w")) if arguments.out else sys.stdout
            seen = run(question, count=arguments.count, burst=arguments.burst, deadline=arguments.deadline, out=out)
    except ValidationError as error:
        first = error.errors()[0]
        problem: XdcError = WrongUsage(f"question: {'.'.join(map(str, first['loc']))}: {first['msg']}")
        sys.stderr.write(f"{problem.message}\n")
        return problem.exit_code
    except XdcError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy or ''}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(seen.to_json()) + "\n")
    return 0 if seen.good else 1


if __name__ == "__main__":
    sys.exit(main())
