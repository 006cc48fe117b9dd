"""Who asks a storage about its files: by token, by password, by certificate, or by a client of an issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from xdc_testbed.clients.errors import Unreachable
from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.sources.frontend import FrontendTable, WebDavTable

URL = "https://frontend.test:3880"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("tester:word")
    return file


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"token_file": "/a", "basic_file": "/b"},
        {"certificate": "/a"},
        {"issuer": "https://issuer.test"},
        {"issuer": "https://issuer.test", "client_id": "events"},
    ],
)
def test_one_whole_credential_is_wanted(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FrontendTable(url=URL, **keys)


def test_a_token_out_of_a_file_is_sent(secret: Path) -> None:
    with FrontendTable(url=URL, token_file=secret).open() as client:
        assert client.headers() == {"Authorization": "Bearer tester:word"}


def test_a_password_is_read_from_its_file(secret: Path) -> None:
    with FrontendTable(url=URL + "/api/v1/", basic_file=secret).open() as client:
        assert client.base_url == URL


@pytest.mark.parametrize("key", ["token_file", "basic_file"])
def test_a_file_that_others_may_read_is_refused(key: str, secret: Path) -> None:
    secret.chmod(0o640)
    with (
        pytest.raises(WrongUsage, match="others may read it"),
        FrontendTable(url=URL, **{key: secret}).open() as client,
    ):
        client.headers()


def test_an_issuer_that_is_away_is_named(secret: Path) -> None:
    table = FrontendTable(url=URL, issuer="https://127.0.0.1:9", client_id="events", secret_file=secret)
    with (
        table.open() as client,
        pytest.raises(Unreachable, match=r"token issuer https://127\.0\.0\.1:9 does not answer"),
    ):
        client.headers()


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    table = FrontendTable(url=URL, issuer="https://i.test", client_id="events", secret_file=tmp_path / "none")
    with pytest.raises(WrongUsage, match="none"):
        table.open()


def test_webdav_knows_no_passwords(secret: Path) -> None:
    with pytest.raises(ValidationError, match="not possible here"):
        WebDavTable(url=URL, basic_file=secret)


def test_webdav_by_token(secret: Path) -> None:
    with WebDavTable(url=URL, token_file=secret).open() as client:
        assert client.base_url == URL
