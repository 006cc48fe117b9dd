"""Runs that are complete by manifest, at a real XRootD and at the dCache emulator, by a testbed's own programs."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import RULES
from dcache_source_rig import ENDPOINT, Authority, door, kafka_source, storage
from event_rig import Source, until

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from storage_rig import SECRETS, TokenIssuer, folder, running
from storage_servers import Site

from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import DEAD_LETTERS, RUN_ARRIVALS, RUN_EVENTS
from xdc_testbed.events.model import DeadLetter, StorageEvent
from xdc_testbed.events.runs import Arrival

if TYPE_CHECKING:
    from conftest import Pipeline

RUNS = """
[[run]]
name = "listed"
paths = ["/data/raw/{run}/RAW-*-{module}-S{sequence}.h5"]
expect = { manifest = "/data/raw/{run}/manifest.json" }
[[rule]]
name = "report"
match = { types = ["run-complete"], paths = ["/data/raw/*"] }
action = [{ name = "/_/xdc/noop" }]
"""


@dataclass(frozen=True)
class Run:
    """One run at one storage: its folder, and what is said of it."""

    pipeline: Pipeline
    webdav: WebDav
    endpoint: str
    folder: str

    def put(self, name: str, content: bytes = b"x") -> None:
        """Upload a file of the run."""
        self.webdav.put(f"{self.folder}/{name}", content)

    def said(self, kind: str) -> int:
        """How often the router has told itself something of the run."""
        with Feed(self.pipeline.broker.connection("admin"), RUN_ARRIVALS) as feed:
            arrivals = [Arrival.model_validate_json(entry.value) for entry in feed.until_now()]
        return sum((each.endpoint, each.folder, each.kind) == (self.endpoint, self.folder, kind) for each in arrivals)

    def completions(self) -> list[tuple[int, int]]:
        """Revision and files of each of its events."""
        with Feed(self.pipeline.broker.connection("client"), RUN_EVENTS) as feed:
            events = [StorageEvent.model_validate_json(entry.value) for entry in feed.until_now()]
        unique = {
            each.id: each for each in events if (each.data.endpoint, each.subject) == (self.endpoint, self.folder)
        }
        return [(each.data.run.revision, each.data.run.files) for each in unique.values() if each.data.run]

    def reasons(self) -> list[str]:
        """Of the dead letters about it."""
        with Feed(self.pipeline.broker.connection("client"), DEAD_LETTERS) as feed:
            letters = [DeadLetter.model_validate_json(entry.value) for entry in feed.until_now()]
        return list(
            {each.id: each.reason for each in letters if f"{self.endpoint}:{self.folder} " in each.reason}.values()
        )

    def acted_once(self) -> None:
        """Wait for the action on the run; there was one."""
        self.pipeline.results.wait(self.folder, 1, 45)
        assert self.pipeline.platform.runs("noop")[self.folder] == 1


@pytest.fixture(scope="module")
def storages(
    pipeline: Pipeline, authority: Authority, issuer: TokenIssuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, WebDav]]:
    """A dCache and an XRootD with their sources, and a router that may read from both, and no more than read."""
    broker, home = pipeline.broker, tmp_path_factory.mktemp("manifests")
    with ExitStack() as stack:
        dcache = stack.enter_context(storage(broker, authority, issuer))
        site = stack.enter_context(running(Site(stack.enter_context(folder("site")), authority, issuer, "DESY")))
        billing = kafka_source(broker, dcache, home, "manifests")
        stack.callback(billing.process.stop)
        notices = Source(broker, home, site.home / "journal")
        stack.callback(notices.process.stop)
        secret = home / "demo.secret"
        secret.touch(0o600)
        secret.write_text(SECRETS["demo"])
        rules = pipeline.router.folder / "rules.toml"
        rules.write_text(RULES + RUNS)
        pipeline.router.restart(
            f"""
[router.manifests]
issuer = "{issuer.url}"
client_id = "demo"
client_secret_file = "{secret}"
ca_file = "{authority.ca}"
scope = "storage.read:/data"
storages = {{ {ENDPOINT} = "{dcache.webdav}", desy-storage = "{site.https}" }}
"""
        )
        token = issuer.source().token()
        yield {
            ENDPOINT: stack.enter_context(door(dcache)),
            "desy-storage": stack.enter_context(site.webdav(token=token)),
        }
        rules.write_text(RULES)
        before = pipeline.router.process.log.read_text().count("routing by")
        pipeline.router.restart()
        until(lambda: pipeline.router.process.log.read_text().count("routing by") > before, "router that routes")


@pytest.fixture(params=[ENDPOINT, "desy-storage"], ids=["dcache", "xrootd"])
def run(request: pytest.FixtureRequest, pipeline: Pipeline, storages: dict[str, WebDav]) -> Run:
    return Run(pipeline, storages[request.param], request.param, f"/data/raw/r{secrets.token_hex(4)}")


def raw(number: int) -> str:
    return f"RAW-R0001-JNGFR{number:02}-S00000.h5"


def listing(*numbers: int) -> bytes:
    return json.dumps({"files": [raw(number) for number in numbers]}).encode()


def text(*numbers: int) -> bytes:
    return "\n".join(["# of the run", *(raw(number) for number in numbers), ""]).encode()


@pytest.mark.parametrize("manifest", [listing, text], ids=["json", "text"])
def test_a_run_is_complete_when_its_manifest_comes_after_all_files(run: Run, manifest: Callable[..., bytes]) -> None:
    for number in (1, 2):
        run.put(raw(number))
    until(lambda: run.said("file") == 2, "both files")
    run.put("manifest.json", manifest(1, 2))
    run.acted_once()
    assert run.completions() == [(1, 2)]


def test_a_run_with_a_missing_file_is_complete_when_that_comes_late(run: Run) -> None:
    run.put(raw(1))
    run.put("manifest.json", listing(1, 2, 3))
    until(lambda: run.said("listed"), "the manifest is read")
    run.put(raw(2))
    until(lambda: run.said("file") == 2, "the second file")
    run.put(raw(3))
    run.acted_once()
    assert run.completions() == [(1, 3)]  # an earlier completion would have been revision 1, with fewer files


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (b'{"files": [', "it is not JSON"),
        (b'{"files": []}', "it names no file"),
        (b'{"files": [1]}', "it holds no list of names"),
        (b"\xff\xfe", "it is not UTF-8"),
    ],
)
def test_a_manifest_that_is_none_is_a_dead_letter_with_the_reason_and_may_be_mended(
    run: Run, wrong: bytes, reason: str
) -> None:
    run.put(raw(1))
    run.put("manifest.json", wrong)
    (letter,) = until(run.reasons, "a dead letter")
    assert f"manifest {run.folder}/manifest.json of run" in letter
    assert reason in letter
    assert run.completions() == []
    run.put("manifest.json", listing(1))
    run.acted_once()
    assert run.completions() == [(1, 1)]


def test_a_manifest_that_is_gone_when_it_is_to_be_read_is_a_dead_letter(run: Run) -> None:
    """Written and removed before the source tells: the router asks for what is no longer there."""
    run.put(raw(1))
    run.pipeline.router.process.kill()
    run.put("manifest.json", listing(1))
    run.webdav.delete(f"{run.folder}/manifest.json")
    (letter,) = until(run.reasons, "a dead letter")
    assert "it is not there" in letter
