"""Actions that misbehave, and storages that tell secrets: through router, dispatcher, OpenWhisk and its action proxies.

Each ends with a name, in a dead letter, and nobody's secret is written down on the way.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterator

import pytest
from event_rig import produce_events, storage_event
from openwhisk_rig import GUEST, SECRETS, TOKEN, Functions, Indiscreet, deploy, functions

from xdc_testbed.actions import package
from xdc_testbed.events import dead_letters
from xdc_testbed.events.model import Result

NEVER = "import time\ndef main(args):\n    time.sleep(3600)\n"
FOREIGN: dict[str, str] = {
    "stuck": NEVER,
    "stuck-at-start": "import time\ntime.sleep(3600)\ndef main(args): return {}\n",
    "large": "def main(args): return {'blob': 'x' * 2_000_000}\n",
    "segfault": "import os, signal\ndef main(args): os.kill(os.getpid(), signal.SIGSEGV)\n",
    "exits": "import sys\ndef main(args): sys.exit('bye')\n",
    "broken": "import no_such_module\ndef main(args): return {}\n",
    "numpy": "import numpy\ndef main(args): return {'mean': numpy.float32(1.5)}\n",
    "nan": "def main(args): return {'mean': float('nan')}\n",
    "nothing": "def main(args): pass\n",
    "deep": "import json\ndef main(args): return json.loads('{\"in\":' * 200 + '1' + '}' * 200)\n",
    "raises": f"def main(args): raise ValueError('refused: Bearer {TOKEN}')\n",
    "tells": f"def main(args):\n    print('{TOKEN}')\n    return {{'access_token': '{TOKEN}', 'log': 'got {TOKEN}'}}\n",
    "slow": "import time\ndef main(args):\n    time.sleep(1)\n    return {'took': 'longer than a blocking call'}\n",
}
INDISCREET = {"raises", "tells"}
"""Their own activation records hold what they said: OpenWhisk's, and not this kit's to change."""

NUMBERS = """
import os
import numpy
from xdc_testbed.actions.outcome import run
from xdc_testbed.actions.work import seconds_left

def main(arguments):
    return run(lambda _: {
        "mean": numpy.float32(1.5), "rms": float("nan"), "most": numpy.float64("inf"),
        "counts": numpy.arange(3, dtype="uint64"), "deadline": os.environ["__OW_DEADLINE"].isdecimal(),
        "in time": 1 < seconds_left(1000) < 30,
    }, arguments, 5.0)
"""
ENDS: dict[str, tuple[str, int]] = {
    "stuck": (r"action developer error: The action exceeded its time limits of 1000 milliseconds\.", 2),
    "stuck-at-start": (
        r"action developer error: The action exceeded its time limits of 1000 milliseconds during initialization\.",
        2,
    ),
    "large": (r"The action produced .* length: 20000\d\d > 1048576 bytes; a large result belongs into a file .*", 1),
    "segfault": (r"action developer error: command exited", 2),
    "exits": (r"action developer error: command exited", 2),
    "broken": (r"action developer error: Cannot start action\. Check logs for details\.", 2),
    "numpy": (r"action developer error: command exited", 2),
    "nan": (r"action developer error: The action did not return a dictionary or array\.", 2),
    "nothing": (r"action developer error: The action did not produce a valid JSON response: null", 2),
    "deep": (r"the action's answer is nested more than 64 levels deep", 1),
    "raises": (r"application error: refused: Bearer \(hidden\)", 2),
    "no-such-action": (
        r"OpenWhisk, POST _/actions/no-such-action: HTTP 404: The requested resource does not exist\.",
        2,
    ),
    "xdc/calibrate": (r"source has vanished: /data/raw/gone\.h5", 1),
    "xdc/catalogue": (r"denied: GET http://127\.0\.0\.1:\d+/data/proc/.*: HTTP 403: refused: Bearer \(hidden\)", 1),
    "xdc/qos": (r"token issuer http://127\.0\.0\.1:\d+ gave no token: HTTP 401: qos:\(hidden\)", 1),
}
"""By action: why it failed, and how many times it was tried."""

FILES = {
    "xdc/calibrate": "/data/raw/gone.h5",
    "xdc/catalogue": "/data/proc/r1/CORR-1.h5.manifest.json",
    "xdc/qos": "/data/proc/r2/CORR-2.h5.manifest.json",
}


def path_for(action: str) -> str:
    return FILES.get(action, f"/data/bad/{action}.h5")


def rule(action: str) -> str:
    parameters = '{ origin = "desy-storage" }' if action == "xdc/qos" else "{}"
    return f"""
[[rule]]
name = "{action.replace("/", "-")}"
match = {{ types = ["written"], paths = ["{path_for(action)}"] }}
action = [{{ name = "/_/{action}", parameters = {parameters} }}]
"""


def with_the_kit(main: str) -> bytes:
    """An archive of the kit's modules with another entry point."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package.build().code)) as built, zipfile.ZipFile(buffer, "w") as made:
        for name in built.namelist():
            made.writestr(name, main if name == "__main__.py" else built.read(name))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    """The pipeline, with every action there is an event for, and every event acted on."""
    folder = tmp_path_factory.mktemp("bad")
    service = Indiscreet()
    names = [*FOREIGN, "numbers", *(name for name in ENDS if name not in FOREIGN)]
    with functions(folder, "".join(map(rule, names)), "retries = { attempts = 2, first = 0.05 }") as pipeline:
        for name, code in FOREIGN.items():
            limit = 1.0 if "stuck" in name else 60.0
            pipeline.whisk.put_action(name, code, memory=128, time_limit=limit)
        pipeline.whisk.put_action("numbers", with_the_kit(NUMBERS), memory=256, time_limit=30.0)
        deploy(folder, pipeline, service)
        produce_events(pipeline.broker, [storage_event(path_for(name)) for name in names])
        pipeline.results.wait("/data/", len(names), 300)
        yield pipeline
    service.stop()


def result(bad: Functions, action: str) -> Result:
    (found,) = [each for each in bad.results.all if each.action == f"/_/{action}"]
    return found


@pytest.mark.parametrize("action", ENDS)
def test_a_bad_action_ends_as_a_dead_letter_with_its_reason(bad: Functions, action: str) -> None:
    reason, attempts = ENDS[action]
    ended = result(bad, action)
    letter = dead_letters.show(bad.broker.connection("client"), ended.id)
    assert re.fullmatch(reason, letter.reason)
    assert (ended.status, ended.reason, ended.attempts) == ("failed", letter.reason, attempts)
    assert letter.item is not None
    assert letter.item.event.subject == path_for(action)


def test_an_answer_that_comes_later_than_a_blocking_call_waits_is_waited_for(bad: Functions) -> None:
    ended = result(bad, "slow")
    assert (ended.status, ended.attempts, ended.result) == ("ok", 1, {"took": "longer than a blocking call"})


def test_numpy_nan_and_the_deadline_are_handled_by_actions_of_the_kit(bad: Functions) -> None:
    ended = result(bad, "numbers")
    assert ended.result == {
        "mean": 1.5,
        "counts": [0, 1, 2],
        "deadline": True,
        "in time": True,
        "started_at": 5.0,
    } | {key: None for key in ("rms", "most") if key in ended.result}
    assert ended.times.action_started == 5.0


def test_secrets_in_an_answer_are_taken_out(bad: Functions) -> None:
    ended = result(bad, "tells")
    assert (ended.status, ended.result) == ("ok", {"access_token": "(hidden)", "log": "got (hidden)"})


def test_an_action_of_the_kit_logs_why_it_failed_without_the_token(bad: Functions) -> None:
    record = bad.whisk.wait(result(bad, "xdc/catalogue").activation_id or "")
    assert re.search(r"HTTP 403: refused: Bearer \(hidden\) \(retry: False\)", "\n".join(record.logs))


def test_no_secret_is_written_down_anywhere(bad: Functions) -> None:
    told = bad.everything_told()
    for record in bad.records():
        if record.name not in INDISCREET:
            told[f"activation {record.id} of {record.name}"] = f"{record.result} {record.logs} {record.annotations}"
    key = GUEST.partition(":")[2]
    secrets = [key, base64.b64encode(GUEST.encode()).decode(), *bad.broker.passwords.values(), *SECRETS.values()]
    secrets += [TOKEN, *TOKEN.split(".")[1:]]
    assert len(told) > 20
    found = [(secret, where) for where, text in told.items() for secret in secrets if secret in text]
    assert found == []


def test_the_search_for_secrets_finds_what_is_there(bad: Functions) -> None:
    """The records of actions that tell their own secrets have them: what the test above leaves out."""
    leaky = [record for record in bad.records() if record.name in INDISCREET]
    assert {record.name for record in leaky if TOKEN in f"{record.result} {record.logs}"} == INDISCREET
