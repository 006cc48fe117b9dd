"""The ledger: files in = results + dead letters with reasons, nothing twice, copies as sent; anything else is red."""

from __future__ import annotations

import pytest

from xdc_testbed.soak.facts import Began, Copy, Dead, Ended, Fact, In, Ready, Refused
from xdc_testbed.soak.ledger import Ledger
from xdc_testbed.soak.outcome import Line, Span

SPAN = Span(name="broker killed", faults=("kafka killed",))
PATH = "/data/proc/soak-1/CORR-000001"


def began(file: int = 1, *, transferred: bool = True) -> Began:
    return Began(file=file, transferred=transferred)


def taken(file: int = 1, path: str = PATH, tries: int = 1) -> In:
    return In(file=file, path=path, size=5, adler32="0000000a", tries=tries)


def done(path: str = PATH, action: str = "transfer") -> Ended:
    return Ended(path=path, action=action, status="ok", attempts=1)


def dead(reason: str, path: str = PATH) -> Dead:
    return Dead(path=path, action="transfer", reason=reason)


def copy(endpoint: str, size: int | None = 5, adler32: str | None = "0000000a") -> Copy:
    return Copy(path=PATH, endpoint=endpoint, size=size, adler32=adler32)


def told(*facts: Fact, span: Span = SPAN) -> Line:
    """The line of a step during which these facts came, one a second."""
    ledger = Ledger()
    ledger.open(0)
    for second, fact in enumerate([Ready(origin="desy", remote="remote"), *facts]):
        ledger.take(fact, float(second))
    return ledger.line(0, span)


def test_a_file_with_a_result_and_equal_copies_is_green() -> None:
    line = told(began(), taken(), done(), copy("desy"), copy("remote"))
    assert (line.files_in, line.results, line.dead_letters, line.green) == (1, 1, 0, True)


def test_a_dead_letter_with_a_reason_is_an_end_too() -> None:
    failed = Ended(path=PATH, action="transfer", status="failed", attempts=5)
    line = told(began(), taken(), dead("destination is full"), failed, copy("desy"), copy("remote", None, None))
    assert (line.results, line.dead_letters, line.reasons, line.green) == (0, 1, {"destination is full": 1}, True)


def test_a_result_may_come_before_the_storages_acknowledgement() -> None:
    assert told(began(), done(), taken()).green


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([began(), taken()], f"1 files have no end: {PATH}"),
        ([began()], "1 files were never taken by the storage"),
        ([began(), taken(), dead("")], "1 dead letters without a reason"),
        ([began(), taken(), done(), done()], "1 ends too many"),
        ([began(), taken(), done(), dead("late")], "1 ends too many"),
        ([began(), taken(), done(), done(action="noop")], "1 ends too many"),
        ([began(), taken(), done(), copy("remote", 4)], "1 copies are not what was sent"),
        ([began(), taken(), done(), copy("remote", 5, "0000000b")], "1 copies are not what was sent"),
        ([began(), taken(), done(), copy("remote", None, None)], "1 copies are not what was sent"),
        ([began(), taken(), dead("cut"), copy("remote", 4)], "1 copies are not what was sent"),
        ([], "no file came in, so this proves nothing"),
    ],
)
def test_anything_else_is_red_and_says_why(facts: list[Fact], said: str) -> None:
    line = told(*facts)
    assert not line.green
    assert any(said in problem for problem in line.problems)


def test_a_refused_upload_is_not_in_and_its_file_counts_once_under_the_name_that_was_taken() -> None:
    again = "/data/bench/soak-1/000001-try2"
    line = told(
        began(transferred=False),
        Refused(file=1, path="/data/bench/soak-1/000001", reason="PUT /data/bench/soak-1/000001: connection lost"),
        done("/data/bench/soak-1/000001", "noop"),  # it had arrived after all: nobody was told, so it is not in
        taken(path=again, tries=2),
        done(again, "noop"),
    )
    assert (line.files_in, line.results, line.repeated, line.green) == (1, 1, 0, True)
    assert line.refused == {"PUT /…: connection lost": 1}


def test_a_step_that_has_to_be_felt_is_red_when_no_dead_letter_says_so() -> None:
    span = Span(name="issuer ahead", faults=("clock",), must_say="not valid before")
    assert told(began(), taken(), done(), span=span).problems == ("no dead letter says 'not valid before'",)
    assert told(began(), taken(), dead("its token is not valid before 10:00:00 UTC"), span=span).green


def test_reasons_that_differ_only_in_times_and_names_are_counted_together() -> None:
    other = PATH.replace("000001", "000002")
    line = told(
        began(1),
        taken(1),
        dead(f"HEAD {PATH}: not valid before 10:00:00 UTC, 299 s from now"),
        began(2),
        taken(2, other),
        dead(f"HEAD {other}: not valid before 10:00:04 UTC, 297 s from now", other),
    )
    assert line.reasons == {"HEAD /…: not valid before …, … s from now": 2}


def test_files_belong_to_the_step_during_which_they_began() -> None:
    ledger = Ledger()
    ledger.take(began(1), 0)
    ledger.open(0)
    ledger.take(began(2), 1)
    ledger.close()
    ledger.take(taken(2, PATH), 2)
    ledger.take(began(3), 3)
    assert [account.number for account in ledger.of(0)] == [2]
    assert [account.number for account in ledger.of(None)] == [1, 3]
    assert [account.number for account in ledger.waiting(0)] == [2]


def test_recovered_is_when_the_last_file_that_was_held_up_had_ended() -> None:
    ledger = Ledger()
    ledger.open(0)
    for file, (start, end) in enumerate([(8.0, 8.5), (9.0, 21.0), (18.0, 19.0), (30.0, 39.0)]):
        path = f"/data/bench/soak-1/{file:06d}"
        ledger.take(began(file, transferred=False), start)
        ledger.take(taken(file, path), start)
        ledger.take(done(path, "noop"), end)
    assert ledger.recovered(10.0) == 11.0
    assert ledger.recovered(36.0) == 3.0
    assert ledger.recovered(22.0) == 0.0


def test_a_file_that_waits_for_too_long_is_held_up() -> None:
    ledger = Ledger()
    ledger.take(began(1), 10.0)
    ledger.take(taken(1), 11.0)
    assert (ledger.held_up(12.0), ledger.held_up(20.0)) == (0, 1)
    ledger.take(done(), 21.0)
    assert ledger.held_up(30.0) == 0
