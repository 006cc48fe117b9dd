"""What answers of the action proxy mean: success or a kind of error. Source: OpenWhisk, ActivationResponse."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import jsontext, messages
from .containers import ProxyAnswer
from .records import STATUS_WORDS

SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR, WHISK_ERROR = range(4)
OK = 200


class Response(NamedTuple):
    """How an activation ended. size: bytes of the proxy's answer, None without one."""

    code: int
    result: Any
    size: int | None = None

    def document(self) -> dict[str, Any]:
        """As records show it."""
        shown = {"result": self.result, "status": STATUS_WORDS[self.code], "success": self.code == SUCCESS}
        return shown if self.size is None else shown | {"size": self.size}


def interpret(answer: ProxyAnswer, most: int) -> Response:
    """What an answer of the proxy to /run means."""
    text = answer.body
    if answer.length > most:
        start = text.decode("utf-8", "replace")
        error: Any = messages.truncated(answer.length, most, start)
        return Response(APPLICATION_ERROR, {"error": error}, answer.length)
    try:
        result = jsontext.loads(text)
    except jsontext.MalformedError:
        result = None
    if answer.status == OK:
        if isinstance(result, dict):
            if "error" in result:
                return Response(APPLICATION_ERROR, {"error": result["error"]}, answer.length)
            return Response(SUCCESS, result, answer.length)
        if isinstance(result, list):
            return Response(SUCCESS, result, answer.length)
    elif isinstance(result, dict) and "error" in result:
        return Response(DEVELOPER_ERROR, {"error": result["error"]}, answer.length)
    error = messages.invalid_run(text.decode("utf-8", "replace"))
    return Response(DEVELOPER_ERROR, {"error": error}, answer.length)


def init_failure(answer: ProxyAnswer) -> Response:
    """What an answer of the proxy to /init means that is not 200."""
    result = _object(answer.body)
    text = answer.body.decode("utf-8", "replace")
    error = result["error"] if result and "error" in result else messages.invalid_init(text)
    return Response(DEVELOPER_ERROR, {"error": error}, answer.length)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = jsontext.loads(text)
    except jsontext.MalformedError:
        return None
    return value if isinstance(value, dict) else None
