"""What some cases need of a dCache elsewhere, and how a run is told of it. A case that lacks it is skipped by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

ABOUT_THE_EMULATOR = frozenset({"authority", "issuer"})
"""Fixtures of cases that make their own emulator, or look into the one there is."""
_UNDER_TEST = frozenset({"dcache", "told"})


@dataclass(frozen=True)
class Need:
    """options and variables: each must be given; here: it is there when the dCache runs on this machine."""

    options: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    here: bool = False

    def missing(self, config: pytest.Config) -> list[str]:
        """What is to be given."""
        if self.here and urlsplit(config.getoption("--dcache")).hostname in ("localhost", "127.0.0.1"):
            return []
        return [
            *(option for option in self.options if not config.getoption(option)),
            *(name for name in self.variables if name not in os.environ),
        ]


NEEDS = {
    "anything": Need(("--dcache-ca",), ("DCACHE_USER", "DCACHE_PASSWORD")),
    "frontend": Need(("--dcache-frontend",)),
    "unencrypted door": Need(("--dcache-plain",)),
    "way back": Need(("--dcache-peer",), here=True),
    "broker": Need(("--dcache-kafka",)),
    "another user": Need(variables=("DCACHE_OTHER_USER", "DCACHE_OTHER_PASSWORD")),
    "administrator": Need(variables=("DCACHE_ADMIN_USER", "DCACHE_ADMIN_PASSWORD")),
    "certificate": Need(variables=("DCACHE_CERTIFICATE", "DCACHE_KEY")),
    "token": Need(variables=("DCACHE_TOKEN",)),
}


def is_about_the_emulator(item: pytest.Item) -> bool:
    """Whether a case would say nothing of a dCache elsewhere."""
    used = set(getattr(item, "fixturenames", ()))
    return not used & _UNDER_TEST or bool(used & ABOUT_THE_EMULATOR)


def reason(item: pytest.Item) -> str | None:
    """Why a case cannot be asked of the dCache that is named; None when it can."""
    for marker in item.iter_markers("needs"):
        (need,) = marker.args
        if missing := NEEDS[need].missing(item.config):
            return f"needs {need}: give {' and '.join(missing)}"
    return None
