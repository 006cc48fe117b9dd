"""The list of endpoints: a file that says what clients may use, without any secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xdc_testbed.endpoints import Credentials, Endpoint, dump, load

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_PATHS = st.none() | st.sampled_from([Path("/etc/xdc-testbed/ca.pem"), Path("relative/key.pem")])
_CREDENTIALS = st.builds(
    Credentials, issuer=st.none() | _TEXT, client_id=st.none() | _TEXT, client_secret_file=_PATHS, ca_file=_PATHS
)
_ENDPOINTS = st.builds(
    Endpoint,
    id=_TEXT,
    site=_TEXT,
    product=_TEXT,
    version=_TEXT,
    kind=st.sampled_from(["real", "emulator", "external"]),
    urls=st.dictionaries(_TEXT, _TEXT, max_size=3),
    credentials=_CREDENTIALS,
    capabilities=st.lists(_TEXT, max_size=3).map(tuple),
    origin=st.none() | _TEXT,
)


@given(st.lists(_ENDPOINTS, max_size=3))
def test_what_is_dumped_is_loaded(tmp_path_factory: pytest.TempPathFactory, endpoints: list[Endpoint]) -> None:
    file = tmp_path_factory.getbasetemp() / "endpoints.json"
    file.write_text(dump(endpoints))
    assert load(file) == endpoints


def external(**changes: object) -> str:
    """A list with one existing site, as somebody writes it by hand."""
    site = {"id": "a", "site": "b", "product": "dcache", "version": "9.2", "kind": "external", "urls": {}}
    return json.dumps([{**site, **changes}])


def test_a_site_needs_neither_credentials_nor_capabilities(tmp_path: Path) -> None:
    file = tmp_path / "sites.json"
    file.write_text(external())
    (endpoint,) = load(file)
    assert (endpoint.credentials, endpoint.capabilities, endpoint.origin) == (Credentials(), (), None)


@pytest.mark.parametrize(
    "changes", [{"kind": "fake"}, {"url": {}}, {"credentials": {"client_secret": "swordfish"}}, {"version": None}]
)
def test_a_misspelt_field_and_a_secret_in_place_of_a_reference_are_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    file = tmp_path / "sites.json"
    file.write_text(external(**changes))
    with pytest.raises(ValidationError):
        load(file)
