"""One HTTP request and its answer, in the little that the emulator needs of them: no framework, for speed."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from . import jsontext, messages
from .config import User

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"
TEXT = b"text/plain; charset=UTF-8"
_CORS = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-allow-headers",
        b"Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent",
    ),
    (b"access-control-allow-methods", b"GET, DELETE, POST, PUT, HEAD"),
)
_LABEL = (b"x-xdc-emulator", b"openwhisk")
_MEDIA = {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}


class Reply(NamedTuple):
    """An answer; headers beside those that every answer has."""

    status: int
    body: bytes = b""
    media: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    cors: bool = True


class Refused(Exception):
    """A request that ends with an error text. routed: False for what OpenWhisk refuses before a route takes
    it."""

    def __init__(
        self, status: int, text: str, *, routed: bool = True, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.routed, self.headers = status, text, routed, headers


class Request:
    """A request of an authenticated user."""

    __slots__ = ("_query", "headers", "method", "receive", "scope", "started", "transaction", "user")

    def __init__(self, scope: Scope, receive: Receive, user: User, transaction: str, started: float) -> None:
        self.scope, self.receive, self.user, self.transaction, self.started = (
            scope,
            receive,
            user,
            transaction,
            started,
        )
        self.method: str = scope["method"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; the last of a name."""
        if self._query is None:
            text = self.scope["query_string"]
            self._query = dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True)) if text else {}
        return self._query

    def flag(self, name: str) -> bool:
        """A boolean query parameter, false unless given. Raises Refused 400."""
        value = self.query.get(name, "false").lower()
        if value in {"true", "1", "yes", "on"}:
            return True
        if value in {"false", "0", "no", "off"}:
            return False
        raise Refused(400, messages.malformed_query(name, f"'{value}' is not a valid Boolean value"), routed=False)

    def content_length(self) -> int:
        """As the client says; 0 without."""
        try:
            return int(self.headers.get(b"content-length", b"0"))
        except ValueError:
            return 0

    async def body(self, most: int) -> bytes:
        """The body. Raises Refused 400 when it is longer than `most` bytes."""
        if self.content_length() > most:
            raise TooLarge
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts, length = [body], len(body)
        while message.get("more_body"):
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > most:
                raise TooLarge
        return b"".join(parts)

    async def json(self, most: int) -> Any:
        """The body as JSON. Raises Refused 400 or 415."""
        body = await self.body(most)
        if body:
            self._check_media()
        try:
            return jsontext.loads(body)
        except jsontext.MalformedError as error:
            raise Refused(400, messages.malformed(str(error)), routed=False) from None

    async def payload(self, most: int) -> dict[str, Any]:
        """The arguments of an invocation or a fire: an object, or nothing. Raises Refused 400, 413 or 415."""
        if (length := self.content_length()) > most:
            raise Refused(413, messages.request_too_large(length, most))
        body = await self.body(most)
        if not body:
            return {}
        self._check_media()
        try:
            payload = jsontext.loads(body)
        except jsontext.MalformedError as error:
            raise Refused(400, messages.malformed(str(error)), routed=False) from None
        if not isinstance(payload, dict):
            raise Refused(400, messages.malformed(messages.OBJECT_EXPECTED), routed=False)
        return payload

    def _check_media(self) -> None:
        media = self.headers.get(b"content-type", b"application/octet-stream")
        if media not in _MEDIA and media.split(b";")[0].strip().lower() != JSON:
            raise Refused(415, messages.media_type(media.decode("latin-1")), routed=False)


class TooLarge(Exception):
    """The body is longer than the server reads at all: answered in plain text, and the connection closed."""


class Gone(Exception):
    """The client went away while it sent its body."""


def document(value: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, jsontext.dumps(value))


def transaction_id() -> str:
    """32 letters and digits, as OpenWhisk makes them."""
    return b64encode(os.urandom(24), b"xy").decode()


def refusal(refused: Refused, transaction: str) -> Reply:
    """The answer that a refusal stands for."""
    body = jsontext.dumps({"code": transaction, "error": refused.text})
    return Reply(refused.status, body, JSON, refused.headers, refused.routed)


async def send_reply(send: Send, reply: Reply, transaction: str) -> None:
    """Send an answer with the headers that all have."""
    headers = [(b"x-request-id", transaction.encode("latin-1", "replace")), _LABEL, *reply.headers]
    if reply.cors:
        headers.extend(_CORS)
    if reply.status != 204:
        headers.append((b"content-type", reply.media))
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
