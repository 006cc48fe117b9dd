"""What OpenWhisk's answers mean to the dispatcher."""

from __future__ import annotations

from typing import Any

import pytest

from xdc_testbed.clients.openwhisk import ActivationRecord
from xdc_testbed.events.model import LONGEST_REASON
from xdc_testbed.events.targets import Failed, Succeeded
from xdc_testbed.events.targets.openwhisk import outcome

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
