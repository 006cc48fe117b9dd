"""What became of each file, from the pipeline's messages."""

from __future__ import annotations

import pytest

from xdc_testbed.demo.accounting import DEAD_LETTERS, EVENTS, MANIFEST, RESULTS, Ledger, Way, corrected_path
from xdc_testbed.events.model import DeadLetter, EventType, Result, StorageData, StorageEvent, Times, WorkItem

RAW = "/data/raw/r0007/RAW-R0007-JNGFR01-S00000.h5"
CORR = "/data/proc/r0007/CORR-R0007-JNGFR01-S00000.h5"


def item(path: str, action: str, endpoint: str = "desy-storage") -> WorkItem:
    data = StorageData(endpoint=endpoint, size=1, closed_at=10.0)
    event = StorageEvent.make(EventType.WRITTEN, path, data, testbed="demo", session=endpoint)
    return WorkItem.make(event, action, f"/_/xdc/{action}", {}, created_at=10.1)


def result(work: WorkItem, reason: str | None = None, *, at: float = 12.0, said: str = "done") -> Result:
    return Result(
        id=work.id,
        event_id=work.event.id,
        subject=work.event.subject,
        endpoint=work.event.data.endpoint,
        rule=work.rule,
        action=work.action,
        status="failed" if reason else "ok",
        reason=reason,
        attempts=1,
        result={"status": said},
        times=Times(closed=10.0, event=10.01, routed=10.02, invoked=10.03, action_started=10.04, ended=at),
    )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger([RAW], Way("desy-storage", "remote-storage", archived=True))


def test_the_corrected_file_lies_where_the_action_puts_it() -> None:
    assert corrected_path(RAW) == CORR


def test_a_file_is_settled_when_every_action_on_its_way_has_ended(ledger: Ledger) -> None:
    for path, action, endpoint in (
        (RAW, "calibrate", "desy-storage"),
        (CORR, "transfer", "desy-storage"),
        (CORR + MANIFEST, "transfer", "desy-storage"),
        (CORR + MANIFEST, "qos", "remote-storage"),
        (CORR + MANIFEST, "catalogue", "remote-storage"),
    ):
        assert not ledger.settled
        ledger.take(RESULTS, result(item(path, action, endpoint)).to_json())
    assert ledger.settled
    assert ledger.missing() == []
    assert ledger.accounts[RAW].said == "corrected and transferred and recorded and archived"


def test_where_nothing_is_archived_the_record_is_the_end() -> None:
    ledger = Ledger([RAW], Way("desy-storage", "remote-storage"))
    for path, action, endpoint in (
        (RAW, "calibrate", "desy-storage"),
        (CORR, "transfer", "desy-storage"),
        (CORR + MANIFEST, "transfer", "desy-storage"),
        (CORR + MANIFEST, "catalogue", "remote-storage"),
    ):
        assert not ledger.settled
        ledger.take(RESULTS, result(item(path, action, endpoint)).to_json())
    assert ledger.settled


def test_without_a_second_site_the_calibration_settles_it() -> None:
    ledger = Ledger([RAW], Way("desy-storage"))
    ledger.take(RESULTS, result(item(RAW, "calibrate")).to_json())
    assert ledger.settled


def test_a_dead_letter_settles_it_with_the_reason(ledger: Ledger) -> None:
    work = item(RAW, "calibrate")
    ledger.take(DEAD_LETTERS, DeadLetter.of(work, result(work, "input is truncated")).to_json())
    assert ledger.settled
    assert ledger.accounts[RAW].said == "failed: input is truncated"
    assert ledger.accounts[RAW].work("calibrate") is not None


def test_a_failure_without_a_dead_letter_is_not_accounted_for(ledger: Ledger) -> None:
    ledger.take(RESULTS, result(item(RAW, "calibrate"), "input is truncated").to_json())
    (line,) = ledger.missing()
    assert line.endswith("missing: a dead letter for the failed calibrate of the raw file (input is truncated)")


def test_what_is_missing_says_how_far_the_file_came(ledger: Ledger) -> None:
    said = [ledger.accounts[RAW].said]
    for topic, record in (
        (EVENTS, item(RAW, "x").event.to_json()),
        (RESULTS, result(item(RAW, "calibrate")).to_json()),
        (EVENTS, item(CORR, "x").event.to_json()),
        (RESULTS, result(item(CORR, "transfer")).to_json()),
    ):
        ledger.take(topic, record)
        said.append(ledger.accounts[RAW].said)
    assert said == [
        "missing: no storage event seen of the raw file, no result of calibrate",
        "missing: storage event seen of the raw file, no result of calibrate",
        "missing: no storage event seen of the corrected file, no result of transfer",
        "missing: storage event seen of the corrected file, no result of transfer",
        "missing: no storage event seen of the manifest, no result of transfer",
    ]


def test_the_first_success_counts_and_not_its_repetition(ledger: Ledger) -> None:
    work = item(RAW, "calibrate")
    ledger.take(RESULTS, result(work, at=12.0).to_json())
    ledger.take(RESULTS, result(work, at=99.0, said="already-done").to_json())
    account = ledger.accounts[RAW].work("calibrate")
    assert account is not None
    assert (account.times.ended, account.result["status"]) == (12.0, "done")


def test_a_success_after_a_failure_counts(ledger: Ledger) -> None:
    work = item(RAW, "calibrate")
    ledger.take(RESULTS, result(work, "service gone").to_json())
    ledger.take(RESULTS, result(work).to_json())
    account = ledger.accounts[RAW].work("calibrate")
    assert account is not None
    assert account.status == "ok"


def test_the_same_path_at_another_site_is_not_this_file(ledger: Ledger) -> None:
    ledger.take(EVENTS, item(CORR, "x", endpoint="remote-storage").event.to_json())
    ledger.take(RESULTS, result(item(RAW, "calibrate", endpoint="remote-storage")).to_json())
    assert ledger.count == 0
    assert ledger.events == set()


@pytest.mark.parametrize("topic", [EVENTS, RESULTS, DEAD_LETTERS])
def test_a_record_that_is_none_changes_nothing(ledger: Ledger, topic: str) -> None:
    ledger.take(topic, b"\xff not JSON")
    assert ledger.count == 0
