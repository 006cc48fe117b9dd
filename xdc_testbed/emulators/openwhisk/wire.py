"""What a controller and an invoker on another node say to each other: JSON texts with their length before them.

invoker     hello {name, token, memory, processes}   the first one
controller  welcome {} | refused {why}
controller  run {job}                                the job must be run
invoker     code {id}        controller  code {id, code}       for a new container
invoker     answer {id, outcome}                     then, when its logs are complete,
invoker     done {id, logs, warm}                    warm: its container is free for the next
both        ping {idle}                              every second; the invoker tells its free containers
controller  up {}                                    the health test has run: activations may come
invoker     leaving {}       controller  released {}           nothing is sent after that
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from . import jsontext

HEARTBEAT = 1.0
UNHEARD = 3.0
"""Seconds without a heartbeat after which no activation is sent to an invoker."""
_LENGTH = struct.Struct(">I")
_FIRST = 1 << 16
_MOST = 128 << 20


class Broken(ConnectionError):
    """The other side says what this one does not understand."""


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, kind: str, **values: Any) -> None:
        """Send a message, without waiting."""
        text = jsontext.dumps({"kind": kind, **values})
        self._writer.write(_LENGTH.pack(len(text)) + text)

    async def receive(self, most: int = _MOST) -> dict[str, Any]:
        """The next message. Raises Broken; IncompleteReadError and OSError at the end of the connection."""
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        if length > most:
            raise Broken(f"a message of {length} bytes")
        try:
            message = jsontext.loads(await self._reader.readexactly(length))
        except jsontext.MalformedError as error:
            raise Broken(str(error)) from None
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise Broken("no message")
        return message

    async def first(self, patience: float) -> dict[str, Any]:
        """The first message of somebody who has not yet said who it is: short, and soon."""
        async with asyncio.timeout(patience):
            return await self.receive(_FIRST)

    async def flush(self) -> None:
        """Close it when everything that was sent is on its way."""
        self._writer.close()
        await self._writer.wait_closed()

    def close(self) -> None:
        """End it, now."""
        self._writer.transport.abort()
