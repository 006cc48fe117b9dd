"""The token issuer's tests stand on the same authority and processes as those of the storages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from storage_rig import Authority, TokenIssuer, folder, running


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with folder("pki") as home:
        yield Authority.make(home)


@pytest.fixture(scope="module")
def issuer(authority: Authority) -> Iterator[TokenIssuer]:
    with folder("issuer") as home, running(TokenIssuer(home, authority)) as server:
        yield server
