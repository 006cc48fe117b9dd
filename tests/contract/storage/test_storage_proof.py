"""The proofs that the roles run, against real services: they hold, and they fail where something is wrong."""

from __future__ import annotations

import json
from typing import Any

from storage_rig import SECRETS, TokenIssuer
from storage_servers import Cache, Site

from xdc_testbed.clients import proof


def ask(issuer: TokenIssuer, what: str, **more: object) -> dict[str, Any]:
    question = {
        "what": what,
        "issuer": issuer.url,
        "client_id": "demo",
        "client_secret": SECRETS["demo"],
        "ca_file": str(issuer.authority.ca),
        **more,
    }
    return proof.answer(json.dumps(question))


def storage(site: Site) -> dict[str, object]:
    return {"https": site.https, "root": site.root, "folder": "/data", "ca_directory": str(site.authority.hashed)}


def test_a_right_issuer_is_proved(issuer: TokenIssuer) -> None:
    assert ask(issuer, "issuer", scope="storage.read:/data")["ok"]


def test_a_storage_is_proved_and_left_as_it_was(issuer: TokenIssuer, site: Site) -> None:
    before = sorted(site.stored("/data").iterdir())
    assert ask(issuer, "storage", **storage(site))["ok"]
    assert sorted(site.stored("/data").iterdir()) == before


def test_a_cache_is_proved(issuer: TokenIssuer, site: Site, cache: Cache) -> None:
    assert ask(issuer, "cache", https=cache.https, origin=site.https, folder="/data")["ok"]


def test_a_cache_that_is_the_origin_itself_is_no_cache(issuer: TokenIssuer, site: Site) -> None:
    answer = ask(issuer, "cache", https=site.https, origin=site.https, folder="/data")
    assert (answer["ok"], answer["step"]) == (False, "GET of what only the cache still has")


def test_a_storage_that_lets_everybody_read_is_refused(issuer: TokenIssuer, site: Site) -> None:
    question = storage(site) | {"folder": "/pub", "client_id": "interop", "client_secret": SECRETS["interop"]}
    answer = ask(issuer, "storage", **question)
    assert (answer["ok"], answer["step"]) == (False, "GET without a credential is denied")


def test_a_wrong_secret_is_named_without_being_shown(issuer: TokenIssuer, site: Site) -> None:
    answer = ask(issuer, "storage", **storage(site), client_secret="guessed-wrongly")
    assert not answer["ok"]
    assert "guessed-wrongly" not in json.dumps(answer)


def test_a_storage_that_does_not_answer_is_named(issuer: TokenIssuer, site: Site) -> None:
    answer = ask(issuer, "storage", **storage(site) | {"https": "https://localhost:1"})
    assert (answer["ok"], answer["step"]) == (False, "PUT over https with a token")
