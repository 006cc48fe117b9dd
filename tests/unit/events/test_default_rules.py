"""The rules that the role writes: valid, and meaning what the demonstration needs."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
import yaml

from xdc_testbed import content
from xdc_testbed.events.model import EventType, StorageData, StorageEvent
from xdc_testbed.events.rules import Rules, parse

TEMPLATES = content.root() / "roles" / "event_router" / "templates"


def default_runs(storages: list[dict[str, Any]]) -> Any:
    """The runs that the role knows by itself, with the expressions in them worked out."""
    text = (TEMPLATES.parent / "defaults" / "main.yml").read_text()
    runs = yaml.safe_load(text)["event_router_runs"]
    engine = jinja2.Environment()  # noqa: S701 - what it writes is no HTML
    for run in runs:
        run["endpoints"] = engine.compile_expression(run["endpoints"].strip("{} "))(testbed_storages=storages)
    return runs


def rules(*storages: str, product: str = "xrootd", runs: list[dict[str, Any]] | None = None) -> Rules:
    engine = jinja2.Environment(  # noqa: S701 - what it writes is no HTML
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    testbed = [{"name": name, "product": product} for name in storages]
    engine.filters["to_json"] = json.dumps
    template = engine.get_template("rules.toml.j2")
    return parse(
        template.render(
            _event_router_storages=list(storages),
            testbed_storages=testbed,
            event_router_runs=default_runs(testbed) if runs is None else runs,
        )
    )


def actions(found: Rules, path: str, kind: EventType, endpoint: str = "desy-storage") -> list[tuple[str, object]]:
    data = StorageData(endpoint=endpoint, size=1, closed_at=1)
    event = StorageEvent.make(kind, path, data, testbed="t", session="s")
    return [(item.action, item.parameters.get("destination")) for item in found.work(event, now=1)]


RAW = "/data/raw/r0001/RAW-R0001-JNGFR01-S00000.h5"
CORRECTED = "/data/proc/r0001/CORR-R0001-JNGFR01-S00000.h5"


@pytest.mark.parametrize("kind", [EventType.WRITTEN, EventType.MOVED])
def test_a_raw_file_is_calibrated(kind: EventType) -> None:
    assert actions(rules("desy-storage", "remote-storage"), RAW, kind) == [("/_/xdc/calibrate", None)]


@pytest.mark.parametrize("path", [CORRECTED, f"{CORRECTED}.manifest.json"])
def test_a_corrected_file_and_its_manifest_are_shipped(path: str) -> None:
    found = rules("desy-storage", "remote-storage")
    assert actions(found, path, EventType.MOVED) == [("/_/xdc/transfer", "remote-storage")]


def test_a_manifest_that_arrives_at_the_remote_site_is_recorded() -> None:
    found = rules("desy-storage", "remote-storage")
    manifest = f"{CORRECTED}.manifest.json"
    assert actions(found, manifest, EventType.MOVED, "remote-storage") == [("/_/xdc/catalogue", None)]


def test_with_dcache_raw_data_moves_to_tape_when_its_manifest_has_arrived_at_the_remote_site() -> None:
    found = rules("desy-storage", "remote-storage", product="dcache")
    manifest = f"{CORRECTED}.manifest.json"
    asked = [name for name, _ in actions(found, manifest, EventType.MOVED, "remote-storage")]
    assert asked == ["/_/xdc/catalogue", "/_/xdc/qos"]


def test_other_files_that_arrive_at_the_remote_site_start_nothing() -> None:
    found = rules("desy-storage", "remote-storage")
    assert [actions(found, path, EventType.MOVED, "remote-storage") for path in (RAW, CORRECTED)] == [[], []]


def test_with_one_storage_nothing_is_shipped() -> None:
    assert actions(rules("desy-storage"), CORRECTED, EventType.MOVED) == []


def test_a_file_in_the_bench_folder_starts_a_noop_at_every_storage() -> None:
    found = rules("desy-storage", "remote-storage")
    assert actions(found, "/data/bench/a", EventType.WRITTEN, "remote-storage") == [("/_/xdc/noop", None)]


def test_a_removed_file_starts_nothing() -> None:
    assert actions(rules("desy-storage", "remote-storage"), RAW, EventType.DELETED) == []


def test_a_raw_file_and_a_manifest_in_its_folder_belong_to_a_run_of_the_first_storage() -> None:
    found = rules("desy-storage", "remote-storage")
    for path, kind in ((RAW, "file"), ("/data/raw/r0001/manifest.json", "manifest")):
        for endpoint, expected in (("desy-storage", [kind]), ("remote-storage", [])):
            event = StorageEvent.make(
                EventType.WRITTEN, path, StorageData(endpoint=endpoint, size=1, closed_at=1), testbed="t", session="s"
            )
            assert [each.kind for each in found.arrivals(event, now=1)] == expected


@pytest.mark.parametrize("expect", [{"count": 4}, {"quiet_seconds": 2.5}, {"manifest": "/data/raw/{run}/list.txt"}])
def test_a_run_is_complete_by_what_the_role_is_given(expect: dict[str, Any]) -> None:
    run = {"name": "mine", "types": ["moved"], "paths": ["/data/raw/{run}/*.h5"], "expect": expect}
    (table,) = rules("desy-storage", runs=[run]).run
    assert table.expect.model_dump(exclude_none=True) == expect
    assert table.types == (EventType.MOVED,)
