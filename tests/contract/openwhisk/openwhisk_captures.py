"""The captured messages of the real product, and what of them must be equal in every answer.

`captures.jsonl` holds one request and its answer a line. Not taken over: Host, Content-Length, Server and
Date. Long runs of one character are written as [character, count]; the code of the action `behave` is
"@behave" (file `behave.source`); credentials are @guest, @other and their parts.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openwhisk_emulator import GUEST, OTHER

_FOLDER = Path(__file__).with_name("captures")
BEHAVE = (_FOLDER / "behave.source").read_text()
_BASIC = base64.b64encode(GUEST.encode()).decode()
_ID = re.compile(r"\b[0-9a-f]{32}\b")
_TIMES = {"start", "end", "duration", "updated", "waitTime", "initTime", "deadline", "__OW_DEADLINE"}


@dataclass(frozen=True)
class Message:
    """A captured request with its answer. activation: the id in its header, if any."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer_headers: dict[str, str]
    present: tuple[str, ...]
    activation: str | None
    answer: bytes


def load() -> dict[str, Message]:
    """All captures by name, in the order in which they were made."""
    lines = (_FOLDER / "captures.jsonl").read_text().splitlines()
    return {message.name: message for message in map(_message, lines)}


def _message(line: str) -> Message:
    raw = json.loads(line)
    request, response = raw["request"], raw["response"]
    return Message(
        name=raw["name"],
        method=request["method"],
        path=request["path"],
        headers={name: _credentials(value) for name, value in request["headers"].items()},
        body=_text(request["body"]),
        status=response["status"],
        answer_headers=response["headers"],
        present=tuple(response["present"]),
        activation=response["activation"],
        answer=_text(response["body"]),
    )


def _text(body: str | list[Any]) -> bytes:
    if isinstance(body, list):
        start, (character, count), end = body
        body = start + character * count + end
    body = body.replace('"@behave"', json.dumps(BEHAVE)).replace("@guest-basic", _BASIC).replace("@guest", GUEST)
    return body.encode()


def _credentials(value: str) -> str:
    """`Basic (@guest)` with the test's own keys."""
    scheme, _, inner = value.partition(" ")
    if not inner.startswith("("):
        return value
    uuid, _, key = GUEST.partition(":")
    plain = inner.strip("()")
    for placeholder, real in (("@guest-uuid", uuid), ("@guest-key", key), ("@guest", GUEST), ("@other", OTHER)):
        plain = plain.replace(placeholder, real)
    return f"{scheme} {base64.b64encode(plain.encode()).decode()}"


def comparable(body: bytes, media: str) -> Any:
    """A body without what differs from run to run: times, ids, transaction ids, the port."""
    text = re.sub(r"127\.0\.0\.1:\d{4}\b", "127.0.0.1:<port>", body.decode())
    if not media.startswith("application/json") or not text:
        return text
    return _neutral(json.loads(text))


def ids(body: bytes) -> list[str]:
    """Activation ids in a body, in order."""
    return _ID.findall(body.decode())


def _neutral(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if set(value) == {"code", "error"} and isinstance(value["code"], str):
            return {"code": "<transaction>", "error": value["error"]}
        if value.get("key") in _TIMES:
            return {"key": value["key"], "value": "<time>"}
        return {name: _neutral(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        # A start in a second container, because the first was busy with its logs, is a matter of luck.
        return [_neutral(inner) for inner in value if not (isinstance(inner, dict) and inner.get("key") == "initTime")]
    if key in _TIMES:
        return "<time>"
    if key in {"transaction_id", "__OW_TRANSACTION_ID"} and re.fullmatch(r"[A-Za-z0-9]{32}", str(value)):
        return "<transaction>"
    if isinstance(value, str):
        value = _ID.sub("<id>", value)
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", value)
    return value
