"""The token issuer's promises, without a server."""

from __future__ import annotations

import base64
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from xdc_testbed.clients.token_times import TokenTimes
from xdc_testbed.emulators import token_issuer
from xdc_testbed.emulators.token_issuer import Client, Config, Issuer, Refused, Scope
from xdc_testbed.errors import WrongUsage

SECRET = "s3cret/+ with:colon"


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    config = Config(
        issuer="https://issuer.test:8444",
        certificate=tmp_path / "cert.pem",
        private_key=tmp_path / "key.pem",
        state_directory=tmp_path,
        secrets_file=tmp_path / "secrets.toml",
        longest_lifetime=7200,
        clients={"demo": Client(scopes=("storage.read:/data", "storage.modify:/data/proc"))},
    )
    return Issuer(config, {"demo": SECRET}, token_issuer.signing_key(tmp_path))


def claims(issuer: Issuer, answer: dict[str, object]) -> dict[str, object]:
    keys = KeySet.import_key_set(issuer.jwks())  # type: ignore[arg-type]
    return dict(jwt.decode(str(answer["access_token"]), keys, algorithms=["ES256"]).claims)


def form(**more: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_id": "demo", "client_secret": SECRET, **more}


def test_a_token_carries_the_claims_of_the_wlcg_profile(issuer: Issuer) -> None:
    answer = issuer.grant(None, form(scope="storage.read:/data/raw"))
    found = claims(issuer, answer)
    assert found["iss"] == "https://issuer.test:8444"
    assert found["wlcg.ver"] == "1.0"
    assert found["sub"] == "demo"
    assert found["aud"] == token_issuer.ANY_AUDIENCE
    assert found["scope"] == answer["scope"] == "storage.read:/data/raw"
    assert found["exp"] == pytest.approx(time.time() + 3600, abs=30)
    assert found["jti"]


def test_a_token_is_good_at_once_where_the_clock_is_behind(issuer: Issuer) -> None:
    """scitokens-cpp takes none that was issued, or begins, later than its own clock says."""
    times = TokenTimes.of(str(issuer.grant(None, form())["access_token"]))
    assert times is not None
    assert times.good(time.time() - token_issuer.CLOCK_TOLERANCE)


def test_every_token_has_an_identity_of_its_own(issuer: Issuer) -> None:
    assert claims(issuer, issuer.grant(None, form()))["jti"] != claims(issuer, issuer.grant(None, form()))["jti"]


def test_a_request_without_scope_gets_all_that_the_client_may_have(issuer: Issuer) -> None:
    assert issuer.grant(None, form())["scope"] == "storage.read:/data storage.modify:/data/proc"


@pytest.mark.parametrize(
    "scope",
    [
        "storage.read:/",
        "storage.read:/database",
        "storage.modify:/data",
        "storage.read:/data/../etc",
        "storage.read:data",
        "storage.read",
        "storage.modify",
        "compute.create",
    ],
)
def test_a_scope_beyond_the_clients_limits_is_refused(issuer: Issuer, scope: str) -> None:
    with pytest.raises(Refused) as refusal:
        issuer.grant(None, form(scope=scope))
    assert refusal.value.error == "invalid_scope"


def test_modify_includes_create_but_not_the_other_way_round(issuer: Issuer) -> None:
    assert issuer.grant(None, form(scope="storage.create:/data/proc/r0001"))
    assert not Scope.parse("storage.create:/data").covers(Scope.parse("storage.modify:/data"))


def test_basic_authentication_is_decoded_as_the_oauth_rule_says(issuer: Issuer) -> None:
    encoded = base64.b64encode(b"demo:s3cret%2F%2B+with%3Acolon").decode()
    assert issuer.grant(f"Basic {encoded}", {"grant_type": "client_credentials"})


@pytest.mark.parametrize(
    ("authorization", "fields"),
    [
        (None, form(client_secret="wrong")),
        (None, form(client_id="nobody", client_secret="")),
        (None, {"grant_type": "client_credentials"}),
        ("Basic ????", form()),
        ("Bearer abc", form()),
    ],
)
def test_a_wrong_client_is_refused(issuer: Issuer, authorization: str | None, fields: dict[str, str]) -> None:
    with pytest.raises(Refused) as refusal:
        issuer.grant(authorization, fields)
    assert (refusal.value.error, refusal.value.status) == ("invalid_client", 401)


def test_another_grant_type_is_refused(issuer: Issuer) -> None:
    with pytest.raises(Refused) as refusal:
        issuer.grant(None, form(grant_type="password"))
    assert refusal.value.error == "unsupported_grant_type"


def test_a_lifetime_is_taken_up_to_the_longest(issuer: Issuer) -> None:
    assert issuer.grant(None, form(lifetime="5"))["expires_in"] == 5
    assert issuer.grant(None, form(lifetime="999999"))["expires_in"] == 7200


@pytest.mark.parametrize("lifetime", ["0", "-1", "soon", "", "1e9", "٣"])
def test_a_lifetime_that_is_no_number_of_seconds_is_refused(issuer: Issuer, lifetime: str) -> None:
    with pytest.raises(Refused):
        issuer.grant(None, form(lifetime=lifetime))


def test_several_audiences_become_a_list(issuer: Issuer) -> None:
    found = claims(issuer, issuer.grant(None, form(audience="https://a.test https://b.test")))
    assert found["aud"] == ["https://a.test", "https://b.test"]


def test_the_signing_key_survives_a_restart_and_is_private(tmp_path: Path) -> None:
    first = token_issuer.signing_key(tmp_path)
    again = token_issuer.signing_key(tmp_path)
    assert first.thumbprint() == again.thumbprint()
    assert stat.S_IMODE((tmp_path / "signing-key.pem").stat().st_mode) == 0o600


def test_the_published_key_has_no_private_part(issuer: Issuer) -> None:
    (key,) = issuer.jwks()["keys"]  # type: ignore[misc]
    assert "d" not in key
    assert ECKey.import_key(key).is_private is False


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("issuer = 'http://plain'", "issuer"),
        ("isuer = 'https://x'", "issuer"),
        ("not toml", "cannot read"),
    ],
)
def test_a_wrong_configuration_names_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "token-issuer.toml"
    path.write_text(text)
    with pytest.raises(WrongUsage, match=named):
        token_issuer.load(path)


def test_a_wrong_clock_of_the_environment_dates_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five minutes behind and living for four: expired when it is issued."""
    (tmp_path / "secrets.toml").write_text(f"demo = {SECRET!r}\n")
    path = tmp_path / "token-issuer.toml"
    path.write_text(
        f"issuer = 'https://i.test'\ncertificate = 'c'\nprivate_key = 'k'\nstate_directory = '{tmp_path}'\n"
        f"secrets_file = '{tmp_path}/secrets.toml'\n[clients.demo]\nscopes = ['storage.read:/data']\n"
    )
    monkeypatch.setenv("XDC_ISSUER_CLOCK_OFFSET", "-300")
    monkeypatch.setenv("XDC_ISSUER_LONGEST_LIFETIME", "240")
    issuer = Issuer(*token_issuer.load(path), token_issuer.signing_key(tmp_path))
    found = claims(issuer, issuer.grant(None, form()))
    assert found["exp"] == pytest.approx(time.time() - 300 + 240, abs=30)
    assert found["iat"] == found["nbf"] == pytest.approx(time.time() - 300 - token_issuer.CLOCK_TOLERANCE, abs=30)


def test_a_client_without_secret_is_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "secrets.toml").write_text("")
    path = tmp_path / "token-issuer.toml"
    path.write_text(
        f"issuer = 'https://i.test'\ncertificate = 'c'\nprivate_key = 'k'\nstate_directory = '{tmp_path}'\n"
        f"secrets_file = '{tmp_path}/secrets.toml'\n[clients.demo]\nscopes = ['storage.read:/data']\n"
    )
    with pytest.raises(WrongUsage, match="demo"):
        token_issuer.load(path)


paths = st.lists(st.sampled_from(["data", "raw", "proc", "database", "d"]), max_size=4).map("/".join)


@given(above=paths, below=paths)
def test_a_path_covers_itself_and_all_below_and_nothing_else(above: str, below: str) -> None:
    limit, wish = Scope.parse(f"storage.read:/{above}"), Scope.parse(f"storage.read:/{below}")
    own, other = [p for p in above.split("/") if p], [p for p in below.split("/") if p]
    assert limit.covers(wish) == (other[: len(own)] == own)
