"""Requests of the guest user that are made, and not compared."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from openwhisk_emulator import GUEST, Emulator, until

_HEADERS = {
    "Authorization": f"Basic {base64.b64encode(GUEST.encode()).decode()}",
    "Content-Type": "application/json",
}
_FAILURES = 500


@dataclass(frozen=True)
class Prepare:
    """A request that was made but not captured. binds: the id that captures know its activation by."""

    method: str
    path: str
    body: Any = None
    binds: str | None = None


def send(emulator: Emulator, prepare: Prepare, path: str | None = None) -> tuple[int, dict[str, str], Any]:
    """Make the request, a GET until it is found; its answer."""
    answers: list[tuple[int, dict[str, str], bytes]] = []

    def attempt() -> bool:
        body = b"" if prepare.body is None else json.dumps(prepare.body).encode()
        where = f"/api/v1/namespaces/_/{path or prepare.path}"
        answers.append(emulator.request(prepare.method, where, _HEADERS, body))
        return prepare.method != "GET" or answers[-1][0] != 404

    until(attempt, f"an answer to {prepare.method} {prepare.path}")
    status, headers, text = answers[-1]
    json_answer = headers.get("content-type", "").startswith("application/json")
    return status, headers, json.loads(text) if text and json_answer else text.decode()


def put(emulator: Emulator, path: str, body: Any) -> Any:
    """PUT an entity of the guest; the entity."""
    status, _, answer = send(emulator, Prepare("PUT", path, body))
    assert status < 300, answer
    return answer
