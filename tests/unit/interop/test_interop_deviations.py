from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interop_examples import DCACHE, SITES, party, record

from xdc_testbed.errors import WrongUsage
from xdc_testbed.interop import deviations, registry
from xdc_testbed.interop.deviations import Deviation, judge
from xdc_testbed.interop.matrix import plan

TODAY = date(2026, 11, 25)


def entry(**more):
    values = {
        "id": "known",
        "case": "copy.*",
        "product": "xrootd",
        "version": "5.*",
        "shows": "residue",
        "reason": "the product does this, and it is known",
        "link": "https://example.org/1",
        "expires": TODAY + timedelta(days=30),
    }
    return Deviation.model_validate({**values, **more})


def failed(**more):
    return record(**{"case_id": "copy.missing-source", "outcome": "fail", "reason": "residue: 0 bytes", **more})


def test_a_known_failure_is_an_expected_deviation():
    judged = judge(failed(), [entry()], TODAY)
    assert (judged.outcome, judged.deviation, judged.bad) == ("expected-deviation", "known", False)


def test_a_failure_that_says_something_else_stays_a_failure():
    assert judge(failed(reason="wrong bytes"), [entry()], TODAY).outcome == "fail"


def test_a_failure_of_another_version_stays_a_failure():
    assert judge(failed(source=party(version="6.2.1")), [entry()], TODAY).outcome == "fail"


def test_an_entry_still_holds_on_its_last_day():
    assert judge(failed(), [entry(expires=TODAY)], TODAY).outcome == "expected-deviation"


def test_an_expired_entry_excuses_nothing_and_is_named():
    judged = judge(failed(), [entry(expires=TODAY - timedelta(days=1))], TODAY)
    assert judged.outcome == "fail"
    assert "expired" in (judged.reason or "")


def test_a_deviation_that_does_not_show_is_an_unexpected_pass():
    judged = judge(failed(outcome="pass", reason=None), [entry()], TODAY)
    assert (judged.outcome, judged.bad) == ("unexpected-pass", True)


def test_a_race_that_does_not_show_is_a_pass():
    assert judge(failed(outcome="pass", reason=None), [entry(sometimes=True)], TODAY).outcome == "pass"


@pytest.mark.parametrize("outcome", ["skipped", "error"])
def test_what_was_not_answered_is_not_excused(outcome):
    assert judge(failed(outcome=outcome), [entry()], TODAY).outcome == outcome


@pytest.mark.parametrize(
    ("at", "direction", "version_of_source", "applies"),
    [
        ("source", "pull", "5.5.3", True),
        ("destination", "pull", "5.5.3", False),
        ("active", "pull", "5.5.3", False),
        ("passive", "pull", "5.5.3", True),
        ("active", "push", "5.5.3", True),
        ("any", "push", "5.5.3", True),
        ("any", "push", "6.0.0", False),
    ],
)
def test_the_product_at_the_named_end_counts(at, direction, version_of_source, applies):
    copied = failed(
        source=party(version=version_of_source),
        destination=party("remote-storage", version="6.2.1"),
        direction=direction,
    )
    assert entry(at=at).applies(copied) is applies


@pytest.mark.parametrize(("other", "applies"), [("dcache", True), ("xrootd", False)])
def test_the_product_at_the_other_end_may_count(other, applies):
    copied = failed(source=party(), destination=party("remote-storage", product=other), direction="pull")
    assert entry(at="source", partner="dcache").applies(copied) is applies


@settings(deadline=None)
@given(outcome=st.sampled_from(["pass", "fail", "error", "skipped"]), days=st.integers(-400, 400))
def test_only_a_valid_entry_turns_a_failure_into_something_good(outcome, days):
    judged = judge(failed(outcome=outcome), [entry(expires=TODAY + timedelta(days=days))], TODAY)
    if outcome in ("fail", "error") and not judged.bad:
        assert outcome == "fail"
        assert days >= 0


def test_the_kits_own_entries_are_well_formed_and_still_valid():
    known = deviations.load()
    assert known
    for one in known:
        assert one.link.startswith("https://"), one.id
        assert one.expires >= date.today(), f"{one.id} has expired: look whether the product still does this"  # noqa: DTZ011


def test_every_entry_of_the_kit_matches_a_case_that_can_be_asked():
    asked = [
        record(
            case_id=cell.case.id,
            source=party(cell.source.id, product=cell.source.product),
            destination=None
            if cell.destination is None
            else party(cell.destination.id, product=cell.destination.product),
            protocol=cell.protocol,
            credential=cell.credential,
            direction=cell.direction,
            size=cell.size,
            variant=cell.variant,
        )
        for cell in plan(registry.all_cases(), [*SITES, DCACHE])
    ]
    idle = [one.id for one in deviations.load() if not any(one.applies(record) for record in asked)]
    assert idle == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[deviation]]\nid = 'x'\n", "case"),
        ("[[deviations]]\n", "unknown table"),
        ("[[deviation", "not TOML"),
    ],
)
def test_a_wrong_file_is_wrong_usage_and_says_where(tmp_path, text, says):
    path = tmp_path / "deviations.toml"
    path.write_text(text)
    with pytest.raises(WrongUsage, match=says):
        deviations.load(path)


def test_two_entries_with_one_id_are_refused(tmp_path):
    one = (
        "[[deviation]]\nid = 'x'\ncase = 'a.b'\nproduct = 'p'\nshows = 's'\nlink = 'https://x'\n"
        "reason = 'a reason that is long enough'\nexpires = 2030-01-01\n"
    )
    path = tmp_path / "deviations.toml"
    path.write_text(one + one)
    with pytest.raises(WrongUsage, match="two entries"):
        deviations.load(path)


def test_a_missing_file_is_wrong_usage(tmp_path):
    with pytest.raises(WrongUsage, match="cannot read"):
        deviations.load(tmp_path / "none.toml")
