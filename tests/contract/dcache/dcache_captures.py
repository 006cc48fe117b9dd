"""Captured exchanges as data: what was sent to a real dCache, and what it answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "captures"
_PARTS = re.compile(rb"^(=====> REQUEST|<===== RESPONSE) (\d+)\n", re.MULTILINE)
_CUT = re.compile(rb"\n<<< (\d+) bytes in all >>>\n?$")
_LATER = b"<<< after 100 >>>"


@dataclass(frozen=True)
class Sent:
    """A request. body: all of it; late: sent only after 100; broken: the client closed before it had sent
    everything."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    late: bool
    broken: bool

    def header(self, name: str) -> str | None:
        """A header by its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class Got:
    """An answer. status: the whole of the line behind the version, "" when there was none; body: its beginning."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    continued: bool


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; the second of a capture is what a client does with a redirect."""

    sent: Sent
    got: Got


def load(folder: str) -> dict[str, list[Exchange]]:
    """Capture name -> its exchanges, of one folder, in the order of its index."""
    index = (FOLDER / folder / "INDEX.md").read_text()
    names = dict.fromkeys(re.findall(r"^- `([\w-]+)\.http`", index, re.MULTILINE))
    return {name: parse((FOLDER / folder / f"{name}.http").read_bytes()) for name in names}


def parse(data: bytes) -> list[Exchange]:
    """The exchanges of one file."""
    found = list(_PARTS.finditer(data))
    if not found:
        return []
    ends = [match.start() for match in found[1:]] + [len(data)]
    parts = [data[match.end() : end] for match, end in zip(found, ends, strict=True)]
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return [Exchange(_sent(request), _got(answer)) for request, answer in pairs if b"HTTP/1.1\r\n" in request]


def _sent(data: bytes) -> Sent:
    data = data.removesuffix(b"\n")
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = tuple(_header(line) for line in lines[1:])
    rest = rest.removeprefix(b"\n").removeprefix(_LATER)
    lower = {name.lower(): value for name, value in headers}
    wanted = int(lower.get("content-length", 0))
    cut = _CUT.search(data)
    size = wanted
    if cut is not None:
        rest = rest[: rest.index(b"\n<<<")]
        size = int(cut.group(1)) - len(head) - 4
    body = rest[:1] * size if cut is not None else rest[:wanted]
    broken = cut is not None and len(body) < wanted
    return Sent(method, target, headers, body[:wanted], late="expect" in lower, broken=broken)


def _got(data: bytes) -> Got:
    data = data.removesuffix(b"\n")
    continued = data.startswith(b"HTTP/1.1 100 ")
    if continued:
        data = data.partition(b"\r\n\r\n")[2]
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = lines[0].partition(" ")[2]
    return Got(status, tuple(_header(line) for line in lines[1:] if line), body, continued)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
