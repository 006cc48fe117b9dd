"""JSON bodies of requests, with the error texts of the product's two parsers: Jackson and org.json."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from .answers import Problem


async def jackson(request: Request) -> Any:
    """The JSON body, None when there is none. Raises Problem 415 for another media type, 400 for broken JSON."""
    body = await request.body()
    if not body:
        return None
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(415)
    text = _text(body)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            raise Problem(400, f"Supplied JSON is invalid: {_END}") from None
        character = text[error.pos]
        raise Problem(
            400, f"Supplied JSON is invalid: Unexpected character ('{character}' (code {ord(character)}))"
        ) from None


async def org_json(request: Request) -> dict[str, Any]:
    """The JSON object of the body. Raises Problem 400 in the words of org.json."""
    body = await request.body()
    text = _text(body)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        position = min(error.pos, len(text.rstrip()))
        raise Problem(400, f"Missing value at {position} [character {position + 1} line 1]") from None
    if not isinstance(document, dict):
        raise Problem(400, "A JSONObject text must begin with '{' at 1 [character 2 line 1]")
    return document


def wanted(document: dict[str, Any], key: str) -> Any:
    """A value that must be there. Raises Problem 400."""
    if document.get(key) is None:
        raise Problem(400, f'JSONObject["{key}"] not found.')
    return document[key]


def string(document: dict[str, Any], key: str) -> str:
    """A text that must be there. Raises Problem 400."""
    value = wanted(document, key)
    if not isinstance(value, str):
        raise Problem(400, f'JSONObject["{key}"] is not a string.')
    return value


def integer(document: dict[str, Any], key: str) -> int:
    """A number that must be there. Raises Problem 400."""
    value = wanted(document, key)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Problem(400, f'JSONObject["{key}"] is not a int.') from None


_END = "Unexpected end-of-input within/between Object entries"


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "Supplied JSON is invalid: Invalid UTF-8") from None
