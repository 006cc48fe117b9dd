"""Demonstrations on a pretended testbed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pretend import ENDPOINTS, FUNCTIONS, PretendTail, Testbed, settings_for  # noqa: E402

from xdc_testbed import endpoints  # noqa: E402
from xdc_testbed.demo import places, story  # noqa: E402
from xdc_testbed.demo.facts import Story  # noqa: E402

Told = tuple[Story, Path]


def tell(folder: Path, testbed: Testbed, report: Callable[[story.Step], None] = lambda step: None, **changes: object) -> Told:
    """Run the demonstration in a folder; the story and the folder for the judge."""
    settings = story.Settings(**settings_for(folder, **changes))
    settings.endpoints.write_text(endpoints.dump([*ENDPOINTS, FUNCTIONS]))
    with (
        mock.patch.object(places, "client", lambda endpoint, credentials: testbed.storages[endpoint.id]),
        mock.patch.object(story, "KafkaAccess"),
        mock.patch.object(story, "Tail", lambda access, topics: PretendTail(testbed)),
    ):
        return story.tell(settings, report), settings.out


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A demonstration that went well."""
    yield tell(tmp_path_factory.mktemp("demo"), Testbed())
