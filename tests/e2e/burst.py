"""Activations without a pause while function nodes come and go, on any testbed; every one of them is accounted for."""

from __future__ import annotations

import json
import subprocess
import time
from types import TracebackType
from typing import Any, Self

from tests.e2e.conftest import PYTHON, Said, Xdc

_CALLS = """
import json, sys, threading, time
from collections import Counter
from pathlib import Path
from xdc_testbed.clients.openwhisk import OpenWhisk

CODE = '''import os, socket, time
def main(args):
    time.sleep(0.2)
    return {"where": socket.gethostname()}
'''
here, stop = Path("/etc/xdc-testbed"), Path("/tmp/burst-ends")
stop.unlink(missing_ok=True)
made, statuses, where = [], Counter(), Counter()

def call(whisk):
    while not stop.exists():
        record = whisk.invoke("burst")
        made.append(record.id)
        statuses[record.status] += 1
        where[record.result.get("where", "nowhere").split(".")[0]] += 1

auth = (here / "openwhisk.auth").read_text()
with OpenWhisk(f"https://{sys.argv[1]}.xdc.test:3233", auth, here / "ca.pem") as whisk:
    whisk.put_action("burst", CODE, memory=128)
    callers = [threading.Thread(target=call, args=(whisk,)) for _ in range(10)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    time.sleep(1)
    kept = 0
    for number in made:
        kept += whisk.activation(number).success
    whisk.delete("actions", "burst")
print(json.dumps({"made": len(made), "kept": kept, "statuses": statuses, "where": where}))
"""
"""Ten callers that never pause, until a file is there; then every activation is looked up."""

_INVOKERS = """
import ssl, sys
from urllib.request import urlopen
trust = ssl.create_default_context(cafile="/etc/xdc-testbed/ca.pem")
print(urlopen(f"https://{sys.argv[1]}.xdc.test:3233/invokers", context=trust, timeout=10).read().decode())
"""


class Burst:
    """Activations on a testbed for the time of a with block. controller: node of OpenWhisk; testbed: its name."""

    def __init__(self, xdc: Xdc, controller: str, testbed: str = "demo") -> None:
        self._xdc, self._controller, self._testbed = xdc, controller, testbed
        self.found: dict[str, Any] = {}

    def __enter__(self) -> Self:
        words = ("ssh", self._controller, "--name", self._testbed, "--", PYTHON, "-c", _CALLS, self._controller)
        self._calls: subprocess.Popen[str] = self._xdc.start(*words)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._on(self._controller, "touch", "/tmp/burst-ends")
        out, err = self._calls.communicate(timeout=120)
        assert self._calls.returncode == 0, err
        self.found = json.loads(out.splitlines()[-1])

    def invokers(self) -> dict[str, str]:
        """Name and state of every invoker, as the controller tells."""
        return dict(self._on(self._controller, PYTHON, "-c", _INVOKERS, self._controller).json)

    def wait_for_work_on(self, node: str) -> None:
        """Until more runs there than the controller's test action."""
        deadline = time.monotonic() + 60
        while self._on(node, "ls", "/var/lib/openwhisk-invoker/containers").out.count(".pid") < 2:
            assert time.monotonic() < deadline, f"nothing runs on {node}"

    def assert_none_was_lost(self, *nodes: str) -> None:
        """Every activation succeeded, is kept, and ran on these nodes, on each of them some."""
        assert self.found["statuses"] == {"success": self.found["made"]}, self.found
        assert self.found["kept"] == self.found["made"] > 100, self.found
        assert set(self.found["where"]) == set(nodes), self.found

    def _on(self, node: str, *command: str) -> Said:
        return self._xdc("ssh", node, "--name", self._testbed, "--", *command, timeout=120)
