"""What OpenWhisk answers, and what it means: errors and activation records. Shared by both clients.

OpenWhiskError             an answer that is not what was asked for (status, text)
├── Throttled              429: too many requests this minute, or activations at once; nothing was started
├── PayloadTooLarge        413
├── NotFound               404
├── Conflict               409
├── Denied                 401 and 403
└── Unavailable            refused connection, 503, or no answer; `unknown`: the work may have been done
"""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from xdc_testbed.clients.tls import tls_context
from xdc_testbed.errors import XdcError

LATE_SECONDS = 15.0
"""How much later than the action's limit an answer may come."""
DEFAULT_WAIT = 60.0 + LATE_SECONDS
KEEPALIVE_SECONDS = 30.0
CONNECT_SECONDS = 10.0

_OK, _ACCEPTED, _NO_CONTENT, _FAILED = 200, 202, 204, 502
_INTERNAL, _UNAVAILABLE = 500, 503


class OpenWhiskError(XdcError):
    """OpenWhisk answered, and not with what was asked for. status: HTTP, 0 without answer; text: its
    `error`."""

    def __init__(self, message: str, *, status: int = 0, text: str = "", remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.text = status, text


class Throttled(OpenWhiskError):
    """A limit of the namespace is reached; nothing was started. Try again later: there is no Retry-After."""


class PayloadTooLarge(OpenWhiskError):
    """The arguments or the code are over the limit."""


class NotFound(OpenWhiskError):
    """The entity or the record is not there (a record: not yet, perhaps)."""


class Conflict(OpenWhiskError):
    """The name is taken, or a package is not empty."""


class Denied(OpenWhiskError):
    """No key, a wrong one, or one of another namespace."""


class Unavailable(OpenWhiskError):
    """No answer. unknown: the request may have reached OpenWhisk, so that the work may have been done, or may
    yet be."""

    def __init__(self, message: str, *, unknown: bool, status: int = 0, text: str = "") -> None:
        super().__init__(message, status=status, text=text)
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class ActivationRecord:
    """One ended activation. start, end: epoch ms; duration, wait_time, init_time: ms; init_time None on a
    warm start.

    status: `success`, `application error`, `action developer error` or `whisk internal error`; result:
    what the action returned, or an object with `error`. The record in a blocking answer has no logs yet.
    """

    id: str
    name: str
    status: str
    result: Any
    start: int = 0
    end: int | None = None
    duration: int | None = None
    logs: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    cause: str | None = None

    @property
    def success(self) -> bool:
        """True when the action returned without error."""
        return self.status == "success"

    @property
    def error(self) -> Any:
        """The `error` of a failed activation, else None."""
        return self.result.get("error") if not self.success and isinstance(self.result, dict) else None

    @property
    def wait_time(self) -> int | None:
        """Milliseconds in OpenWhisk's queue."""
        return self.annotations.get("waitTime")

    @property
    def init_time(self) -> int | None:
        """Milliseconds of the cold start, None on a warm one."""
        return self.annotations.get("initTime")

    @property
    def timed_out(self) -> bool:
        """True when the action was ended at its time limit."""
        return self.annotations.get("timeout") is True

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ActivationRecord:
        """From the API's JSON. Raises OpenWhiskError when it is something else."""
        try:
            return cls(
                id=record["activationId"],
                name=record["name"],
                status=record["response"]["status"],
                result=record["response"].get("result"),
                start=record["start"],
                end=record.get("end"),
                duration=record.get("duration"),
                logs=tuple(record["logs"]),
                annotations={entry["key"]: entry["value"] for entry in record["annotations"]},
                version=record["version"],
                cause=record.get("cause"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise OpenWhiskError(f"OpenWhisk: no activation record: {type(error).__name__} {error}") from None


class Call(NamedTuple):
    """One HTTP request, made by either client."""

    method: str
    path: str
    params: dict[str, str | int]
    body: Any = None
    headers: dict[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Address:
    """Where an OpenWhisk is, and how its answers are believed and asked for.

    namespaces: URL of all namespaces; authorization: value of the header; verify: TLS, True without it.
    """

    host: str
    namespaces: str
    authorization: str
    verify: ssl.SSLContext | bool

    @classmethod
    def of(cls, api_host: str, auth: str, ca_file: str | Path | None) -> Address:
        """auth: `<uuid>:<key>`; ca_file: PEM, None for the system's."""
        host = api_host.rstrip("/").removesuffix("/api/v1")
        return cls(
            host=host,
            namespaces=f"{host}/api/v1/namespaces/",
            authorization=f"Basic {base64.b64encode(auth.strip().encode()).decode()}",
            verify=tls_context(ca_file) if host.startswith("https:") else True,
        )


class Answer(NamedTuple):
    """What came back over HTTP, from either client."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body, with marks for what is not UTF-8."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body's value; its text where it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return self.text


def invocation(action: str, params: Mapping[str, Any] | None, request_id: str | None, *, blocking: bool) -> Call:
    headers = {"X-Request-ID": request_id} if request_id else None
    query: dict[str, str | int] = {"blocking": "true"} if blocking else {}
    return Call("POST", path_of("actions", action), query, dict(params or {}), headers)


def invoked(call: Call, answer: Answer) -> ActivationRecord | str:
    """The record in a blocking answer; or the id to ask for, when the answer came early or is a bare
    array."""
    if answer.status in {_OK, _ACCEPTED, _FAILED, _INTERNAL}:
        body = answer.json()
        if isinstance(body, dict) and "response" in body:
            return ActivationRecord.of(body)
        if activation := answer.headers.get("x-openwhisk-activation-id"):
            return str(activation)
    read(call, answer)
    raise OpenWhiskError(f"{call}: the answer is no activation record", status=answer.status)


def read(call: Call, answer: Answer) -> Any:
    """The JSON of an answer, None of an empty one, its text otherwise. Raises the error that its status
    stands for."""
    status = answer.status
    if status == _NO_CONTENT:
        return None
    body = answer.json()
    if 200 <= status < 300:
        return body
    text = str(body.get("error", "")) if isinstance(body, dict) else answer.text
    message = f"OpenWhisk, {call}: HTTP {status}" + (f": {text}" if text else "")
    if status == _UNAVAILABLE:
        return _raise(Unavailable(message, unknown=False, status=status, text=text))
    kinds: dict[int, type[OpenWhiskError]] = {401: Denied, 403: Denied, 404: NotFound, 409: Conflict}
    kind = (kinds | {413: PayloadTooLarge, 429: Throttled}).get(status, OpenWhiskError)
    return _raise(kind(message, status=status, text=text))


def _raise(error: OpenWhiskError) -> None:
    raise error


def unavailable(call: Call, error: Exception, *, sent: bool) -> Unavailable:
    """What no answer means. sent: whether the request may have reached OpenWhisk."""
    return Unavailable(f"OpenWhisk, {call}: {str(error) or type(error).__name__}", unknown=sent)


def pauses(activation: str, timeout: float) -> Iterator[float]:
    """Seconds between looks for a record: 20 ms, growing to 1 s. Raises Unavailable after `timeout`
    seconds."""
    deadline, pause = time.monotonic() + timeout, 0.02
    while True:
        yield pause
        if time.monotonic() > deadline:
            raise Unavailable(f"OpenWhisk: no record of activation {activation} after {timeout:.0f} s", unknown=True)
        pause = min(1.0, pause * 1.5)


def path_of(collection: str, name: str) -> str:
    """`/_/package/action`, `package/action` or `action` as a path below `namespaces/`."""
    namespace, _, rest = qualified(name)[1:].partition("/")
    return f"{quote(namespace)}/{collection}/{quote(rest)}"


def qualified(name: str) -> str:
    return name if name.startswith("/") else f"/_/{name}"


def pairs(**levels: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters and annotations as OpenWhisk writes them: lists of key and value."""
    return {
        name: [{"key": key, "value": value} for key, value in level.items()]
        for name, level in levels.items()
        if level is not None
    }


def code_text(code: str | bytes | Path) -> str:
    """Source as it is, an archive as base64."""
    content = code.read_bytes() if isinstance(code, Path) else code
    if isinstance(content, str):
        return content
    return base64.b64encode(content).decode() if content.startswith(b"PK") else content.decode()
