"""What the role's verify runs on a node, against the emulator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dcache_rig import DcacheUnderTest
from storage_rig import SECRETS, TokenIssuer

from xdc_testbed.clients import proof


@pytest.fixture
def question(dcache: DcacheUnderTest, issuer: TokenIssuer) -> dict[str, Any]:
    return {
        "what": "dcache",
        "https": dcache.webdav,
        "frontend": dcache.frontend,
        "folder": "/data",
        "ca_file": str(dcache.ca),
        "ca_directory": str(issuer.authority.hashed),
        "issuer": issuer.url,
        "client_id": "interop",
        "client_secret": SECRETS["interop"],
    }


def test_every_step_of_the_proof_is_made(question: dict[str, Any]) -> None:
    told = proof.answer(json.dumps(question))
    assert told["ok"], told
    assert told["steps"][-4:] == [
        "a channel for storage events",
        "the close of an upload is announced",
        "third-party copy by the storage itself",
        "disk to tape",
    ]


def test_a_frontend_that_is_not_there_fails_the_proof_at_its_step(question: dict[str, Any]) -> None:
    told = proof.answer(json.dumps({**question, "frontend": "https://localhost:9"}))
    assert (told["ok"], told["step"]) == (False, "a channel for storage events")
