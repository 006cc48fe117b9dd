from __future__ import annotations

import base64
import json

import pytest
from interop_examples import HELD

from xdc_testbed.endpoints import Credentials
from xdc_testbed.errors import XdcError
from xdc_testbed.interop.credentials import Wallet, claims, tampered, unsigned
from xdc_testbed.interop.outcome import Skip


def part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


TOKEN = ".".join((part({"alg": "ES256"}), part({"scope": "storage.read:/pub", "exp": 1764111600}), "c2lnbmF0dXJl"))


def test_a_tampered_token_has_another_scope_and_the_old_signature():
    other = tampered(TOKEN, "storage.modify:/")
    assert claims(other)["scope"] == "storage.modify:/"
    assert claims(other)["exp"] == claims(TOKEN)["exp"]
    assert other.split(".")[2] == TOKEN.split(".")[2]


def test_an_unsigned_token_has_the_same_claims_and_no_signature():
    other = unsigned(TOKEN)
    assert claims(other) == claims(TOKEN)
    assert other.endswith(".")


@pytest.mark.parametrize("text", ["", "opaque", "a.b.c", ".".join(("e30", "W10", "c2ln"))])
def test_what_is_no_token_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        claims(text)


def test_without_a_strangers_certificate_the_question_is_skipped():
    with pytest.raises(Skip):
        Wallet(HELD, None).certificate("stranger")


def test_without_a_token_client_the_question_is_skipped():
    with pytest.raises(Skip):
        Wallet(Credentials(), None).token("token", "/data")


def test_a_secret_that_cannot_be_read_is_named():
    with pytest.raises(XdcError, match=r"/nowhere/interop\.secret"):
        Wallet(HELD, None).token("token", "/data")


@pytest.mark.parametrize("kind", ["anonymous", "stranger", "x509"])
def test_kinds_without_a_token_have_none(kind):
    assert Wallet(HELD, None).token(kind, "/data") is None
