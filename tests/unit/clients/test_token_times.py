"""A refusal because of wrong clocks says so, and says when the token is valid."""

from __future__ import annotations

import base64
import json
import time

import httpx2
import pytest

from xdc_testbed.clients.errors import StorageDenied, TokenNotValid
from xdc_testbed.clients.token_times import fault_of
from xdc_testbed.clients.webdav import WebDav

NOON = 1_795_694_400.0  # 2026-11-26 12:00:00 UTC


def token(**claims: object) -> str:
    text = json.dumps({"iss": "https://issuer.test", **claims}).encode()
    return f"head.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.signature"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nbf": NOON + 300, "exp": NOON + 3900}, "its token is not valid before 12:05:00 UTC, 300 s from now: "),
        ({"iat": NOON + 300, "exp": NOON + 3900}, "its token is not valid before 12:05:00 UTC, 300 s from now: "),
        ({"iat": NOON - 300, "exp": NOON - 60}, "its token has expired at 11:59:00 UTC, 60 s ago, issued 11:55:00 UTC"),
        ({"exp": NOON}, "its token has expired at 12:00:00 UTC, 0 s ago"),
    ],
)
def test_wrong_dates_are_named(claims: dict[str, object], said: str) -> None:
    assert (fault_of(token(**claims), NOON) or "").startswith(said)


@pytest.mark.parametrize("text", [token(nbf=NOON, exp=NOON + 1), token(), "MDAxY2xvY2F0aW9u", "a.b.c", "a.bnVsbA.c"])
def test_a_good_token_and_one_without_dates_are_not_blamed(text: str) -> None:
    assert fault_of(text, NOON) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_storage_that_refuses_such_a_token_leads_to_an_error_that_names_its_time(status: int) -> None:
    late = token(exp=time.time() - 60)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status))
    with pytest.raises(TokenNotValid, match="its token has expired at") as refusal:
        WebDav("https://storage.test", token=lambda: late, transport=transport).head("/data/x")
    assert late not in refusal.value.message
    good = token(exp=time.time() + 60)
    with pytest.raises(StorageDenied) as other:
        WebDav("https://storage.test", token=lambda: good, transport=transport).head("/data/x")
    assert not isinstance(other.value, TokenNotValid)
