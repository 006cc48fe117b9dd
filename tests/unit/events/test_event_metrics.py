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


def test_durations_are_counted_into_growing_buckets() -> None:
    counters = Counters("event-dispatcher")
    for seconds in (0.004, 0.02, 0.02, 1000):
        counters.observe("close_to_action_seconds", seconds)
    lines = counters.exposition().splitlines()
    name = "xdc_event_dispatcher_close_to_action_seconds"
    assert f'{name}_bucket{{le="0.005"}} 1' in lines
    assert f'{name}_bucket{{le="0.025"}} 3' in lines
    assert f'{name}_bucket{{le="300"}} 3' in lines
    assert f'{name}_bucket{{le="+Inf"}} 4' in lines
    assert f"{name}_count 4" in lines


def test_labels_and_notes_are_quoted() -> None:
    counters = Counters("event-router")
    counters.add("rule_items", rule='a"b')
    counters.note("rules", "0123456789ab")
    lines = counters.exposition().splitlines()
    assert 'xdc_event_router_rule_items{rule="a\\"b"} 1' in lines
    assert 'xdc_event_router_info{rules="0123456789ab"} 1' in lines
    assert counters.get("rule_items", rule='a"b') == 1
