"""Counters and what they look like from outside."""

from __future__ import annotations

import http.client
import json
import socket

from xdc_testbed.events.metrics import Counters, serve


def fetch(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    with connection.getresponse() as answer:
        return answer.read()


def test_health_and_metrics_are_answered_on_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    counters = Counters("event-router")
    counters.add("events", 3)
    counters.state = "running"
    serve(counters, f"127.0.0.1:{port}")
    health, metrics = (fetch(port, path) for path in ("/health", "/metrics"))
    told = json.loads(health)
    assert (told["service"], told["state"], told["events"]) == ("event-router", "running", 3)
    assert metrics == b"xdc_event_router_up 1\nxdc_event_router_events 3\n"
