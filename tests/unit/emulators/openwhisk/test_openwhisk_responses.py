"""What an answer of the action proxy makes of an activation."""

from __future__ import annotations

from typing import Any

import pytest

from xdc_testbed.emulators.openwhisk.containers import ProxyAnswer
from xdc_testbed.emulators.openwhisk.responses import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    SUCCESS,
    interpret,
)


@pytest.mark.parametrize(
    ("status", "body", "code", "result"),
    [
        (200, b'{"a": 1}\n', SUCCESS, {"a": 1}),
        (200, b"[1]\n", SUCCESS, [1]),
        (200, b'{"statusCode": 404}\n', SUCCESS, {"statusCode": 404}),
        (200, b'{"error": "no", "extra": 1}\n', APPLICATION_ERROR, {"error": "no"}),
        (200, b'{"error": null}\n', APPLICATION_ERROR, {"error": None}),
        (502, b'{"error": "no"}\n', DEVELOPER_ERROR, {"error": "no"}),
        (502, b"x", DEVELOPER_ERROR, {"error": "The action did not produce a valid JSON response: x"}),
        (502, b"", DEVELOPER_ERROR, {"error": "The action did not produce a valid JSON response."}),
        (200, b"null\n", DEVELOPER_ERROR, {"error": "The action did not produce a valid JSON response: null\n"}),
    ],
)
def test_answer_is_success_or_a_kind_of_error(status: int, body: bytes, code: int, result: Any) -> None:
    response = interpret(ProxyAnswer(status, body, len(body)), 1000)
    assert (response.code, response.result, response.size) == (code, result, len(body))


def test_answer_over_the_limit_is_an_application_error_with_its_start() -> None:
    response = interpret(ProxyAnswer(200, b'{"x": "yy', 5000), 9)
    assert response.code == APPLICATION_ERROR
    assert response.result == {
        "error": "The action produced a response that exceeded the allowed length: 5000 > 9 bytes. "
        'The truncated response was: {"x": "yy'
    }
    assert response.size == 5000


def test_record_shows_no_size_without_an_answer() -> None:
    response = interpret(ProxyAnswer(200, b"{}", 2), 9)._replace(size=None)
    assert response.document() == {"result": {}, "status": "success", "success": True}
