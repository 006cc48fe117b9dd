"""Make the captured requests to a service, and say where its answers differ from the captured ones."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from openwhisk_captures import Message, comparable, ids
from openwhisk_emulator import Emulator
from openwhisk_requests import Prepare, send
from openwhisk_scenarios import Do, Meanwhile, Now, Scenario

_PATIENCE = 3.0  # until a record is stored
_PRESENCE = ("x-request-id", "x-openwhisk-activation-id", "access-control-allow-origin")
_HEADERS = ("content-type", "www-authenticate", "allow", "location")


@dataclass
class Replay:
    """One scenario against one emulator; `differences` of each capture, empty where it is equal."""

    emulator: Emulator
    messages: dict[str, Message]
    expected_to_differ: frozenset[str] = frozenset()
    differences: dict[str, list[str]] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _moments: dict[str, str] = field(default_factory=dict)

    def run(self, scenario: Scenario) -> None:
        """Take all steps."""
        for step in scenario.steps:
            match step:
                case str(name):
                    self._replay(self.messages[name])
                case Prepare():
                    self._prepare(step)
                case Now(captured):
                    time.sleep(0.005)  # a moment in ms, and nothing else in the same one
                    self._moments[captured] = str(time.time_ns() // 1_000_000)
                    time.sleep(0.005)
                case Do(act):
                    act(self.emulator)
                case Meanwhile(name, act):
                    other = threading.Thread(target=act, args=(self.emulator,))
                    other.start()
                    self._replay(self.messages[name])
                    other.join()

    def _prepare(self, step: Prepare) -> None:
        status, headers, answer = send(self.emulator, step, self._translated(step.path))
        assert status < 300 or "blocking" in step.path, (step, answer)
        if step.binds is not None and "x-openwhisk-activation-id" in headers:
            self._ids[step.binds] = headers["x-openwhisk-activation-id"]

    def _replay(self, message: Message) -> None:
        deadline = time.monotonic() + (0 if message.name in self.expected_to_differ else _PATIENCE)
        while True:
            answer = self.emulator.request(
                message.method, self._translated(message.path), message.headers, message.body
            )
            found = compare(message, *answer)
            waits = message.method == "GET" and message.status == 200 and "/activations" in message.path
            if not found or not waits or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.differences[message.name] = found
        captured, own = ids(message.answer), ids(answer[2])
        if message.activation is not None:
            captured, own = [message.activation, *captured], [answer[1].get("x-openwhisk-activation-id", ""), *own]
        if len(captured) == len(own):
            self._ids.update(zip(captured, own, strict=True))

    def _translated(self, path: str) -> str:
        for captured in ids(path.encode()):
            path = path.replace(captured, self._ids.get(captured, captured))
        for captured, own in self._moments.items():
            path = path.replace(captured, own)
        return path


def compare(message: Message, status: int, headers: dict[str, str], body: bytes) -> list[str]:
    """Where an answer differs from the captured one."""
    found = []
    if status != message.status:
        found.append(f"status {status} instead of {message.status}")
    found += [
        f"{name}: {headers.get(name)} instead of {message.answer_headers.get(name)}"
        for name in _HEADERS
        if headers.get(name) != message.answer_headers.get(name)
    ]
    found += [
        f"{name} is {'there' if name in headers else 'missing'}"
        for name in _PRESENCE
        if (name in headers) != (name in message.present)
    ]
    if "X-Request-ID" in message.headers and headers.get("x-request-id") != message.headers["X-Request-ID"]:
        found.append("x-request-id is not the caller's")
    own = comparable(body, headers.get("content-type", ""))
    captured = comparable(message.answer, message.answer_headers.get("content-type", ""))
    if own != captured:
        found.append(f"body {_short(own, captured)}\n instead of {_short(captured, own)}")
    return found


def _short(value: Any, other: Any) -> str:
    """The part of a body that differs, short enough to be read."""
    if isinstance(value, dict) and isinstance(other, dict) and value.keys() == other.keys():
        parts = {key: inner for key, inner in value.items() if inner != other[key]}
        return "{" + ", ".join(f"{key}: {_short(inner, other[key])}" for key, inner in parts.items()) + "}"
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        pairs = zip(value, other, strict=True)
        return "[" + ", ".join(_short(one, two) for one, two in pairs if one != two) + "]"
    text = repr(value)
    return text if len(text) < 600 else f"{text[:400]}...{text[-150:]}"
