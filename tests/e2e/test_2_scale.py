"""Function nodes come and go while actions are running, and every activation is accounted for."""

from __future__ import annotations

import json
import time

from tests.e2e.conftest import Xdc
from tests.e2e.test_2_pipeline import PYTHON

BURST = """
import json, os, threading, time
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
began, made, statuses, where = int(time.time() * 1000), [], Counter(), Counter()

def call(whisk):
    while not stop.exists():
        record = whisk.invoke("burst")
        made.append(record.id)
        statuses[record.status] += 1
        where[record.result.get("where", "nowhere").split(".")[0]] += 1

auth = (here / "openwhisk.auth").read_text()
with OpenWhisk("https://desy-functions.xdc.test:3233", auth, here / "ca.pem") as whisk:
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

INVOKERS = """
import ssl
from urllib.request import urlopen
trust = ssl.create_default_context(cafile="/etc/xdc-testbed/ca.pem")
print(urlopen("https://desy-functions.xdc.test:3233/invokers", context=trust, timeout=10).read().decode())
"""


def test_function_nodes_come_and_go_under_load_and_no_activation_is_lost(testbed: Xdc) -> None:
    burst = testbed.start("ssh", "desy-functions", "--", PYTHON, "-c", BURST)
    try:
        testbed("scale", "faas=1", timeout=300)
        assert _invokers(testbed) == {"invoker0": "up", "faas-1": "up"}
        again = testbed("up", "--output", "json").json
        assert again["skipped"] == ["site", "verify"]
        assert "faas-1" in again["changed"]
        _wait_for_work_on(testbed, "faas-1")
        testbed("scale", "faas=0", timeout=300)
        assert _invokers(testbed) == {"invoker0": "up"}
    finally:
        testbed.on("desy-functions", "touch", "/tmp/burst-ends")
        out, err = burst.communicate(timeout=120)
    assert burst.returncode == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["statuses"] == {"success": found["made"]}, found
    assert found["kept"] == found["made"] > 100, found
    assert set(found["where"]) == {"desy-functions", "faas-1"}, found
    assert len(testbed("status", "--output", "json").json["nodes"]) == 6


def test_a_number_that_is_none_and_a_kind_that_is_not_there_are_told(testbed: Xdc) -> None:
    said = testbed("scale", "fas=1", ok=False)
    assert (said.code, said.errors[0]) == (
        2,
        "error: nothing called 'fas' can be scaled in testbed 'demo'; did you mean 'faas'?",
    )


def _invokers(testbed: Xdc) -> dict[str, str]:
    """Name and state of every invoker, as the controller tells."""
    return dict(testbed.on("desy-functions", PYTHON, "-c", INVOKERS).json)


def _wait_for_work_on(testbed: Xdc, node: str) -> None:
    """Until more runs there than the controller's test action."""
    deadline = time.monotonic() + 60
    while testbed.on(node, "ls", "/var/lib/openwhisk-invoker/containers").out.count(".pid") < 2:
        assert time.monotonic() < deadline, f"nothing runs on {node}"
