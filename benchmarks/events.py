"""How fast storage events become work and activations, on loopback: one JSON line per figure.

    python benchmarks/events.py [--events 20000] [--latencies 300] [--unmatched 200000]

A real broker (TLS, SCRAM, rights), the router and the dispatcher as the nodes run them, and an OpenWhisk
endpoint that answers at once; broker, services and this program share the machine. The whole way from a
closed file is timed on a testbed: make bench NAME=demo.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from confluent_kafka import Producer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "contract" / "events"))

from event_rig import Broker, Dispatch, Results, Router, free_ports, storage_event  # noqa: E402
from platform_stub import Platform  # noqa: E402

from xdc_testbed.events.feed import Feed  # noqa: E402
from xdc_testbed.events.kafka import EVENTS, INVOCATIONS  # noqa: E402
from xdc_testbed.events.model import StorageEvent  # noqa: E402
from xdc_testbed.events.probe import percentiles  # noqa: E402

RULES = """
[[rule]]
name = "noop"
match = { types = ["written"], paths = ["/data/bench/**"] }
action = [{ name = "/_/xdc/noop" }]
"""
_BURST = 500
_DEADLINE = 300.0


def show(name: str, value: float, unit: str, goal: float, *, at_least: bool = False) -> None:
    """One figure as a line; goal: the value to reach (at_least) or to stay below."""
    holds = value >= goal if at_least else value <= goal
    print(json.dumps({"name": name, "value": round(value, 1), "unit": unit, "goal": goal, "holds": holds}))


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
        time.sleep(0.02)

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


def latencies(producer: Producer, results: Results, count: int) -> list[float]:
    """Milliseconds from an event that is produced to the action that starts, one at a time."""
    for n in range(count):
        send(producer, storage_event(f"/data/bench/single-{n}", session="single"))
        results.wait(f"/data/bench/single-{n}", 1)
    found = [each.times for each in results.below("/data/bench/single-")]
    return [(times.action_started - times.closed) * 1000 for times in found if times.action_started]


def burst(producer: Producer, results: Results, platform: Platform) -> Counter[int]:
    """How many of 500 files, whose events come at once, were run how often."""
    for n in range(_BURST):
        send(producer, storage_event(f"/data/bench/burst-{n}", session="burst"))
    results.wait("/data/bench/burst-", _BURST)
    return Counter(count for path, count in platform.runs("noop").items() if "/burst-" in path)


def main() -> int:
    """Run all of it. Returns 0 also when a goal is missed: a benchmark measures, tests judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20_000, help="events of the throughput figure")
    parser.add_argument("--unmatched", type=int, default=200_000, help="events that match no action")
    parser.add_argument("--latencies", type=int, default=300, help="events of the latency figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xdc-bench-events-") as folder:
        broker = Broker(Path(folder))
        platform = Platform()
        router = Router(broker, RULES)
        dispatch = None
        try:
            producer = Producer(broker.connection("event-source").producer())
            throughput(broker, producer, "/data/bench/warm-", 500)
            rate = throughput(broker, producer, "/data/bench/flood-", arguments.events)
            show("storage events through the router", rate, "1/s", 1000, at_least=True)
            (port,) = free_ports(1)
            dispatch = Dispatch(broker, platform.url, settings=f'metrics = "127.0.0.1:{port}"')
            show(
                "actions dispatched to a no-op", worked_off(port, "ok", arguments.events).all, "1/s", 800, at_least=True
            )
            results = Results(broker)
            times = percentiles(tuple(latencies(producer, results, arguments.latencies)))
            show("event produced to action started, loopback, median", times["p50"], "ms", 30)
            show("event produced to action started, loopback, p95", times["p95"], "ms", 100)
            runs = burst(producer, results, platform)
            show("burst of 500 events: acted on", sum(runs.values()), "files", _BURST, at_least=True)
            show("burst of 500 events: more than once", sum(runs.values()) - runs[1], "files", 0)
            results.close()
            flow = unmatched(router, producer, arguments.unmatched)
            show("unmatched events through one router", flow.all, "1/s", 15_000, at_least=True)
            show("the same, last tenth by first tenth", 100 * flow.last / flow.first, "%", 80, at_least=True)
            show("memory of the router, growth meanwhile", (flow.resident[1] - flow.resident[0]) / 2**20, "MiB", 100)
        finally:
            for process in (router.process, *([dispatch.process] if dispatch else [])):
                process.stop()
            broker.stop()
            platform.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
