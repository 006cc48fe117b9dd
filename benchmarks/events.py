"""How fast storage events become work and activations, on loopback: one JSON line per figure.

    python benchmarks/events.py [--events 20000] [--latencies 300] [--unmatched 1000000]

A real broker (TLS, SCRAM, rights), the router and the dispatcher as the nodes run them; broker, services and this
program share the machine. Throughput is measured in front of an endpoint that answers at once, the way from an upload
to its action with real storage servers and the OpenWhisk emulator. On a testbed of nodes: make bench NAME=demo.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from confluent_kafka import Producer

for name in ("events", "dcache", "storage"):
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract" / name))

from event_rig import Broker, Dispatch, Results, Router, free_ports, storage_event  # noqa: E402
from platform_stub import Platform  # noqa: E402
from shared.figures import show  # noqa: E402
from shared.openwhisk_service import AUTH, openwhisk  # noqa: E402
from shared.upload_latency import latencies  # noqa: E402

from xdc_testbed.events.feed import Feed  # noqa: E402
from xdc_testbed.events.kafka import EVENTS, INVOCATIONS  # noqa: E402
from xdc_testbed.events.model import StorageEvent  # noqa: E402
from xdc_testbed.events.probe import percentiles  # noqa: E402

RULES = """
[[rule]]
name = "noop"
match = { types = ["written"], paths = ["/data/bench/**", "/data/told/**", "/data/polled/**", "/data/noticed/**"] }
action = [{ name = "/_/xdc/noop" }]
"""
_NOOP = "import time\n\ndef main(args):\n    return {'started_at': time.time()}\n"
_BURSTS = {500: 0.0, 10_000: 10.0}
"""Files of a burst -> seconds within which they are announced."""
_DEADLINE = 300.0
_LOOKS = 0.25  # seconds between two looks at a service's counters: each look costs it about a millisecond


def send(producer: Producer, event: StorageEvent) -> None:
    """Produce one event, waiting when the queue is full."""
    while True:
        try:
            producer.produce(EVENTS, event.to_json(), event.key.encode())
        except BufferError:
            producer.poll(0.05)
        else:
            producer.poll(0)
            return


def throughput(broker: Broker, producer: Producer, folder: str, count: int) -> float:
    """Events per second from the first event produced to the last work item read; nothing is run
    meanwhile.
    """
    with Feed(broker.connection("client"), INVOCATIONS) as feed:
        feed.from_now()
        events = [storage_event(f"{folder}{n}", session="flood") for n in range(count)]
        started = time.monotonic()
        for event in events:
            send(producer, event)
        seen = 0
        while seen < count and time.monotonic() - started < _DEADLINE:
            seen += feed.next(1) is not None
        return seen / (time.monotonic() - started)


@dataclass(frozen=True)
class Flow:
    """How a service worked a backlog off. rates: items per second in the first and last tenth, and in all between
    the first tenth and the end; resident: bytes after the first tenth and at the end.
    """

    first: float
    last: float
    all: float
    resident: tuple[int, int]


def health(port: int) -> dict[str, Any]:
    """What a service says of itself; empty while it does not answer."""
    try:
        told: dict[str, Any] = httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
    except httpx2.TransportError:
        return {}
    return told


def worked_off(port: int, counter: str, count: int) -> Flow:
    """Look at a counter until it has grown to count. Raises AssertionError when it does not in time."""
    marks = [count * tenth // 10 for tenth in (1, 2, 9, 10)]
    seen: list[tuple[float, int, int]] = []
    deadline = time.monotonic() + _DEADLINE
    while marks:
        told = health(port)
        if told.get(counter, 0) >= marks[0]:
            seen.append((time.monotonic(), told[counter], told["resident_bytes"]))
            marks = [mark for mark in marks if mark > told[counter]]
        assert time.monotonic() < deadline, f"{counter} is {told.get(counter)} of {count} after {_DEADLINE:g} s"
        time.sleep(_LOOKS)

    def rate(one: tuple[float, int, int], other: tuple[float, int, int]) -> float:
        return (other[1] - one[1]) / max(other[0] - one[0], 1e-9)

    return Flow(rate(seen[0], seen[1]), rate(seen[-2], seen[-1]), rate(seen[0], seen[-1]), (seen[0][2], seen[-1][2]))


def unmatched(router: Router, producer: Producer, count: int) -> Flow:
    """The router alone with events that no rule means, each of another file."""
    router.process.stop()
    for n in range(count):
        send(producer, storage_event(f"/data/other/{n}", session="unmatched"))
    producer.flush(60)
    (port,) = free_ports(1)
    router.restart(f'metrics = "127.0.0.1:{port}"\n')
    return worked_off(port, "unmatched", count)


def loopback(producer: Producer, results: Results, count: int) -> list[float]:
    """Milliseconds from an event that is produced to the action that starts, one at a time."""
    for n in range(count):
        send(producer, storage_event(f"/data/bench/single-{n}", session="single"))
        results.wait(f"/data/bench/single-{n}", 1)
    found = [each.times for each in results.below("/data/bench/single-")]
    return [(times.action_started - times.closed) * 1000 for times in found if times.action_started]


def burst(producer: Producer, results: Results, platform: Platform, count: int, seconds: float) -> Counter[int]:
    """How many of so many files, announced within some seconds, were run how often."""
    first = time.monotonic()
    for n in range(count):
        if n % 100 == 0:
            time.sleep(max(0.0, first + n / count * seconds - time.monotonic()))
        send(producer, storage_event(f"/data/bench/burst-{count}-{n}", session="burst"))
    producer.flush(60)
    results.wait(f"/data/bench/burst-{count}-", count)
    return Counter(runs for path, runs in platform.runs("noop").items() if f"/burst-{count}-" in path)


def main() -> int:
    """Run all of it. Returns 0 also when a goal is missed: a benchmark measures, tests judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20_000, help="events of the throughput figures")
    parser.add_argument("--unmatched", type=int, default=1_000_000, help="events that match no action")
    parser.add_argument("--latencies", type=int, default=300, help="files of each latency figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xdc-bench-events-") as folder:
        broker = Broker(Path(folder))
        platform = Platform()
        router = Router(broker, RULES)
        dispatch: Dispatch | None = None
        results = Results(broker)
        try:
            producer = Producer(broker.connection("event-source").producer())
            throughput(broker, producer, "/data/bench/warm-", 500)
            rate = throughput(broker, producer, "/data/bench/flood-", arguments.events)
            show("storage events through the router", rate, "1/s", at_least=1000)
            (port,) = free_ports(1)
            dispatch = Dispatch(broker, platform.url, settings=f'metrics = "127.0.0.1:{port}"')
            show("actions dispatched to a no-op", worked_off(port, "ok", arguments.events).all, "1/s", at_least=800)
            times = percentiles(tuple(loopback(producer, results, arguments.latencies)))
            show("event produced to action started, answered at once, median", times["p50"], "ms", at_most=30)
            show("event produced to action started, answered at once, p95", times["p95"], "ms", at_most=100)
            for count, seconds in _BURSTS.items():
                runs = burst(producer, results, platform, count, seconds)
                show(f"burst of {count} events: acted on", sum(runs.values()), "files", at_least=count)
                show(f"burst of {count} events: more than once", sum(runs.values()) - runs[1], "files", at_most=0)
            dispatch.process.stop()
            with openwhisk(Path(folder) / "openwhisk", free_ports(1)[0]) as service:
                with service.client() as client:
                    client.put_package("xdc")
                    client.put_action("xdc/noop", _NOOP, memory=128)
                dispatch = Dispatch(broker, service.url, auth=AUTH, ca_file=service.ca)
                latencies(broker, results, arguments.latencies)
                dispatch.process.stop()
            flow = unmatched(router, producer, arguments.unmatched)
            show("unmatched events through one router", flow.all, "1/s", at_least=15_000)
            show("the same, last tenth by first tenth", 100 * flow.last / flow.first, "%", at_least=80)
            show(
                "memory of the router, growth meanwhile",
                (flow.resident[1] - flow.resident[0]) / 2**20,
                "MiB",
                at_most=100,
            )
        finally:
            results.close()
            for process in (router.process, *([dispatch.process] if dispatch else [])):
                process.stop()
            broker.stop()
            platform.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
