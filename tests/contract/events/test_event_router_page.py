"""The watching page of a running pipeline, and what a browser without internet makes of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from event_rig import Process, free_ports, produce_events, storage_event, until

from xdc_testbed.events.look import pictures
from xdc_testbed.processes import run

if TYPE_CHECKING:
    from conftest import Pipeline

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def page(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address, after files have gone their way in front of its eyes."""
    folder = tmp_path_factory.mktemp("page")
    (port,) = free_ports(1)
    config = folder / "event-router.toml"
    config.write_text(f"""
[kafka]
bootstrap = "{pipeline.broker.kafka.bootstrap}"
ca_file = "{pipeline.broker.kafka.ca_file}"
[page]
user = "client"
password_file = "{pipeline.broker.password_file("client")}"
listen = "127.0.0.1:{port}"
every = 0.2
""")
    args: list[str | Path] = [sys.executable, "-m", "xdc_testbed.events.page", "--config", config]
    service = Process("page", args, folder / "log")
    url = f"http://127.0.0.1:{port}"
    until(lambda: picture(url)["lag"] if answers(url) else None, "page that knows the lag")
    produce_events(
        pipeline.broker, [storage_event(f"/data/page/{kind}-{n}") for kind in ("noop", "broken") for n in range(5)]
    )
    pipeline.results.wait("/data/page/", 10)
    until(lambda: picture(url)["results"] >= 10 and picture(url)["dead_letters"] >= 5, "results on the page")
    yield url
    assert service.stop() == 0


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/picture", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def picture(url: str) -> dict[str, Any]:
    told: dict[str, Any] = httpx2.get(f"{url}/picture", trust_env=False).json()
    return told


def chromium(profile: Path, *args: str) -> bytes:
    """What Chromium writes to standard output."""
    fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--window-size=1200,900")
    return run(["chromium", *fixed, f"--user-data-dir={profile}", *args], timeout=90).stdout


def test_the_page_counts_what_the_pipeline_did(page: str) -> None:
    told = picture(page)
    assert told["rules"]["noop"]["ok"] >= 5
    assert told["rules"]["broken"]["failed"] >= 5
    assert told["latency_ms"]["p50"] > 0
    assert set(told["lag"]) == {"router", "dispatcher"}


def test_pictures_come_live(page: str) -> None:
    with httpx2.stream("GET", f"{page}/live", trust_env=False, timeout=20) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        first, second = (json.loads(next(lines).removeprefix("data: ")) for _ in range(2))
    assert first["at"] < second["at"]


def test_pictures_are_printed_for_the_terminal(page: str) -> None:
    assert [json.loads(text)["at"] > 0 for text in islice(pictures(page), 2)] == [True, True]


def test_a_browser_shows_rules_dead_letters_and_ways(page: str, tmp_path: Path) -> None:
    text = chromium(tmp_path, "--dump-dom", f"{page}/?still").decode()
    assert "input is no raw file" in text
    assert "desy-storage:/data/page/broken-" in text
    assert ">noop<" in text
    assert "connecting" not in text


def test_a_browser_draws_it(page: str, tmp_path: Path) -> None:
    drawn = tmp_path / "page.png"
    chromium(tmp_path / "profile", f"--screenshot={drawn}", f"{page}/?still")
    assert drawn.read_bytes().startswith(PNG)
    assert drawn.stat().st_size > 20_000
