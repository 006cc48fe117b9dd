"""`make demo` from nothing: a fresh clone, no virtual environment, no state, and an engine whose store is empty.

Debian packages that this machine already has are not installed again: the line "missing packages" says how many
were, and a figure with 0 there is that of a machine where they are. Ends with one JSON line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared.figures import show

ROOT = Path(__file__).resolve().parents[1]
GOAL = 600.0


def main() -> int:
    """Run it once. Returns 0 also when the goal is missed, 1 when `make demo` fails."""
    with tempfile.TemporaryDirectory(prefix="xdc-cold-") as folder:
        clone = Path(folder, "xdc-testbed")
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True, timeout=120)
        store = Path(folder, "storage.conf")
        store.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("VIRTUAL_ENV", "XDC_"))},
            "XDC_STATE_DIR": f"{folder}/state",
            "CONTAINERS_STORAGE_CONF": str(store),
            "CI": "true",
        }
        print(f"missing packages: {missing_packages()}", flush=True)
        started = time.monotonic()
        try:
            done = subprocess.run(["make", "demo"], cwd=clone, env=environment, check=False, timeout=3000)
            seconds = time.monotonic() - started
        finally:
            subprocess.run(
                ["podman", "unmount", "--all"], env=environment, check=False, capture_output=True, timeout=60
            )
    show("cold make demo", seconds, "s", at_most=GOAL)
    return done.returncode


def missing_packages() -> int:
    """How many of system-packages.txt this machine lacks, without those that only tests need."""
    text = (ROOT / "system-packages.txt").read_text().partition("# What follows is for checks")[0]
    wanted = [line for line in text.splitlines() if line and not line.startswith("#")]
    have = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    installed = {line.split()[0] for line in have.stdout.splitlines() if line.endswith(" installed")}
    return len(set(wanted) - installed)


if __name__ == "__main__":
    sys.exit(main())
