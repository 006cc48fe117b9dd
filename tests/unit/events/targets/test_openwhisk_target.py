"""What OpenWhisk's answers mean to the dispatcher."""

from __future__ import annotations

from typing import Any

import pytest

from xdc_testbed.clients.openwhisk import ActivationRecord
from xdc_testbed.events.targets import Failed, Succeeded
from xdc_testbed.events.targets.openwhisk import outcome


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
        ("whisk internal error", {"error": "sorry"}, "whisk internal error: sorry", True),
    ],
)
def test_failures_say_why_and_whether_to_retry(status: str, result: Any, reason: str, retry: bool) -> None:
    found = outcome(record(status, result))
    assert isinstance(found, Failed)
    assert (found.reason, found.retry) == (reason, retry)


def test_an_answer_that_is_no_object_is_kept() -> None:
    assert outcome(record("success", [1, 2])) == Succeeded({"value": [1, 2]}, "0" * 32, 1.5)
