"""One authority and one token issuer for all contract tests of a session; each folder brings what it tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "storage"))

from storage_rig import Authority, TokenIssuer, folder, running


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """The authority of all certificates."""
    with folder("pki") as home:
        yield Authority.make(home)


@pytest.fixture(scope="session")
def issuer(authority: Authority) -> Iterator[TokenIssuer]:
    """The issuer that all servers trust."""
    with folder("issuer") as home, running(TokenIssuer(home, authority)) as server:
        yield server
