"""What the kit relies on in OpenWhisk, through its own client: the emulator, and with `--openwhisk` a real one."""

from __future__ import annotations

import asyncio
import io
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xdc_testbed.clients.openwhisk import (
    Conflict,
    Denied,
    NotFound,
    OpenWhisk,
    PayloadTooLarge,
)
from xdc_testbed.clients.openwhisk_async import AsyncOpenWhisk

_ECHO = "def main(args):\n    print('seen')\n    return {'args': args}\n"
_FAILING = "def main(args):\n    return {'error': {'reason': 'input ends in train 128', 'retry': False}}\n"
_RAISING = "def main(args):\n    raise ValueError('no constants')\n"
_ARRAY = "def main(args):\n    return [1, {'a': 2}]\n"

Ask = Callable[[Callable[[AsyncOpenWhisk], Any]], Any]


@pytest.fixture
def name() -> str:
    return f"contract-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def action(whisk: OpenWhisk, name: str) -> Iterator[Callable[..., str]]:
    """Create an action; deleted afterwards."""

    def create(code: str | bytes, **more: Any) -> str:
        whisk.put_action(name, code, memory=128, **more)
        return name

    yield create
    whisk.delete("actions", name, missing_ok=True)


def test_action_returns_its_result(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    record = whisk.invoke(action(_ECHO), {"run": 7})
    assert record.success
    assert record.result == {"args": {"run": 7}}


def test_first_start_is_cold_and_says_so(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    assert whisk.invoke(action(_ECHO)).init_time is not None


def test_changed_action_starts_cold_again(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    whisk.invoke(action(_ECHO))
    record = whisk.invoke(action(_ECHO.replace("args}", "args, 'new': True}")))
    assert (record.version, record.init_time is None) == ("0.0.2", False)
    assert record.result["new"]


def test_asynchronous_client_sees_the_same(ask: Ask, action: Callable[..., str]) -> None:
    created = action(_ECHO)

    async def three(client: AsyncOpenWhisk) -> list[Any]:
        records = await asyncio.gather(*(client.invoke(created, {"i": number}) for number in range(3)))
        return [record.result["args"]["i"] for record in records]

    assert ask(three) == [0, 1, 2]


def test_failure_of_an_action_is_a_record_with_its_reason(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    record = whisk.invoke(action(_FAILING))
    assert record.status == "application error"
    assert record.error == {"reason": "input ends in train 128", "retry": False}


def test_exception_of_an_action_is_an_application_error(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    record = whisk.invoke(action(_RAISING))
    assert (record.status, record.error) == ("application error", "no constants")


def test_array_is_a_result_too(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    assert whisk.invoke(action(_ARRAY)).result == [1, {"a": 2}]


def test_time_limit_ends_an_action(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    record = whisk.invoke(action("import time\ndef main(args): time.sleep(20)\n", time_limit=3.0))
    assert record.timed_out
    assert record.error == "The action exceeded its time limits of 3000 milliseconds."


def test_started_action_has_a_record_with_logs(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    record = whisk.wait(whisk.start(action(_ECHO), {"run": 7}))
    assert record.result == {"args": {"run": 7}}
    assert record.logs[0].endswith("seen")


def test_request_id_of_the_caller_reaches_the_action(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    code = "import os\ndef main(args): return {'id': os.environ['__OW_TRANSACTION_ID']}\n"
    assert whisk.invoke(action(code), request_id="work-42").result == {"id": "work-42"}


def test_parameters_of_package_action_and_call_win_in_this_order(whisk: OpenWhisk, name: str) -> None:
    whisk.put_package(name, {"a": "package", "b": "package", "c": "package"})
    try:
        whisk.put_action(f"{name}/echo", _ECHO, parameters={"b": "action", "c": "action"}, memory=128)
        record = whisk.invoke(f"{name}/echo", {"c": "call"})
        assert record.result["args"] == {"a": "package", "b": "action", "c": "call"}
    finally:
        whisk.delete("packages", name, force=True)


def test_action_is_named_by_its_full_path(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    assert whisk.invoke(f"/_/{action(_ECHO)}").success


def test_package_with_actions_is_not_deleted_without_force(whisk: OpenWhisk, name: str) -> None:
    whisk.put_package(name)
    whisk.put_action(f"{name}/echo", _ECHO)
    with pytest.raises(Conflict, match="not empty"):
        whisk.delete("packages", name)
    whisk.delete("packages", name, force=True)
    with pytest.raises(NotFound):
        whisk.get_action(f"{name}/echo")


def test_archive_is_an_action(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", "from steps import double\ndef run(args): return {'n': double(args['n'])}\n")
        archive.writestr("steps.py", "def double(n): return 2 * n\n")
    assert whisk.invoke(action(buffer.getvalue(), main="run"), {"n": 21}).result == {"n": 42}


def test_sequence_hands_results_on(whisk: OpenWhisk, action: Callable[..., str], name: str) -> None:
    created = action("def main(args): return {'n': args['n'] + 1}\n")
    whisk.put_sequence(f"{name}-twice", [f"/_/{created}", f"/_/{created}"])
    try:
        assert whisk.invoke(f"{name}-twice", {"n": 1}).result == {"n": 3}
    finally:
        whisk.delete("actions", f"{name}-twice")


def test_fire_starts_the_actions_of_active_rules(whisk: OpenWhisk, action: Callable[..., str], name: str) -> None:
    created, trigger, rule = action(_ECHO), f"{name}-trigger", f"{name}-rule"
    whisk.put_trigger(trigger, {"site": "desy"})
    whisk.put_rule(rule, trigger, created)
    try:
        fired = whisk.fire(trigger, {"run": 7})
        assert fired is not None
        started = whisk.wait(fired)
        assert '"success":true' in started.logs[0]
        arguments = whisk.wait(_activation_of(started.logs[0])).result["args"]
        assert (arguments["site"], arguments["run"]) == ("desy", 7)
        whisk.set_rule(rule, active=False)
        assert whisk.fire(trigger, {}) is None
    finally:
        whisk.delete("rules", rule)
        whisk.delete("triggers", trigger)


def test_records_are_found_by_name_and_inclusive_times(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    created = action(_ECHO)
    records = [whisk.wait(whisk.invoke(created, {"i": number}).id) for number in range(3)]
    first, last = records[0].start, records[-1].start
    found = whisk.activations(created, since=first, upto=last)
    assert [record.result["args"]["i"] for record in found] == [2, 1, 0]
    assert whisk.activations(created, since=last + 1) == []


def test_unknown_action_is_not_found(whisk: OpenWhisk, name: str) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        whisk.invoke(name)


def test_delete_of_nothing_can_be_accepted(whisk: OpenWhisk, name: str) -> None:
    whisk.delete("actions", name, missing_ok=True)
    with pytest.raises(NotFound):
        whisk.delete("actions", name)


def test_wrong_key_is_denied(platform: Any) -> None:
    uuid_ = platform.auth.partition(":")[0]
    with OpenWhisk(platform.url, f"{uuid_}:{'x' * 64}", platform.ca_file) as client, pytest.raises(Denied):
        client.limits()


def test_arguments_over_one_mebibyte_are_refused(whisk: OpenWhisk, action: Callable[..., str]) -> None:
    with pytest.raises(PayloadTooLarge, match="Request larger than allowed"):
        whisk.invoke(action(_ECHO), {"x": "y" * 1_048_576})


def test_limits_of_the_namespace_are_shown(whisk: OpenWhisk) -> None:
    assert {"invocationsPerMinute", "concurrentInvocations", "maxActionMemory"} <= whisk.limits().keys()


def _activation_of(log: str) -> str:
    return log.partition('"activationId":"')[2][:32]
