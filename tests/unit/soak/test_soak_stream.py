"""What the client node writes and tells: each file until it is taken, under a new name after every refusal."""

from __future__ import annotations

import zlib
from pathlib import Path

import httpx2
import pytest

from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.model import DeadLetter, EventType, Result, StorageData, StorageEvent, Times, WorkItem
from xdc_testbed.soak import stream
from xdc_testbed.soak.facts import Dead, Ended, Fact, In, Refused
from xdc_testbed.soak.stream import DEAD_LETTERS, RESULTS, Settings, Writer

PATH = "/data/proc/soak-ab12/CORR-000003"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("ab12", files_per_second=500.0, share=0.25, size=100, longest=30.0, control=tmp_path)


def test_every_fourth_file_goes_to_the_other_site_when_a_quarter_shall(settings: Settings) -> None:
    assert [settings.path(number, 1).split("/")[2] for number in range(8)] == ["bench", "bench", "bench", "proc"] * 2


def test_each_file_has_bytes_of_its_own_that_can_be_made_again(settings: Settings) -> None:
    assert settings.content(1) == settings.content(1)
    assert len({settings.content(number) for number in range(20)}) == 20


def test_a_refused_upload_is_tried_again_under_another_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_PAUSE", 0.0)
    stored: dict[str, bytes] = {}
    told: list[Fact] = []

    def storage(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/000001"):
            return httpx2.Response(503, stream=httpx2.ByteStream(b""))
        stored[request.url.path] = request.content
        return httpx2.Response(201, stream=httpx2.ByteStream(b""))

    def tell(fact: Fact) -> None:
        told.append(fact)
        if isinstance(fact, In) and fact.tries > 1:
            (settings.control / "stop").touch()

    dav = WebDav("https://storage.test", transport=httpx2.MockTransport(storage))
    Writer(dav, settings, tell).write()
    again = next(fact for fact in told if isinstance(fact, In) and fact.file == 1)
    assert (again.path, again.tries) == ("/data/bench/soak-ab12/000001-try2", 2)
    assert again.adler32 == f"{zlib.adler32(settings.content(1)):08x}"
    assert stored[again.path] == settings.content(1)
    assert [fact.path for fact in told if isinstance(fact, Refused)] == ["/data/bench/soak-ab12/000001"]


def test_a_file_is_given_up_when_nobody_waits_any_more(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_PAUSE", 0.0)
    told: list[Fact] = []

    def tell(fact: Fact) -> None:
        told.append(fact)
        if isinstance(fact, Refused):
            (settings.control / "stop").touch()
            (settings.control / "finish").touch()

    dav = WebDav(
        "https://storage.test",
        transport=httpx2.MockTransport(lambda _: httpx2.Response(503, stream=httpx2.ByteStream(b""))),
    )
    Writer(dav, settings, tell).write()
    assert not any(isinstance(fact, In) for fact in told)


def work_item() -> WorkItem:
    data = StorageData(endpoint="desy-storage", closed_at=1.0)
    event = StorageEvent.make(EventType.WRITTEN, PATH, data, testbed="demo", session="s")
    return WorkItem.make(event, "ship-corrected", "/_/xdc/transfer", {}, created_at=2.0)


def result(item: WorkItem, status: str, reason: str | None = None) -> Result:
    return Result.model_validate(
        {
            "id": item.id,
            "event_id": item.event.id,
            "subject": PATH,
            "endpoint": "desy-storage",
            "rule": item.rule,
            "action": item.action,
            "status": status,
            "reason": reason,
            "attempts": 5,
            "times": Times(closed=1.0, event=1.0, routed=2.0, ended=3.0),
        }
    )


def test_results_and_dead_letters_are_told_by_file_and_action() -> None:
    item = work_item()
    failed = result(item, "failed", "destination is full")
    assert stream.fact_of(RESULTS, result(item, "ok").to_json()) == Ended(
        path=PATH, action="transfer", status="ok", attempts=5
    )
    assert stream.fact_of(DEAD_LETTERS, DeadLetter.of(item, failed).to_json()) == Dead(
        path=PATH, action="transfer", reason="destination is full"
    )


@pytest.mark.parametrize("topic", [RESULTS, DEAD_LETTERS])
def test_a_record_that_is_not_about_a_files_work_is_passed_over(topic: str) -> None:
    garbage = DeadLetter.of_garbage(b"x", "not a record", at=1.0).to_json()
    assert stream.fact_of(topic, b"{}") is None
    assert stream.fact_of(DEAD_LETTERS, garbage) is None
