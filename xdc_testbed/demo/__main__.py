"""The demonstration on the client node: `python -m xdc_testbed.demo --work DIR --out DIR`.

Progress goes to standard output, as JSON lines with --json-progress. Exit code 0 when every file became
what it had to; 1 when not, with a line for each on standard error; anything else when there is no story to judge.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from xdc_testbed.demo.story import PLANS, Settings, Step, tell
from xdc_testbed.errors import XdcError

_CONFIG = Path("/etc/xdc-testbed")
_NO_STORY = 9


def main(words: list[str] | None = None) -> int:
    """Run it. Returns the exit code."""
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = Settings(
        endpoints=arguments.endpoints,
        kafka=arguments.kafka,
        credentials=arguments.credentials,
        work=arguments.work,
        out=arguments.out,
        preset=arguments.preset,
        deadline=arguments.deadline,
    )
    try:
        story = tell(settings, _json_lines if arguments.json_progress else _lines)
    except XdcError as error:
        sys.stderr.write(f"{error.message}\n{error.remedy or ''}\n")
        return error.exit_code if error.exit_code != 1 else _NO_STORY
    for line in story.unexpected:
        sys.stderr.write(f"{line}\n")
    return 0 if story.as_expected else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m xdc_testbed.demo", description="detector data through the testbed")
    parser.add_argument("--endpoints", type=Path, default=_CONFIG / "endpoints.json", help="what the testbed offers")
    parser.add_argument("--kafka", type=Path, default=_CONFIG / "kafka-client.toml", help="how to reach the broker")
    parser.add_argument("--credentials", type=Path, default=_CONFIG / "credentials", help="folder with demo.secret")
    parser.add_argument("--work", type=Path, required=True, help="folder for raw data, about 200 MB")
    parser.add_argument("--out", type=Path, required=True, help="folder for the facts and the corrected files")
    parser.add_argument("--preset", choices=sorted(PLANS), default="default", help="how much data")
    parser.add_argument("--deadline", type=float, default=Settings.deadline, help="seconds for the pipeline")
    parser.add_argument("--json-progress", action="store_true", help="progress as JSON lines")
    return parser


def _json_lines(step: Step) -> None:
    sys.stdout.write(json.dumps(asdict(step)) + "\n")
    sys.stdout.flush()


def _lines(step: Step) -> None:
    sys.stdout.write(f"{step.phase}: {step.message}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
