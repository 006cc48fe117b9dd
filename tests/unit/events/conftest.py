"""One event, as tests of the pipeline need it."""

from __future__ import annotations

import pytest

from xdc_testbed.events.model import EventType, StorageData, StorageEvent


@pytest.fixture
def written() -> StorageEvent:
    """A raw file was written at desy."""
    return StorageEvent.make(
        EventType.WRITTEN,
        "/data/raw/r0001/RAW-R0001-JNGFR01-S00000.h5",
        StorageData(endpoint="desy-storage", size=1000, closed_at=1_700_000_000.25),
        testbed="t",
        session="1:0:0",
    )
