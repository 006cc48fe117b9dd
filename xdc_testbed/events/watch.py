"""What happens on the way from storage events to results, as one picture. Knows records; knows no broker and no page.

A picture begins when it is made: counts are those since then. Memory is bounded by the numbers below.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS, INVOCATIONS, RESULTS, RUN_EVENTS
from xdc_testbed.events.model import DeadLetter, Result, StorageEvent

TOPICS = (EVENTS, RUN_EVENTS, INVOCATIONS, RESULTS, DEAD_LETTERS)
_SECONDS = 60
_LATENCIES = 2000
_LETTERS = 20
_WAYS = 20
_STATIONS = 24
_PATHS = 5000
_RULES = 200


class Picture:
    """Takes records in, tells how things stand. For one thread that takes and others that tell."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._per_second: deque[tuple[int, int]] = deque(maxlen=_SECONDS)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._rules: dict[str, Counter[str]] = {}
        self._letters: deque[dict[str, Any]] = deque(maxlen=_LETTERS)
        self._ways: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._origin: OrderedDict[str, str] = OrderedDict()
        self.lag: Mapping[str, int] = {}

    def take(self, topic: str, value: bytes, *, now: float) -> None:
        """A record of one of TOPICS; now: epoch seconds."""
        self._seen[topic] += 1
        try:
            match topic:
                case "storage-events" | "run-events":
                    self._event(StorageEvent.model_validate_json(value), now)
                case "activation-results":
                    self._result(Result.model_validate_json(value))
                case "dead-letter":
                    self._letter(DeadLetter.model_validate_json(value))
        except ValidationError:
            self._seen["unreadable"] += 1

    def to_json(self, *, now: float) -> dict[str, Any]:
        """As the page and `events watch` show it; latencies in ms from the close of a file to its action's start."""
        recent = [count for second, count in self._per_second.copy() if now - 10 <= second < int(now)]
        return {
            "at": now,
            "events": self._seen[EVENTS],
            "events_per_second": round(sum(recent) / 10, 1),
            "series": [[second, count] for second, count in self._per_second.copy()],
            "runs_complete": self._seen[RUN_EVENTS],
            "work_items": self._seen[INVOCATIONS],
            "results": self._seen[RESULTS],
            "lag": dict(self.lag),
            "latency_ms": _percentiles(list(self._latencies.copy())),
            "rules": {name: dict(counts) for name, counts in sorted(self._rules.copy().items())},
            "dead_letters": self._seen[DEAD_LETTERS],
            "letters": list(self._letters.copy()),
            "ways": [{"file": name, "stations": list(way)} for name, way in reversed(self._ways.copy().items())],
        }

    def exposition(self, *, now: float) -> str:
        """The numbers in the Prometheus text format."""
        picture = self.to_json(now=now)
        lines = [f"xdc_events_{name} {picture[name]}" for name in ("events", "runs_complete", "work_items", "results")]
        lines += [f"xdc_events_dead_letters {picture['dead_letters']}"]
        lines += [f'xdc_events_lag{{service="{service}"}} {lag}' for service, lag in sorted(self.lag.items())]
        lines += [
            f'xdc_events_results_by_rule{{rule="{rule}",status="{status}"}} {count}'
            for rule, counts in picture["rules"].items()
            for status, count in sorted(counts.items())
        ]
        lines += [
            f'xdc_events_latency_seconds{{quantile="{name}"}} {value / 1000}'
            for name, value in picture["latency_ms"].items()
        ]
        return "\n".join([*lines, ""])

    def _event(self, event: StorageEvent, now: float) -> None:
        second = int(now)
        if self._per_second and self._per_second[-1][0] == second:
            self._per_second[-1] = (second, self._per_second[-1][1] + 1)
        else:
            self._per_second.append((second, 1))
        self._station(event.subject, event.type.word, event.data.endpoint, event.subject, event.data.closed_at, "")

    def _result(self, result: Result) -> None:
        times = result.times
        if times.action_started is not None:
            self._latencies.append((times.action_started - times.closed) * 1000)
        if result.rule in self._rules or len(self._rules) < _RULES:
            self._rules.setdefault(result.rule, Counter())[result.status] += 1
        action = result.action.rpartition("/")[2]
        told = result.reason or ("" if result.status == "ok" else result.status)
        self._station(result.subject, f"{action} {result.status}", result.endpoint, result.subject, times.ended, told)
        for path in _made(result.result):
            if path != result.subject:
                self._origin[path] = self._origin.get(result.subject, result.subject)
                while len(self._origin) > _PATHS:
                    self._origin.popitem(last=False)

    def _letter(self, letter: DeadLetter) -> None:
        event = letter.item.event if letter.item else None
        self._letters.appendleft(
            {
                "id": letter.id,
                "at": letter.at,
                "reason": letter.reason,
                "file": f"{event.data.endpoint}:{event.subject}" if event else "",
                "rule": letter.item.rule if letter.item else "",
            }
        )

    def _station(self, path: str, what: str, endpoint: str, shown: str, at: float, told: str) -> None:
        """One more station of a file's way; a file that an action made goes on with the way of its origin."""
        name = self._origin.get(path, path)
        way = self._ways.setdefault(name, [])
        if len(way) < _STATIONS:
            way.append({"what": what, "endpoint": endpoint, "path": shown, "at": at, "told": told})
        self._ways.move_to_end(name)
        while len(self._ways) > _WAYS:
            self._ways.popitem(last=False)


def _made(result: Mapping[str, Any]) -> list[str]:
    """Paths that an action says it has written: `output.path`, `manifest`, `record.path`."""
    found = [result.get("manifest")]
    for key in ("output", "record"):
        inside = result.get(key)
        found.append(inside.get("path") if isinstance(inside, dict) else None)
    return [path for path in found if isinstance(path, str)]


def _percentiles(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {name: round(value, 1) for name in ("p50", "p95", "p99") for value in values}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p95": round(cuts[94], 1), "p99": round(cuts[98], 1)}


def sse(picture: dict[str, Any]) -> bytes:
    """A picture as one server-sent event."""
    return f"event: picture\ndata: {json.dumps(picture, separators=(',', ':'))}\n\n".encode()
