"""Plays captured exchanges with a running dCache back to its client. Each capture holds request and answer, raw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from xdc_testbed.clients.dcache import Credential, Dcache

CAPTURES = Path(__file__).parent / "captures"
_FRAMING = {"content-length", "connection", "transfer-encoding"}


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. target: path with query; sent: JSON body of the request, None without."""

    method: str
    target: str
    sent: Any
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def load(cls, name: str) -> Exchange:
        """Read captures/<name>.http."""
        text = (CAPTURES / f"{name}.http").read_bytes().replace(b"\r\n", b"\n")
        request, _, answer = text.partition(b"<===== RESPONSE")
        lines, _, sent = request.partition(b"\n")[2].partition(b"\n\n")
        method, target, _ = lines.decode().split("\n")[0].split(" ")
        head, _, body = answer.partition(b"\n")[2].partition(b"\n\n")
        status, *headers = head.decode().split("\n")
        told = dict(line.split(": ", 1) for line in headers if ": " in line)
        return cls(
            method,
            target,
            json.loads(sent) if sent.strip() else None,
            int(status.split()[1]),
            {name: value for name, value in told.items() if name.lower() not in _FRAMING},
            body.strip(b"\n"),
        )


class Replay:
    """A transport that gives one captured answer after the other and keeps the requests."""

    def __init__(self, *names: str) -> None:
        self.exchanges = [Exchange.load(name) for name in names]
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        exchange = self.exchanges[len(self.requests)]
        self.requests.append(request)
        return httpx2.Response(exchange.status, headers=exchange.headers, content=exchange.body)

    def client(self) -> Dcache:
        """A client that talks to this."""
        return Dcache(
            "https://localhost:3880",
            credential=Credential(basic=("tester", "secret")),
            transport=httpx2.MockTransport(self),
        )

    def asked_as_captured(self) -> bool:
        """Whether every request has the method, path and body of its capture."""
        return [_asked(each) for each in self.requests] == [
            (each.method, each.target.partition("?")[0], each.sent) for each in self.exchanges
        ]


def _asked(request: httpx2.Request) -> tuple[str, str, Any]:
    path = request.url.raw_path.decode().partition("?")[0]
    return request.method, path, json.loads(request.content) if request.content else None
