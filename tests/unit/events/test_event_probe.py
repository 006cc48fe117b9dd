"""What the probe says about the files it wrote."""

from __future__ import annotations

import pytest

from xdc_testbed.events.model import Result, Times
from xdc_testbed.events.probe import lines, percentiles, summary

A, B = ("desy-storage", "/data/bench/a"), ("desy-storage", "/data/bench/b")


def result(path: str, *, status: str = "ok", started: float | None = 1.02) -> Result:
    return Result.model_validate(
        {
            "id": "i",
            "event_id": "e",
            "subject": path,
            "endpoint": "desy-storage",
            "rule": "noop-bench",
            "action": "/_/xdc/noop",
            "status": status,
            "attempts": 1,
            "times": Times(closed=1.0, event=1.0, routed=1.005, action_started=started, ended=1.03),
        }
    )


def test_every_file_acted_on_once_is_good() -> None:
    seen = summary([A, B], {A: [result(A[1])], B: [result(B[1])]})
    assert seen.good
    assert seen.to_json()["close_to_action_ms"] == {"p50": 20.0, "p95": 20.0, "max": 20.0}


@pytest.mark.parametrize(
    ("results", "name"),
    [
        ({A: [result(A[1])]}, "missing"),
        ({A: [result(A[1])], B: [result(B[1], status="failed")]}, "failed"),
        ({A: [result(A[1])], B: [result(B[1]), result(B[1])]}, "repeated"),
    ],
)
def test_a_file_that_is_missing_failed_or_repeated_is_counted_and_not_good(
    results: dict[tuple[str, str], list[Result]], name: str
) -> None:
    seen = summary([A, B], results)
    assert not seen.good
    assert seen.to_json()[name] == 1


def test_a_line_tells_ms_after_the_close() -> None:
    (line,) = lines([A], {A: [result(A[1])]})
    assert line["ms"] == {"routed": 5.0, "action_started": 20.0, "ended": 30.0}


def test_a_line_of_a_missing_file_has_no_times() -> None:
    assert list(lines([A], {})) == [{"endpoint": "desy-storage", "path": "/data/bench/a", "results": 0}]


@pytest.mark.parametrize("values", [(), (5.0,), (1.0, 9.0)])
def test_percentiles_of_few_values(values: tuple[float, ...]) -> None:
    assert percentiles(values).get("max", 0.0) == max(values, default=0.0)
