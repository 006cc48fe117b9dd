"""The watching page: what it says of records, who may look, and that it is usable without internet."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from pydantic import ValidationError
from starlette.testclient import TestClient

from xdc_testbed.events import page
from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS, INVOCATIONS, RESULTS, Connection
from xdc_testbed.events.model import DeadLetter, EventType, Result, StorageData, StorageEvent, Times, WorkItem
from xdc_testbed.events.page import PageSection, application
from xdc_testbed.events.watch import Picture, sse

RAW, CORRECTED = "/data/raw/r0001/RAW-1.h5", "/data/proc/r0001/CORR-1.h5"


def event(path: str, at: float) -> StorageEvent:
    data = StorageData(endpoint="desy-storage", size=1, closed_at=at)
    return StorageEvent.make(EventType.WRITTEN, path, data, testbed="t", session="s")


def ended(path: str, action: str, at: float, result: dict[str, object], *, reason: str | None = None) -> Result:
    times = Times(
        closed=at - 0.1, event=at - 0.1, routed=at - 0.09, invoked=at - 0.08, action_started=at - 0.08, ended=at
    )
    return Result(
        id=f"{path}{action}",
        event_id="e",
        subject=path,
        endpoint="desy-storage",
        rule=f"rule-{action}",
        action=f"/_/xdc/{action}",
        status="failed" if reason else "ok",
        reason=reason,
        attempts=1,
        result=result,
        times=times,
    )


def told(now: float) -> Picture:
    """A raw file that was calibrated and shipped, and one that could not be."""
    picture = Picture()
    broken = event("/data/raw/r0001/RAW-2.h5", now - 1)
    failed = ended(broken.subject, "calibrate", now, {}, reason="input ends in train 128 of 256")
    item = WorkItem.make(broken, "rule-calibrate", "/_/xdc/calibrate", {}, created_at=now)
    picture.take(EVENTS, broken.to_json(), now=now - 1)
    picture.take(RESULTS, failed.to_json(), now=now)
    picture.take(DEAD_LETTERS, DeadLetter.of(item, failed).to_json(), now=now)
    picture.take(EVENTS, event(RAW, now - 1).to_json(), now=now - 1)
    picture.take(INVOCATIONS, item.to_json(), now=now)
    picture.take(RESULTS, ended(RAW, "calibrate", now, {"output": {"path": CORRECTED}}).to_json(), now=now)
    picture.take(EVENTS, event(CORRECTED, now).to_json(), now=now)
    picture.take(RESULTS, ended(CORRECTED, "transfer", now, {}).to_json(), now=now)
    picture.lag = {"router": 3, "dispatcher": 0}
    return picture


def test_the_way_of_a_file_goes_on_with_what_was_made_of_it() -> None:
    newest = told(1000.5).to_json(now=1001)["ways"][0]
    assert newest["file"] == RAW
    assert [station["what"] for station in newest["stations"]] == ["written", "calibrate ok", "written", "transfer ok"]
    assert [station["path"] for station in newest["stations"]] == [RAW, RAW, CORRECTED, CORRECTED]


def test_rates_latencies_rules_and_dead_letters_are_counted() -> None:
    picture = told(1000.5).to_json(now=1001)
    assert (picture["events"], picture["events_per_second"], picture["dead_letters"]) == (3, 0.3, 1)
    assert picture["rules"] == {"rule-calibrate": {"failed": 1, "ok": 1}, "rule-transfer": {"ok": 1}}
    assert picture["latency_ms"]["p50"] == pytest.approx(20)
    assert picture["letters"][0]["reason"] == "input ends in train 128 of 256"


def test_memory_is_bounded() -> None:
    picture = Picture()
    for number in range(3000):
        picture.take(EVENTS, event(f"/data/{number}", number).to_json(), now=float(number))
    told = picture.to_json(now=3000)
    assert (told["events"], len(told["series"]), len(told["ways"])) == (3000, 60, 20)


def test_a_record_that_is_unreadable_stops_nothing() -> None:
    picture = Picture()
    picture.take(EVENTS, b"{", now=1)
    picture.take(EVENTS, event(RAW, 1).to_json(), now=1)
    assert picture.to_json(now=2)["events"] == 2


def test_prometheus_reads_the_numbers() -> None:
    client = TestClient(application(told(time.time()), every=1))
    text = client.get("/metrics").text
    assert "xdc_events_events 3\n" in text
    assert 'xdc_events_results_by_rule{rule="rule-calibrate",status="failed"} 1\n' in text
    assert 'xdc_events_lag{service="router"} 3\n' in text
    assert all(
        re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line)
        for line in text.split("\n")
        if line
    )


def test_a_picture_is_one_server_sent_event() -> None:
    kind, data, *rest = sse(told(1000.5).to_json(now=1001)).decode().split("\n")
    assert (kind, rest) == ("event: picture", ["", ""])
    assert json.loads(data.removeprefix("data: "))["events"] == 3


def test_the_page_needs_nothing_from_elsewhere() -> None:
    answer = TestClient(application(Picture(), every=1)).get("/")
    assert answer.status_code == 200
    assert re.findall(r'(?:src|href)="|@import|url\(', answer.text) == []
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_what_a_file_is_called_is_never_markup() -> None:
    page = TestClient(application(Picture(), every=1)).get("/").text
    assert "innerHTML" not in page
    assert "document.write" not in page


@pytest.mark.parametrize("path", ["/", "/picture", "/metrics", "/live"])
def test_without_the_token_nothing_is_told(path: str) -> None:
    client = TestClient(application(Picture(), every=1, token="a-token-of-length"), base_url="https://page")
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_the_token_opens_the_page_and_its_cookie_the_rest() -> None:
    client = TestClient(application(Picture(), every=1, token="a-token-of-length"), base_url="https://page")
    assert client.get("/picture", headers={"Authorization": "Bearer a-token-of-length"}).status_code == 200
    assert client.get("/?token=a-token-of-length").status_code == 200
    assert client.get("/picture").status_code == 200


def test_beyond_loopback_tls_and_token_are_needed() -> None:
    with pytest.raises(ValidationError, match="needs certificate, key and token_file"):
        PageSection(listen="0.0.0.0:8790")
    everything = {"certificate": Path("c"), "key": Path("k"), "token_file": Path("t")}
    assert PageSection(listen="0.0.0.0:8790", **everything).port == 8790
    assert PageSection().is_loopback


@pytest.mark.parametrize("error", [KafkaException("away"), TimeoutError()])
def test_a_broker_that_does_not_answer_is_asked_for_the_lag_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    answers = iter([error, error, 3, 0])

    def lag(*_: object) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pauses = iter([None])
    monkeypatch.setattr(page, "AdminClient", lambda _: None)
    monkeypatch.setattr(page, "lag", lag)
    monkeypatch.setattr(page.time, "sleep", lambda _: next(pauses))
    picture = Picture()
    with pytest.raises(StopIteration):
        page.Observer(Connection(bootstrap="broker:9092", security="PLAINTEXT"), picture)._measure()
    assert picture.lag == {"router": 3, "dispatcher": 0}
