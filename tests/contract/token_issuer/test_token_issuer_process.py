"""The token issuer as a process, asked over TLS by the kit's own client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from storage_rig import ROOT, TokenIssuer

from xdc_testbed.clients.errors import TokenRefused, Unreachable
from xdc_testbed.clients.tls import tls_context
from xdc_testbed.clients.tokens import TokenSource


def keys(issuer: TokenIssuer) -> KeySet:
    with httpx2.Client(verify=tls_context(issuer.authority.ca)) as http:
        return KeySet.import_key_set(http.get(f"{issuer.url}/jwks").json())


def test_a_token_is_checked_with_the_published_key(issuer: TokenIssuer) -> None:
    token = issuer.source("demo", "storage.read:/data/raw").token()
    claims = jwt.decode(token, keys(issuer), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["sub"], claims["scope"]) == (issuer.url, "demo", "storage.read:/data/raw")


def test_discovery_leads_to_the_key_and_names_the_issuer(issuer: TokenIssuer) -> None:
    with httpx2.Client(verify=tls_context(issuer.authority.ca)) as http:
        found = http.get(f"{issuer.url}/.well-known/openid-configuration").json()
        assert found["issuer"] == issuer.url
        assert http.get(found["jwks_uri"]).json()["keys"][0]["crv"] == "P-256"


def test_tokens_stay_good_over_a_restart(issuer: TokenIssuer) -> None:
    token = issuer.source().token()
    issuer.stop()
    issuer.start()
    assert jwt.decode(token, keys(issuer), algorithms=["ES256"]).claims["sub"] == "interop"


def test_a_client_gets_no_more_than_it_may_have(issuer: TokenIssuer) -> None:
    with pytest.raises(TokenRefused) as refused:
        issuer.source("demo").fetch("storage.modify:/")
    assert (refused.value.status, refused.value.error) == (400, "invalid_scope")


def test_a_wrong_secret_is_refused(issuer: TokenIssuer) -> None:
    stranger = TokenSource(issuer.url, "demo", "wrong", issuer.authority.ca, "storage.read:/data")
    with pytest.raises(TokenRefused) as refused:
        stranger.token()
    assert (refused.value.status, refused.value.error) == (401, "invalid_client")


def test_an_issuer_of_another_authority_is_not_asked(issuer: TokenIssuer) -> None:
    with pytest.raises(Unreachable):
        TokenSource(issuer.url, "demo", "any", None, "storage.read:/data").token()


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe\x00", b"grant_type", b"&&&==", b"scope=" + b"a" * 100_000, b"grant_type=client_credentials"],
)
def test_a_malformed_request_is_a_clean_refusal(issuer: TokenIssuer, body: bytes) -> None:
    with httpx2.Client(verify=tls_context(issuer.authority.ca)) as http:
        answer = http.post(f"{issuer.url}/token", content=body)
    assert answer.status_code in {400, 401, 413}
    assert answer.json()["error"]


def test_neither_token_nor_secret_is_in_the_log(issuer: TokenIssuer) -> None:
    token = issuer.source().token()
    log = issuer.process.log.read_text()
    assert "interop" in log
    assert token not in log
    assert "interop-secret" not in log


def test_plain_http_gets_nothing(issuer: TokenIssuer) -> None:
    with socket.create_connection(("localhost", issuer.port), timeout=10) as plain:
        plain.sendall(b"GET /jwks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in plain.recv(1000)


def test_a_wrong_configuration_ends_with_status_2_and_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "issuer.toml").write_text("isuer = 'https://x.test'\n")
    arguments = [sys.executable, "-m", "xdc_testbed.emulators.token_issuer", "--config", tmp_path / "issuer.toml"]
    done = subprocess.run(
        arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
