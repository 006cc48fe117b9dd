"""Answers in the product's form: its two ways to write JSON, and its errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

JSON = "application/json"
_TITLES = {413: "Request Entity Too Large"}


class Problem(Exception):
    """A request that ends with an error. detail: the text for the client, the title of the status when empty."""

    def __init__(self, status: int, detail: str = "", *, media: str = JSON) -> None:
        super().__init__(detail or title(status))
        self.status = status
        self.media = media


def title(status: int) -> str:
    """The words of a status."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def internal(exception: str, message: str) -> Problem:
    """What the product answers when one of its own checks fails: the Java exception's name, and its text."""
    return Problem(500, f"Internal error: {exception}: {message}")


def problem(error: Problem) -> Response:
    """The answer that a problem stands for."""
    document = {"detail": str(error), "title": title(error.status), "status": str(error.status)}
    return Response(compact_text(document), error.status, {"Content-Type": error.media})


def compact_text(value: Any) -> str:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def compact(value: Any, status: int = 200) -> Response:
    """JSON without white space, as lists and answers to actions are written."""
    return Response(compact_text(value), status, media_type=JSON)


def pretty(value: Any, status: int = 200) -> Response:
    """JSON with an indent of two and lists in one line, as the product writes its objects."""
    return Response(_pretty(value, ""), status, media_type=JSON)


def done(status: int = 201) -> Response:
    """An action that succeeded."""
    return compact({"status": "success"}, status)


def empty(status: int, **headers: str) -> Response:
    """An answer without a body. headers: by name, underscores for hyphens."""
    return Response(b"", status, {name.replace("_", "-"): value for name, value in headers.items()})


def _pretty(value: Any, indent: str) -> str:
    if isinstance(value, Mapping):
        inner = indent + "  "
        parts = [f"{inner}{json.dumps(key)} : {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}" if parts else "{ }"
    if isinstance(value, list | tuple):
        return "[ " + ", ".join(_pretty(item, indent) for item in value) + " ]" if value else "[ ]"
    return json.dumps(value, ensure_ascii=False)
