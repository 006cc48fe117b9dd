"""What OpenWhisk's answers mean to the dispatcher."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest
from served import served

from xdc_testbed.clients.openwhisk import ActivationRecord
from xdc_testbed.events.model import LONGEST_REASON
from xdc_testbed.events.targets import Failed, Outcome, Succeeded, Throttled, Unavailable
from xdc_testbed.events.targets.openwhisk import OpenWhiskSection, OpenWhiskTarget, outcome

TOO_LARGE = "The action produced a response that exceeded the allowed length"


def record(status: str, result: Any) -> ActivationRecord:
    return ActivationRecord(id="0" * 32, name="noop", status=status, result=result, start=1500)


def test_success_carries_result_id_and_start() -> None:
    assert outcome(record("success", {"status": "done"})) == Succeeded({"status": "done"}, "0" * 32, 1.5)


@pytest.mark.parametrize(
    ("status", "result", "reason", "retry"),
    [
        ("application error", {"error": {"reason": "no constants", "retry": False}}, "no constants", False),
        ("application error", {"error": {"reason": "busy", "retry": True}}, "busy", True),
        ("application error", {"error": {"reason": "unsaid"}}, "unsaid", True),
        ("application error", {"error": "text"}, "application error: text", True),
        (
            "action developer error",
            {"error": "command exited"},
            "action developer error: command exited",
            True,
        ),
        (
            "application error",
            {"error": f"{TOO_LARGE}: 2000013 > 1048576 bytes. The truncated response was: {'x' * 1_048_576}"},
            f"{TOO_LARGE}: 2000013 > 1048576 bytes; a large result belongs into a file on a storage",
            False,
        ),
        ("whisk internal error", {"error": "sorry"}, "whisk internal error: sorry", True),
    ],
)
def test_failures_say_why_and_whether_to_retry(status: str, result: Any, reason: str, retry: bool) -> None:
    found = outcome(record(status, result))
    assert isinstance(found, Failed)
    assert (found.reason, found.retry) == (reason, retry)


def test_a_reason_is_without_credentials_and_bounded() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJl"
    found = outcome(record("application error", {"error": {"reason": "x" * 1980 + f" {token}" + "y" * 10**6}}))
    assert isinstance(found, Failed)
    assert len(found.reason) <= LONGEST_REASON
    assert "eyJ" not in found.reason


@pytest.mark.parametrize("status", ["success", "application error"])
def test_half_a_character_in_an_answer_can_be_written_down(status: str) -> None:
    found = outcome(record(status, {"error": {"reason": "a\ud800b"}, "\udfff": ["\ud83d\ude00", 1.5, None]}))
    assert isinstance(found, Succeeded | Failed)
    assert found.result == {"error": {"reason": "a?b"}, "?": ["??", 1.5, None]}
    if isinstance(found, Failed):
        assert found.reason == "a?b"


def test_an_answer_nested_too_deeply_is_a_final_failure() -> None:
    nested: Any = {}
    for _ in range(500):
        nested = {"in": [nested]}
    found = outcome(record("success", nested))
    assert found == Failed(
        "the action's answer is nested more than 64 levels deep", retry=False, activation_id="0" * 32, started=1.5
    )


def test_an_answer_that_is_no_object_is_kept() -> None:
    assert outcome(record("success", [1, 2])) == Succeeded({"value": [1, 2]}, "0" * 32, 1.5)


def answered(answer: httpx2.Response | None, tmp_path: Path) -> Outcome:
    """What the dispatcher is told when OpenWhisk answers so, or hangs up."""

    def respond(_: httpx2.Request) -> httpx2.Response:
        if answer is None:
            raise ConnectionResetError
        return answer

    async def ask() -> Outcome:
        async with served(respond) as url:
            return await invoked(url, tmp_path)

    return asyncio.run(ask())


async def invoked(url: str, folder: Path) -> Outcome:
    (folder / "auth").write_text("uuid:key")
    one = OpenWhiskTarget(OpenWhiskSection(api_host=url, auth_file=folder / "auth"))
    try:
        return await one.invoke("/_/xdc/noop", {"work_id": "w"})
    finally:
        await one.close()


@pytest.mark.parametrize(
    ("status", "kind", "retry"),
    [
        (413, Failed, False),
        (404, Failed, True),
        (400, Failed, True),
        (500, Failed, True),
        (429, Throttled, None),
        (503, Unavailable, None),
        (401, Unavailable, None),
        (403, Unavailable, None),
    ],
)
def test_a_refusal_is_waited_out_tried_again_or_final(
    status: int, kind: type[Outcome], retry: bool | None, tmp_path: Path
) -> None:
    found = answered(httpx2.Response(status, json={"error": "no", "code": "x"}), tmp_path)
    assert isinstance(found, kind)
    assert getattr(found, "retry", None) is retry
    assert f"HTTP {status}: no" in found.reason


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, html="<html>a gateway's page</html>"),
        httpx2.Response(200, json={"activationId": "0" * 32, "response": {}}),
        httpx2.Response(200, content=b"[" * 100_000),
        httpx2.Response(200, content=b'{"response":' + b"9" * 5000 + b"}"),
        httpx2.Response(204),
    ],
)
def test_an_answer_that_openwhisk_would_not_give_is_a_failure_that_may_pass(
    answer: httpx2.Response, tmp_path: Path
) -> None:
    found = answered(answer, tmp_path)
    assert isinstance(found, Failed)
    assert found.retry
    assert "record" in found.reason


def test_an_openwhisk_that_hangs_up_is_waited_for(tmp_path: Path) -> None:
    assert isinstance(answered(None, tmp_path), Unavailable)


def test_an_openwhisk_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert isinstance(asyncio.run(invoked(f"http://127.0.0.1:{port}", tmp_path)), Unavailable)
