"""How fast the OpenWhisk emulator runs an action that does nothing: one JSON line per figure.

    python benchmarks/openwhisk.py [--seconds 5]

The emulator, its action proxies and the callers share this machine; TLS, connections kept alive. The peer
is the product's standalone build on the same class of machine: warm blocking p50 3.9 ms, p95 6.8 ms, 656
calls/s from 16 callers, cold start 187 to 291 ms (there without TLS, without logs, and without real
containers).
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

from shared.figures import show
from shared.openwhisk_service import AUTH, openwhisk

from xdc_testbed.clients.openwhisk_async import AsyncOpenWhisk

_EMPTY = "def main(args):\n    return {}\n"
_SEQUENTIAL = 400
_CALLERS = 16
_COLD = 8

Call = Callable[[], Awaitable[None]]


class Caller:
    """One kept connection that invokes one action: as little client as possible, so that the service
    is measured."""

    def __init__(self, port: int, context: ssl.SSLContext, action: str) -> None:
        self._port, self._context = port, context
        self._request = (
            f"POST /api/v1/namespaces/_/actions/{action}?blocking=true HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Basic {b64encode(AUTH.encode()).decode()}\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        ).encode()

    async def __aenter__(self) -> Caller:
        self._reader, self._writer = await asyncio.open_connection("localhost", self._port, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def call(self) -> None:
        """One invocation. Raises RuntimeError unless it succeeded."""
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head.decode()}{body.decode()}")


async def sequential(call: Call, count: int) -> list[float]:
    """Milliseconds of each of `count` calls, one after the other."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        await call()
        times.append((time.perf_counter() - start) * 1000)
    return times


async def throughput(calls: list[Call], seconds: float) -> float:
    """Calls per second of callers that never pause."""
    end = time.perf_counter() + seconds

    async def work(call: Call) -> int:
        done = 0
        while time.perf_counter() < end:
            await call()
            done += 1
        return done

    start = time.perf_counter()
    done = sum(await asyncio.gather(*map(work, calls)))
    return done / (time.perf_counter() - start)


async def measure(port: int, ca: Path, seconds: float) -> None:
    """Print every figure."""
    context = ssl.create_default_context(cafile=str(ca))
    async with Caller(port, context, "empty") as caller:
        await sequential(caller.call, 50)
        warm = await sequential(caller.call, _SEQUENTIAL)
    show("warm blocking invocation, p50", statistics.median(warm), "ms", at_most=4.0)
    show("warm blocking invocation, p95", statistics.quantiles(warm, n=20)[18], "ms", at_most=7.0)
    callers = [Caller(port, context, "empty") for _ in range(_CALLERS)]
    for caller in callers:
        await caller.__aenter__()
    try:
        await throughput([caller.call for caller in callers], 1.0)
        rate = await throughput([caller.call for caller in callers], seconds)
    finally:
        for caller in callers:
            await caller.__aexit__()
    show(f"invocations per second, {_CALLERS} callers", rate, "1/s", at_least=650.0)
    async with AsyncOpenWhisk(f"https://localhost:{port}", AUTH, ca) as client:

        async def invoke() -> None:
            await client.invoke("empty")

        await sequential(invoke, 20)
        warm = await sequential(invoke, _SEQUENTIAL // 2)
        show("the same through the kit's client, p50", statistics.median(warm), "ms", at_most=5.0)
        rate = await throughput([invoke] * _CALLERS, seconds)
        show(f"the same through the kit's client, {_CALLERS} callers", rate, "1/s", at_least=400.0)
        cold = []
        for number in range(_COLD):
            start = time.perf_counter()
            await client.invoke(f"cold{number}")
            cold.append((time.perf_counter() - start) * 1000)
        show("cold start, p50", statistics.median(cold), "ms", at_most=187.0)


def main() -> None:
    """Start an emulator, measure it, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of throughput")
    parser.add_argument("--port", type=int, default=13233)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, openwhisk(Path(name), arguments.port) as service:
        with service.client() as client:
            client.put_action("empty", _EMPTY, memory=256)
            for number in range(_COLD):
                client.put_action(f"cold{number}", _EMPTY, memory=128)
        asyncio.run(measure(service.port, service.ca, arguments.seconds))


if __name__ == "__main__":
    main()
