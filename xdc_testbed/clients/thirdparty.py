"""HTTP third-party copy, without the network: request headers, performance markers, and who tells the truth.

Protocol: WLCG HTTP-TPC ("COPY with Source or Destination"). The status line says only that the copy began:
201 on XRootD 5.5, 202 on XRootD 6 and dCache. What became of it is the last line of the body,
`success: ...` or `failure: ...`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Marker:
    """One performance marker, for one stripe. timestamp: epoch seconds; transferred: bytes so far."""

    timestamp: int
    stripe: int = 0
    transferred: int = 0
    stripes: int = 1
    connections: tuple[str, ...] = ()
    state: str = ""


@dataclass(frozen=True)
class TransferResult:
    """How a third-party copy ended.

    status: HTTP status; message: the verdict's text; seconds: from request to verdict.
    """

    ok: bool
    status: int
    message: str
    markers: tuple[Marker, ...]
    seconds: float

    @property
    def transferred(self) -> int:
        """Bytes by the last marker; 0 when the copy ended before the first one."""
        return self.markers[-1].transferred if self.markers else 0


def pull_headers(source_url: str, *, source_token: str | None, overwrite: bool) -> dict[str, str]:
    """Headers of a COPY sent to the destination, which then reads source_url with source_token."""
    return {"Source": source_url, **_common(source_token, overwrite=overwrite)}


def push_headers(destination_url: str, *, destination_token: str | None, overwrite: bool) -> dict[str, str]:
    """Headers of a COPY sent to the source, which then writes destination_url with destination_token."""
    return {"Destination": destination_url, **_common(destination_token, overwrite=overwrite)}


def _common(passive_token: str | None, *, overwrite: bool) -> dict[str, str]:
    """What pull and push share. `Credential: none`: no delegation (XRootD refuses it, dCache assumes it)."""
    headers = {"Credential": "none", "Overwrite": "T" if overwrite else "F"}
    if passive_token is not None:
        headers["TransferHeaderAuthorization"] = f"Bearer {passive_token}"
    return headers


class Transcript:
    """Reads the body of a COPY line by line, as it comes."""

    def __init__(self) -> None:
        self.markers: list[Marker] = []
        self._open: dict[str, str] | None = None
        self._last = ""

    def line(self, text: str) -> Marker | None:
        """Take one line without its end; returns the marker that it completes."""
        stripped = text.strip()
        if not stripped:
            return None
        if stripped == "Perf Marker":
            self._open = {}
        elif stripped == "End" and self._open is not None:
            marker, self._open = _marker(self._open), None
            if marker is not None:
                self.markers.append(marker)
            return marker
        elif self._open is not None and not _is_verdict(stripped):
            name, _, value = stripped.partition(":")
            self._open[name.strip().lower()] = value.strip()
        else:
            self._open = None
            self._last = stripped
        return None

    def result(self, status: int, seconds: float) -> TransferResult:
        """The verdict: the last line outside markers. Without one it failed, whatever the status says."""
        head, _, tail = self._last.partition(":")
        verdict = head.strip().lower()
        if verdict == "success" and 200 <= status < 300:
            return TransferResult(True, status, tail.strip(), tuple(self.markers), seconds)
        if verdict == "failure":
            message = tail.strip() or "failure without a reason"
        elif self._last:
            message = self._last
        else:
            message = "the answer ended without a verdict" if status < 300 else f"HTTP {status}"
        return TransferResult(False, status, message, tuple(self.markers), seconds)


def read(body: Iterable[str], status: int, seconds: float = 0.0) -> TransferResult:
    """The result of a whole body, given by lines."""
    transcript = Transcript()
    for text in body:
        transcript.line(text)
    return transcript.result(status, seconds)


def _is_verdict(text: str) -> bool:
    return text.partition(":")[0].strip().lower() in {"success", "failure"}


def _marker(fields: dict[str, str]) -> Marker | None:
    """A marker from its fields, or None without a timestamp; dCache and XRootD name them alike."""
    timestamp = _number(fields.get("timestamp") or fields.get("stripe last transferred"))
    if timestamp is None:
        return None
    peers = fields.get("remoteconnections", "")
    return Marker(
        timestamp=timestamp,
        stripe=_number(fields.get("stripe index")) or 0,
        transferred=_number(fields.get("stripe bytes transferred")) or 0,
        stripes=_number(fields.get("total stripe count")) or 1,
        connections=tuple(peer.strip() for peer in peers.split(",") if peer.strip()),
        state=fields.get("state", ""),
    )


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(float(text))
    except ValueError:
        return None
