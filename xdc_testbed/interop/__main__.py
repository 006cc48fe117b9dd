"""Run the suite on this machine: `python -m xdc_testbed.interop --endpoints FILE [--out DIR]`.

With --json-progress every line on standard output is a JSON object: `plan`, one `record` per result, `end`,
or `error`. Exit status: 0 no bad result, 1 some, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from pydantic import JsonValue, ValidationError
from rich.console import Console

from xdc_testbed import endpoints
from xdc_testbed.endpoints import Endpoint
from xdc_testbed.errors import Interrupted, WrongUsage, XdcError
from xdc_testbed.interop import suite, terminal
from xdc_testbed.interop.matrix import Cell
from xdc_testbed.interop.record import CaseRecord, count


class Voice(Protocol):
    """Tells the progress of a run."""

    def plan(self, planned: Sequence[Cell], options: suite.Options) -> None:
        """What will be asked."""

    def record(self, record: CaseRecord) -> None:
        """One result."""

    def end(self, records: Sequence[CaseRecord], files: dict[str, Path]) -> None:
        """All results, and where the reports are."""

    def error(self, error: XdcError) -> None:
        """Why there is no run."""


class JsonVoice:
    """JSON lines on standard output, for the command line on another machine."""

    def __init__(self) -> None:
        self._done = 0
        self._total = 0

    def plan(self, planned: Sequence[Cell], options: suite.Options) -> None:
        self._total = len(planned)
        self._say(
            event="plan",
            run_id=options.run_id,
            total=self._total,
            cases=len({cell.case.id for cell in planned}),
        )

    def record(self, record: CaseRecord) -> None:
        self._done += 1
        self._say(event="record", done=self._done, total=self._total, record=record.model_dump(mode="json"))

    def end(self, records: Sequence[CaseRecord], files: dict[str, Path]) -> None:
        outcomes: dict[str, JsonValue] = {str(outcome): number for outcome, number in count(records).items()}
        paths: dict[str, JsonValue] = {name: str(path) for name, path in files.items()}
        self._say(
            event="end",
            ok=not any(r.bad for r in records),
            total=len(records),
            outcomes=outcomes,
            files=paths,
        )

    def error(self, error: XdcError) -> None:
        self._say(event="error", message=error.message, remedy=error.remedy)

    def _say(self, **content: JsonValue) -> None:
        sys.stdout.write(json.dumps(content) + "\n")
        sys.stdout.flush()


class ConsoleVoice:
    """Lines and the matrix for a person."""

    def __init__(self) -> None:
        self._console = Console()

    def plan(self, planned: Sequence[Cell], options: suite.Options) -> None:
        self._console.print(f"run {options.run_id}: {len(planned)} questions")

    def record(self, record: CaseRecord) -> None:
        if record.bad:
            self._console.print(f"{record.outcome}: {record.name}: {record.reason}", markup=False)

    def end(self, records: Sequence[CaseRecord], files: dict[str, Path]) -> None:
        self._console.print(terminal.render(records))
        for path in files.values():
            self._console.print(str(path), markup=False)

    def error(self, error: XdcError) -> None:
        self._console.print(error.message, markup=False)
        if error.remedy:
            self._console.print(f"  → {error.remedy}", markup=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite as the arguments say, and return the exit status."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if asked.debug else logging.WARNING, stream=sys.stderr)
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    voice: Voice = JsonVoice() if asked.json_progress else ConsoleVoice()
    try:
        options = suite.Options(
            cases=tuple(asked.case),
            private=asked.private,
            public=asked.public,
            workers=asked.workers,
            timeout=asked.timeout,
            stranger=(asked.stranger[0], asked.stranger[1]) if asked.stranger else None,
            deviations_file=asked.deviations,
            title=asked.title,
        )
        known = _endpoints(asked.endpoints)
        planned = suite.cells(known, options)
        voice.plan(planned, options)
        records = suite.run(known, planned, options, voice.record)
        voice.end(records, suite.write(records, options, asked.out) if asked.out else {})
    except XdcError as error:
        voice.error(error)
        return error.exit_code
    return 1 if any(record.bad for record in records) else 0


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """End the run where it is waited for: the folders on the storages are removed on the way out."""
    raise Interrupted(f"stopped by {signal.Signals(number).name}", remedy="run the same again")


def _endpoints(path: Path) -> list[Endpoint]:
    try:
        return endpoints.load(Path("/dev/stdin") if str(path) == "-" else path)
    except OSError as error:
        raise WrongUsage(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WrongUsage(f"{path} is not a list of endpoints: {where}: {first['msg']}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m xdc_testbed.interop", description="Interoperability suite")
    parser.add_argument("--endpoints", type=Path, required=True, help="JSON list of endpoints; - for standard input")
    parser.add_argument("--out", type=Path, help="folder for records.jsonl, junit.xml, matrix.txt and report.html")
    parser.add_argument("--case", action="append", default=[], metavar="GLOB", help="case ids to ask; may be repeated")
    parser.add_argument("--json-progress", action="store_true", help="progress as JSON lines on standard output")
    parser.add_argument("--private", default="/data/interop", help="the suite's folder on every storage")
    parser.add_argument("--public", default="/pub/interop", help="the suite's folder that anybody may read")
    parser.add_argument("--workers", type=int, default=6, help="questions asked at a time")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for one request without progress")
    parser.add_argument(
        "--stranger", type=Path, nargs=2, metavar=("CERT", "KEY"), help="certificate of an unknown user"
    )
    parser.add_argument("--deviations", type=Path, help="known deviations; default: those of the kit")
    parser.add_argument("--title", default="endpoints", help="what the report says was tested")
    parser.add_argument("--debug", action="store_true", help="log every request to standard error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
