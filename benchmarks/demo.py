"""The whole testbed, timed by the command line: up from a baked image, again, converge, demo, down; latency of events.

Builds the image first when it is missing (that time is printed, not judged). Runs in a state folder of its own and
ends with one JSON line per figure: name, value, unit, goal, holds. Run it on a quiet machine: make bench NAME=demo
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from shared.figures import show

CLI = str(Path(sys.executable).with_name("xdc-testbed"))


def main() -> int:
    """Run all of it. Returns 0 also when a goal is missed: a benchmark measures, tests judge."""
    figures: list[partial[None]] = []
    with tempfile.TemporaryDirectory(prefix="xdc-bench-") as folder:
        environment = {**os.environ, "XDC_STATE_DIR": folder, "CI": "true"}

        def xdc(*words: str) -> tuple[float, Any]:
            started = time.monotonic()
            done = subprocess.run(
                [CLI, *words], env=environment, capture_output=True, text=True, check=False, timeout=1800
            )
            seconds = time.monotonic() - started
            if done.returncode != 0:
                sys.exit(f"xdc-testbed {' '.join(words)} ended with {done.returncode}\n{done.stderr}")
            return seconds, json.loads(done.stdout.splitlines()[-1]) if "json" in words else done.stdout

        def figure(name: str, value: float, unit: str, goal: float, *, at_least: bool = False) -> None:
            figures.append(partial(show, name, value, unit, **{"at_least" if at_least else "at_most": goal}))

        seconds, _ = xdc("image", "build")
        print(f"image build (judged nowhere; 0 when it was there): {seconds:.1f} s")
        try:
            up, _ = xdc("up", "--output", "json")
            figure("up of the demo profile from a baked image", up, "s", 60)
            again, result = xdc("up", "--output", "json")
            figure("second up", again, "s", 10)
            figure("second up: changed tasks", sum(result["changed"].values()), "tasks", 0)
            converge, result = xdc("up", "--converge", "--output", "json")
            figure("up --converge", converge, "s", 30)
            figure("up --converge: changed tasks", sum(result["changed"].values()), "tasks", 0)
            xdc("events", "probe", "--count", "20", "--output", "json")  # warm containers and connections
            _, probe = xdc("events", "probe", "--count", "200", "--output", "json")
            figure("file closed to action started, one at a time, median", probe["close_to_action_ms"]["p50"], "ms", 30)
            figure("file closed to action started, one at a time, p95", probe["close_to_action_ms"]["p95"], "ms", 100)
            _, burst = xdc("events", "probe", "--count", "500", "--burst", "--output", "json")
            figure("burst of 500 files: acted on", burst["ok"], "files", 500, at_least=True)
            figure("burst of 500 files: more than once", burst["repeated"], "files", 0)
            demo, _ = xdc("demo", "--output", "json")
            interop, _ = xdc("test", "interop", "--output", "json")
        finally:
            down, _ = xdc("down", "--yes", "--output", "json")
        figure("down", down, "s", 10)
        figure("make demo with the image baked (up, demo, interop, report, down)", up + demo + interop + down, "s", 180)
    for one in figures:
        one()
    return 0


if __name__ == "__main__":
    sys.exit(main())
