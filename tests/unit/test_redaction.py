"""What actions say is written down without credentials."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed import redaction

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
MACAROON = "MDAxY2xvY2F0aW9uIE9wdGlvbmFsLmVtcHR5CjAwMThpZGVudGlmaWVyIGFiY2RlZgo"


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        (f"GET with Authorization: Bearer {JWT} failed", JWT),
        (f"{JWT} is expired", JWT),
        (f"https://dcache/data/a?authz={MACAROON}", MACAROON),
        (f"macaroon {MACAROON} refused", MACAROON),
        ("client_secret='hunter2hunter2' is wrong", "hunter2hunter2"),
        ('{"password": "hunter2"}', "hunter2"),
        ("https://demo:hunter2@storage/data", "hunter2"),
        ("Authorization: Basic ZGVtbzpodW50ZXIy", "ZGVtbzpodW50ZXIy"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "MIIE"),
    ],
)
def test_a_credential_is_taken_out_and_the_rest_stays(said: str, secret: str) -> None:
    kept = redaction.text(f"before {said} after")
    assert secret not in kept
    assert kept.startswith("before ")


@pytest.mark.parametrize(
    "said",
    [
        "input ends in train 128 of 256",
        "/data/raw/r0001/RAW-1.h5: HTTP 403: permission denied",
        "token expired",
        "d" * 64,
    ],
)
def test_what_holds_no_credential_stays_as_it_is(said: str) -> None:
    assert redaction.text(said) == said


@given(st.text("x ", max_size=400), st.integers(0, 50), st.integers(1, 60))
def test_no_part_of_a_credential_is_left_wherever_a_text_is_cut(before: str, after: int, most: int) -> None:
    kept = redaction.shortened(f"{before} {JWT}{after * ' more'}", most)
    assert len(kept) <= most
    assert "eyJ" not in kept


@pytest.mark.parametrize(
    "unit", ["eyJ", "//", "//a:b", "bearer ", "secret", "secret= ", "MDA", "-----BEGIN ", "a.b.c-"]
)
def test_a_megabyte_of_anything_is_searched_in_one_go(unit: str) -> None:
    """Squared, any of these would take hours."""
    assert redaction.text(unit * (1_000_000 // len(unit)))


@given(
    st.lists(st.binary(min_size=8, max_size=40).map(lambda raw: base64.b64encode(raw).decode()), max_size=5), st.text()
)
def test_no_known_secret_is_left_however_they_stand_together(words: list[str], noise: str) -> None:
    kept = redaction.text(noise + noise.join(words) + "".join(words), words)
    assert [word for word in words if word in kept] == []


def test_a_known_secret_is_taken_out_whatever_it_looks_like() -> None:
    assert redaction.text("the word is swordfish", ["sword", "swordfish", ""]) == "the word is (hidden)"


def test_values_are_searched_to_their_ends() -> None:
    said = {"log": [f"token {JWT}", {"access_token": ["x"], "size": 3}], "ok": True, "at": 1.5}
    assert redaction.value(said) == {
        "log": ["token (hidden)", {"access_token": "(hidden)", "size": 3}],
        "ok": True,
        "at": 1.5,
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_was_json_stays_json(said: object) -> None:
    assert json.loads(json.dumps(redaction.value(said))) == redaction.value(said)
