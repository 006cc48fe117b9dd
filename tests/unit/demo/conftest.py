"""Demonstrations on a pretended testbed."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pretend import ENDPOINTS, FUNCTIONS, PretendTail, PretendTestbed, Storage, settings_for

from xdc_testbed import endpoints
from xdc_testbed.demo import places, story
from xdc_testbed.demo.detector_data import DetectorPlan, FileId, RunPlan
from xdc_testbed.demo.facts import Story

Told = tuple[Story, Path]


def silent(step: Step) -> None:
    """Says nothing."""


PLAN = RunPlan(
    detectors=(
        DetectorPlan(kind="JUNGFRAU", detector_id="SPB_IRDA_JF4M", modules=(1,), trains=1),
        DetectorPlan(kind="AGIPD", detector_id="SPB_DET_AGIPD1M-1", modules=(0, 1), sequences=2, cells=2),
    ),
    missing=FileId(module="AGIPD00", sequence=1),
    truncated=FileId(module="AGIPD01", sequence=1),
)
"""Five small files with everything that may go wrong."""


def tell(folder: Path, testbed: PretendTestbed, report: Report = silent, **changes: object) -> Told:
    """Run the demonstration in a folder; the story and the folder for the judge."""
    settings = story.Settings(**settings_for(folder, **changes))
    settings.endpoints.write_text(endpoints.dump([*ENDPOINTS, FUNCTIONS]))

    def client(endpoint: Endpoint, credentials: Path) -> Storage:
        return testbed.storages[endpoint.id]

    with (
        mock.patch.dict(story.PLANS, {"tiny": lambda: PLAN}),
        mock.patch.object(places, "client", client),
        mock.patch.object(story, "KafkaAccess"),
        mock.patch.object(story, "Tail", return_value=PretendTail(testbed)),
    ):
        return story.tell(settings, report), settings.out


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A demonstration that went well."""
    return tell(tmp_path_factory.mktemp("demo"), PretendTestbed())
