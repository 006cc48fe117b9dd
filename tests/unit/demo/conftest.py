"""Demonstrations on a pretended testbed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pretend import PretendTestbed, Told, tell


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A demonstration that went well."""
    return tell(tmp_path_factory.mktemp("demo"), PretendTestbed())
