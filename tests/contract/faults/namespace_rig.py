"""A node made of nothing but namespaces: own processes, mounts, network and /run.

Needs root, or leave to make a user namespace. Own processes above all: a full disk reaches every process that it sees.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from xdc_testbed import processes

_PRELUDE = """
import errno, json, subprocess
from pathlib import Path
from xdc_testbed.faults.agent import Agent
from xdc_testbed.faults.model import DiskFull, Order, Partition
from xdc_testbed.faults.records import Records

agent = Agent(Records(Path("/run/records")))

def packet_filter():
    text = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return [line for line in text.splitlines() if not line.startswith(("#", ":"))]

def write(path, size):
    try:
        path.write_bytes(bytes(size))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "written"

def answer(**facts):
    print(json.dumps(facts))
"""


def on_a_node(script: str, **names: Path) -> Any:
    """Run a script on a node of its own and return what it answers. names: paths that the script may use."""
    given = "".join(f"{name} = Path({str(path)!r})\n" for name, path in names.items())
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = processes.run(
        [
            *("unshare", *as_root, "--pid", "--fork", "--mount-proc", "--mount", "--net", "--propagation", "private"),
            *("sh", "-c", 'mount -t tmpfs none /run && exec "$0" -c "$1"', sys.executable),
            _PRELUDE + given + script,
        ],
        timeout=60,
    )
    return json.loads(done.text.splitlines()[-1])
