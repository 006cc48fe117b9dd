"""One broker, one platform, one router and one dispatcher for all tests here: they start in seconds, not in
no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from dcache_source_rig import Authority, DcacheUnderTest, Events, storage
from event_rig import Broker, Dispatch, Results, Router
from platform_stub import Platform

RULES = """
[[rule]]
name = "noop"
match = { types = ["written"], paths = ["/data/*/noop-*"] }
action = [{ name = "/_/xdc/noop" }]
[[rule]]
name = "broken"
match = { types = ["written"], paths = ["/data/*/broken-*"] }
action = [{ name = "/_/xdc/broken" }]
[[rule]]
name = "flaky"
match = { types = ["written"], paths = ["/data/*/flaky-*"] }
action = [{ name = "/_/xdc/flaky" }]
[[rule]]
name = "busy"
match = { types = ["written"], paths = ["/data/*/busy-*"] }
action = [{ name = "/_/xdc/busy" }]
"""


@dataclass(frozen=True)
class Pipeline:
    """Everything that runs."""

    broker: Broker
    platform: Platform
    router: Router
    dispatch: Dispatch
    results: Results


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    platform = Platform()
    router = Router(broker, RULES)
    dispatch = Dispatch(broker, platform.url, settings="retries = { first = 0.05, throttled_longest = 0.2 }")
    results = Results(broker)
    yield Pipeline(broker, platform, router, dispatch, results)
    results.close()
    statuses = {each.name: each.stop() for each in (router.process, dispatch.process)}
    broker.stop()
    platform.stop()
    assert statuses == {"router": 0, "dispatcher": 0}


@pytest.fixture(scope="session")
def dcache(pipeline: Pipeline, authority: Authority) -> Iterator[DcacheUnderTest]:
    """A dCache that tells the broker of its files."""
    with storage(pipeline.broker, authority) as started:
        yield started


@pytest.fixture
def events(pipeline: Pipeline) -> Iterator[Events]:
    """What is told from now on."""
    found = Events(pipeline.broker)
    yield found
    found.close()
