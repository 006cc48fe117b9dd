"""How the rate of OpenWhisk activations grows with invokers, and that draining one under load loses none.

    python benchmarks/scale.py [--seconds 8]

The controller with its own invoker, and up to three invokers as they run on function nodes: processes of
their own, over TLS, on this machine. Actions wait (200 ms each), as those do that wait for a storage; an
action that computes cannot scale on the processors of one machine. Each invoker has room for eight at once,
so one alone can do no more than 40 per second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

from openwhisk import Caller, sequential, throughput
from shared.figures import show
from shared.openwhisk_service import Service, openwhisk

_WAITS = "import time\ndef main(args):\n    time.sleep(0.2)\n    return {}\n"
_ROOM = 8
_MEMORY = 128
_LIMIT = _ROOM / 0.2
_DEADLINE = 60.0
_COUNTS = (1, 2, 4)


@contextmanager
def invoker(folder: Path, service: Service, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """A further invoker for the time of a with block."""
    place = folder / f"faas-{number}"
    place.mkdir()
    file = place / "invoker.toml"
    file.write_text(
        f"""controller = "localhost:{service.door}"
ca = "{service.ca}"
name = "faas-{number}"
token_file = "{service.token}"
state = "{place / "state"}"
python = "{sys.executable}"
[pool]
memory = {_ROOM * _MEMORY}
processes = {_ROOM}
stop = 30.0
"""
    )
    command = [sys.executable, "-m", "xdc_testbed.emulators.openwhisk.node", "--config", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def states(service: Service) -> dict[str, str]:
    """The invokers, as the controller tells."""
    context = ssl.create_default_context(cafile=str(service.ca))
    with urlopen(f"{service.url}/invokers", context=context, timeout=10) as answer:  # noqa: S310 - our own service
        return dict(json.loads(answer.read()))


def until_up(service: Service, count: int) -> None:
    """Wait until so many invokers take activations. Raises TimeoutError."""
    end = time.monotonic() + _DEADLINE
    while sum(state == "up" for state in states(service).values()) != count:
        if time.monotonic() > end:
            raise TimeoutError(f"{count} invokers are not up: {states(service)}")
        time.sleep(0.1)


async def rate(service: Service, callers: int, seconds: float) -> float:
    """Activations per second, from so many callers that never pause, when containers are warm."""
    async with AsyncCallers(service, callers) as calls:
        await asyncio.gather(*(sequential(one.call, 4) for one in calls))
        return await throughput([one.call for one in calls], seconds)


async def drained(service: Service, process: subprocess.Popen[bytes], callers: int) -> tuple[float, int]:
    """Let an invoker leave under load. Returns how long it took, and how many calls were made; each has succeeded."""
    async with AsyncCallers(service, callers) as calls:
        made = 0
        leaving = asyncio.Event()

        async def work(one: Caller) -> None:
            nonlocal made
            while not leaving.is_set():
                await one.call()  # raises, unless it succeeds
                made += 1

        working = asyncio.gather(*map(work, calls))
        await asyncio.sleep(1.0)
        started = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, _DEADLINE)
        took = time.perf_counter() - started
        leaving.set()
        await working
    if code != 0:
        raise RuntimeError(f"the invoker that left ended with {code}")
    return took, made


class AsyncCallers:
    """So many connections of callers."""

    def __init__(self, service: Service, count: int) -> None:
        context = ssl.create_default_context(cafile=str(service.ca))
        self._callers = [Caller(service.port, context, "waits") for _ in range(count)]

    async def __aenter__(self) -> list[Caller]:
        for caller in self._callers:
            await caller.__aenter__()
        return self._callers

    async def __aexit__(self, *_: object) -> None:
        for caller in self._callers:
            await caller.__aexit__()


def main() -> None:
    """Start a controller, add invokers, measure, let one go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of throughput")
    parser.add_argument("--port", type=int, default=13243)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        room = {"memory": _ROOM * _MEMORY, "processes": _ROOM}
        service = stack.enter_context(openwhisk(folder / "controller", arguments.port, pool=room))
        with service.client() as client:
            client.put_action("waits", _WAITS, memory=_MEMORY)
        rates: dict[int, float] = {}
        processes: list[subprocess.Popen[bytes]] = []
        for count in _COUNTS:
            while len(processes) < count - 1:
                processes.append(stack.enter_context(invoker(folder, service, len(processes) + 1)))
            until_up(service, count)
            rates[count] = asyncio.run(rate(service, count * _ROOM, arguments.seconds))
            show(f"activations per second, {count} invokers", rates[count], "1/s")
            show(f"of what {count} invokers could do", rates[count] / (count * _LIMIT), "", at_least=0.8)
        for count in _COUNTS[1:]:
            show(f"rate with {count} invokers over 1", rates[count] / rates[1], "", at_least=0.8 * count)
        took, made = asyncio.run(drained(service, processes[-1], _COUNTS[-1] * _ROOM))
        show("an invoker leaves under load", took, "s", at_most=5.0)
        show("calls meanwhile, all successful", made, "")


if __name__ == "__main__":
    main()
