"""OpenWhisk over its REST API from one event loop: of what `openwhisk.OpenWhisk` does, what an event pipeline needs.

On aiohttp, because a dispatcher's rate is that of its HTTP client: 0.2 ms of processor time a call, where httpx2's bare
transport takes 0.7 on the same machine (docs/explanation/performance.md).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from xdc_testbed.clients.openwhisk_answers import (
    CONNECT_SECONDS,
    DEFAULT_WAIT,
    KEEPALIVE_SECONDS,
    ActivationRecord,
    Address,
    Answer,
    Call,
    NotFound,
    invocation,
    invoked,
    pauses,
    read,
    unavailable,
)

_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class AsyncOpenWhisk:
    """The asynchronous client: as many connections as are needed at once, in the loop of its first request.

    auth: `<uuid>:<key>`; ca_file: PEM, None for the system's; timeout: seconds of a request.
    """

    def __init__(
        self,
        api_host: str,
        auth: str,
        ca_file: str | Path | None = None,
        *,
        timeout: float = 30.0,
    ) -> None:
        self._address = Address.of(api_host, auth, ca_file)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[tuple[str, str], URL] = {}

    async def __aenter__(self) -> AsyncOpenWhisk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()

    async def limits(self) -> dict[str, Any]:
        """As OpenWhisk.limits."""
        call = Call("GET", "_/limits", {})
        return read(call, await self._send(call))  # type: ignore[no-any-return]

    async def start(
        self, action: str, params: Mapping[str, Any] | None = None, *, request_id: str | None = None
    ) -> str:
        """As OpenWhisk.start."""
        call = invocation(action, params, request_id, blocking=False)
        return read(call, await self._send(call))["activationId"]  # type: ignore[no-any-return]

    async def invoke(
        self,
        action: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float = DEFAULT_WAIT,
        request_id: str | None = None,
    ) -> ActivationRecord:
        """As OpenWhisk.invoke."""
        deadline = time.monotonic() + timeout
        call = invocation(action, params, request_id, blocking=True)
        found = invoked(call, await self._send(call, timeout))
        if isinstance(found, ActivationRecord):
            return found
        return await self.wait(found, deadline - time.monotonic())

    async def wait(self, activation: str, timeout: float = DEFAULT_WAIT) -> ActivationRecord:
        """As OpenWhisk.wait."""
        for pause in pauses(activation, timeout):
            try:
                return await self.activation(activation)
            except NotFound:
                await asyncio.sleep(pause)
        raise AssertionError

    async def activation(self, activation: str) -> ActivationRecord:
        """As OpenWhisk.activation."""
        call = Call("GET", f"_/activations/{activation}", {})
        return ActivationRecord.of(read(call, await self._send(call)))

    async def _send(self, call: Call, timeout: float | None = None) -> Answer:
        if self._session is None:
            self._session = self._connect()
        wait = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=timeout or self._timeout)
        body = None if call.body is None else json.dumps(call.body).encode()
        try:
            async with self._session.request(
                call.method, self._url(call), data=body, headers=call.headers, timeout=wait, allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unavailable(call, error, sent=not isinstance(error, _NOT_SENT)) from error

    def _connect(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._address.verify, limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            headers={
                "Authorization": self._address.authorization,
                "Accept": "application/json",
                "Content-Type": "application/json",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def _url(self, call: Call) -> URL:
        """The URL of a call; those of invocations are kept, as they are few."""
        query = "&".join(f"{name}={value}" for name, value in call.params.items())
        key = call.path, query
        url = self._urls.get(key)
        if url is None:
            text = f"{self._address.namespaces}{call.path}" + (f"?{query}" if query else "")
            url = URL(text, encoded=True)
            if call.method == "POST":
                self._urls[key] = url
        return url
