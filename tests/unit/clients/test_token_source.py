"""When a token is asked for, kept, and refused."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from urllib.parse import parse_qs

import httpx2
import pytest

from xdc_testbed.clients.errors import TokenRefused, Unreachable
from xdc_testbed.clients.tokens import ANY_AUDIENCE, TokenSource, discovered, token_in
from xdc_testbed.errors import WrongUsage

ISSUER = "https://issuer.test:8444"


class Issuer:
    """Counts tokens; expires_in: seconds."""

    def __init__(self, expires_in: object = 3600, answer: httpx2.Response | None = None) -> None:
        self.expires_in = expires_in
        self.answer = answer
        self.forms: list[dict[str, list[str]]] = []
        self.discoveries = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            self.discoveries += 1
            return httpx2.Response(200, json={"token_endpoint": f"{ISSUER}/token"})
        self.forms.append(parse_qs(request.read().decode()))
        if self.answer is not None:
            return self.answer
        return httpx2.Response(200, json={"access_token": f"token-{len(self.forms)}", "expires_in": self.expires_in})

    def source(self) -> TokenSource:
        transport = httpx2.MockTransport(self)
        return TokenSource(ISSUER + "/", "demo", "secret", None, "storage.read:/data", transport=transport)


def test_a_token_is_used_until_a_minute_before_its_end() -> None:
    issuer = Issuer(expires_in=3600)
    source = issuer.source()
    assert [source.token(), source.token()] == ["token-1", "token-1"]
    issuer.expires_in = 30
    short = Issuer(expires_in=30).source()
    assert [short.token(), short.token()] == ["token-1", "token-2"]


def dated(name: str, *, begins: float, ends: float) -> str:
    """A token without a signature, valid from and until so many seconds from now."""
    now = time.time()
    claims = {"iss": ISSUER, "jti": name, "iat": now + begins, "nbf": now + begins, "exp": now + ends}
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


@pytest.mark.parametrize(("begins", "ends"), [(300, 3900), (-540, -60)])
def test_a_token_whose_dates_are_wrong_is_not_kept(begins: float, ends: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try gets a good one as soon as the issuer's clock is right, not an hour later."""
    monkeypatch.setattr("xdc_testbed.clients.tokens._AGAIN", 0.0)
    wrong, right = dated("wrong", begins=begins, ends=ends), dated("right", begins=0, ends=3600)
    issuer = Issuer(answer=httpx2.Response(200, json={"access_token": wrong, "expires_in": 3600}))
    source = issuer.source()
    assert source.token() == wrong
    issuer.answer = httpx2.Response(200, json={"access_token": right, "expires_in": 3600})
    assert [source.token(), source.token()] == [right, right]
    assert len(issuer.forms) == 2


def test_a_burst_of_requests_asks_once_for_a_token_whose_dates_are_wrong() -> None:
    token = dated("wrong", begins=300, ends=3900)
    issuer = Issuer(answer=httpx2.Response(200, json={"access_token": token, "expires_in": 3600}))
    source = issuer.source()
    assert {source.token() for _ in range(5)} == {token}
    assert len(issuer.forms) == 1


def test_a_token_ends_when_it_says_so_itself_whatever_the_answer_says() -> None:
    token = dated("behind", begins=-300, ends=30)
    issuer = Issuer(answer=httpx2.Response(200, json={"access_token": token, "expires_in": 3600}))
    source = issuer.source()
    source.token()
    source.token()
    assert len(issuer.forms) == 2


def test_the_endpoint_is_discovered_once() -> None:
    issuer = Issuer()
    source = issuer.source()
    source.fetch()
    source.fetch()
    assert issuer.discoveries == 1


def test_scope_audience_and_lifetime_are_asked_for() -> None:
    issuer = Issuer()
    issuer.source().fetch("storage.read:/data/raw", "https://a.test", lifetime=5)
    assert issuer.forms[0] == {
        "grant_type": ["client_credentials"],
        "scope": ["storage.read:/data/raw"],
        "audience": ["https://a.test"],
        "lifetime": ["5"],
    }


def test_without_wishes_it_is_the_scope_of_the_source_for_any_audience() -> None:
    issuer = Issuer()
    issuer.source().fetch()
    assert issuer.forms[0]["scope"] == ["storage.read:/data"]
    assert issuer.forms[0]["audience"] == [ANY_AUDIENCE]
    assert "lifetime" not in issuer.forms[0]


def test_a_refusal_carries_the_oauth_error() -> None:
    answer = httpx2.Response(400, json={"error": "invalid_scope", "error_description": "not yours"})
    with pytest.raises(TokenRefused, match="not yours") as raised:
        Issuer(answer=answer).source().token()
    assert (raised.value.error, raised.value.status) == ("invalid_scope", 400)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"access_token": 5}'])
def test_an_answer_that_is_no_token_is_a_refusal(content: bytes) -> None:
    with pytest.raises(TokenRefused):
        Issuer(answer=httpx2.Response(200, content=content)).source().token()


def test_an_issuer_that_is_not_there_is_unreachable() -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("connection refused")

    with pytest.raises(Unreachable):
        TokenSource(ISSUER, "demo", "secret", None, "", transport=httpx2.MockTransport(refuse)).token()


def test_a_token_does_not_show_itself() -> None:
    assert "token-1" not in repr(Issuer().source().request())


# -- the user's own token ---------------------------------------------------------------------------------------------


def test_a_token_is_found_where_the_discovery_says(tmp_path: Path) -> None:
    held, runtime = tmp_path / "held", tmp_path / "run"
    runtime.mkdir()
    held.write_text(" from-a-file\n")
    (runtime / f"bt_u{os.getuid()}").write_text("from-the-session\n")
    environment = {"BEARER_TOKEN": "at-hand\n", "BEARER_TOKEN_FILE": str(held), "XDG_RUNTIME_DIR": str(runtime)}
    for name, wanted in (
        ("BEARER_TOKEN", "at-hand"),
        ("BEARER_TOKEN_FILE", "from-a-file"),
        ("XDG_RUNTIME_DIR", "from-the-session"),
    ):
        token = discovered(environment)
        assert token is not None
        assert token() == wanted
        del environment[name]


def test_a_token_that_is_renewed_in_its_file_is_used(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    token = token_in(file)
    file.write_text("second")
    assert token() == "second"


@pytest.mark.parametrize(
    ("content", "why"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "it is no text")]
)
def test_a_token_file_without_a_token_is_wrong_usage(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(WrongUsage, match=why):
        token_in(tmp_path / "token")
