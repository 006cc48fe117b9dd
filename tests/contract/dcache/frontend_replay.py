"""Make the captured requests of the REST interface to an emulator, and say where its answers differ.

Compared: the number of the status (its words are the server library's), the headers below, and the body: JSON by keys,
types and values, all else as text. What belongs to one instance (channel, subscription, request and file ids, host and
port) is translated: the first answer that shows a captured id teaches its own counterpart, and from then on exactly
that one is expected. Times are compared by type only.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from dcache_captures import FOLDER, Exchange, parse
from dcache_rig import DcacheUnderTest
from dcache_wire import Answer, Wire

_HEADERS = (
    "cache-control",
    "content-type",
    "detail",
    "location",
    "request-url",
    "retry-after",
    "title",
    "www-authenticate",
)
_IDS = tuple(
    re.compile(pattern)
    for pattern in (
        r"channels/([\w-]{22})\b",
        r"subscriptions/inotify/((?:[\w+/-]|%2F)+)",
        r"\b([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b",
        r"\b(0000[0-9A-F]{32})\b",
        r'"cookie":"([^"]+)"',
    )
)
_TIMES = frozenset(
    {
        "arrivedAt", "atime", "completedAt", "createdAt", "creationTime", "ctime", "finishedAt", "lastModified",
        "mtime", "startedAt", "submittedAt",
    }
)  # fmt: skip
_PATIENCE = 8.0


def files(folder: str, suffix: str = "http") -> set[str]:
    """The names of the captures of a folder."""
    return {path.name.removesuffix(f".{suffix}") for path in (FOLDER / folder).glob(f"*.{suffix}")}


@dataclass
class FrontendReplay:
    """frontends: captured `host:port` -> the instance in its place; differences: capture -> what differs."""

    frontends: dict[str, DcacheUnderTest]
    differences: dict[str, list[str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def run(self, folder: str, name: str, *, certificate: bool = False, patient: bool = False) -> None:
        """Make the requests of one capture. patient: ask again for a while until the answer is the captured one."""
        found: list[str] = []
        for exchange in parse((FOLDER / folder / f"{name}.http").read_bytes()):
            found += self._exchange(exchange, certificate=certificate, patient=patient)
        self.differences[name] = found

    def translated(self, text: str) -> str:
        """A captured text in the words of the instances here."""
        for captured, own in self.ids.items():
            text = text.replace(captured, own)
        for captured, instance in self.frontends.items():
            text = text.replace(f"https://{captured}", instance.frontend)
        return text

    def learn(self, captured: str, own: str) -> None:
        """Take note of the ids in an answer."""
        for pattern in _IDS:
            theirs, ours = pattern.findall(captured), pattern.findall(own)
            if len(theirs) == len(ours):
                for one, other in zip(theirs, ours, strict=True):
                    self.ids.setdefault(one, other)

    def _exchange(self, exchange: Exchange, *, certificate: bool, patient: bool) -> list[str]:
        sent = exchange.sent
        instance = self.frontends[sent.header("host") or ""]
        wire = Wire(instance.ca, instance.certificates["tester"] if certificate else None)
        headers = tuple(
            (key, value) for key, value in sent.headers if key.lower() not in ("host", "content-length", "connection")
        )
        deadline = time.monotonic() + (_PATIENCE if patient else 0)
        while True:
            target, body = self.translated(sent.target), self.translated(sent.body.decode()).encode()
            answer = wire.ask(sent.method, instance.frontend + target, headers, body)
            found = self._compare(exchange, answer)
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _compare(self, exchange: Exchange, answer: Answer) -> list[str]:
        got, found = exchange.got, []
        captured = {key.lower(): value for key, value in got.headers}
        self.learn(f"{captured} {got.body.decode()}", f"{answer.lines} {answer.body.decode()}")
        if answer.code != int(got.status.split(" ")[0]):
            found.append(f"status {answer.status} instead of {got.status}")
        for name in _HEADERS:
            wanted = captured.get(name)
            if answer.lines.get(name) != (None if wanted is None else self.translated(wanted)):
                found.append(f"{name}: {answer.lines.get(name)} instead of {wanted}")
        media = captured.get("content-type", "")
        theirs, ours = comparable(self.translated(got.body.decode()), media), comparable(answer.body.decode(), media)
        if theirs != ours:
            found.append(f"body {ours}\n  instead of {theirs}")
        return found


def comparable(text: str, media: str) -> Any:
    """A body without its times; lists whose order means nothing are sorted."""
    if not text.startswith(("{", "[")) or not ("json" in media or "event-stream" in media):
        return text.strip()
    return _neutral(json.loads(text))


def _neutral(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        numbered = {"target", "submittedAt"} <= value.keys() or {"activity", "owner"} <= value.keys()
        return {
            name: "<number>" if numbered and name == "id" and isinstance(inner, int) else _neutral(inner, name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        listed = [_neutral(inner) for inner in value]
        unordered = key == "roles" or (not key and all(isinstance(inner, str | dict) for inner in listed))
        return sorted(listed, key=lambda inner: json.dumps(inner, sort_keys=True)) if unordered else listed
    if key in _TIMES and isinstance(value, int):
        return "<time>"
    return value
