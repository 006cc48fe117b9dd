"""Detector data, the interoperability suite, and what happens when services die or places are cut off."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import PYTHON, Xdc

CLIENT = """
import json, sys, time, tomllib
from pathlib import Path
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import RESULTS, RUN_EVENTS, Connection
from xdc_testbed.events.model import Result, StorageEvent

here = Path("/etc/xdc-testbed")
ca, secret = here / "ca.pem", (here / "credentials/demo.secret").read_text().strip()
known = tomllib.loads((here / "kafka-client.toml").read_text())
password = Path(known["password_file"]).read_text().strip()
broker = Connection(bootstrap=known["bootstrap"], user=known["username"], password=password, ca_file=known["ca_file"])
tokens = TokenSource("https://desy-stream.xdc.test:8444", "demo", secret, ca, "storage.read:/data storage.modify:/data")
storage = WebDav("https://desy-storage.xdc.test:2880", ca_file=ca, token=tokens.token)

def told(topic, model):
    with Feed(broker, topic) as feed:
        return [model.model_validate_json(entry.value) for entry in feed.until_now()]

def until(seconds, look):
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found
"""
"""What a program on the client node starts with: storage, and what the broker was told."""

MANIFEST = """
run = min(entry.path.rstrip("/") for entry in storage.list("/data/raw") if entry.is_directory)
raw = [entry.path for entry in storage.list(run) if entry.path.endswith(".h5")]
storage.put(f"{run}/manifest.json", json.dumps({"files": raw}).encode())
events = until(60, lambda: [each for each in told(RUN_EVENTS, StorageEvent) if each.subject == run])
print(json.dumps({"files": len(raw), "events": [event.data.run.model_dump() for event in events]}))
"""

WRITE = """
storage.put(sys.argv[1], b"x")
"""

TOPICS = """
from xdc_testbed.events.kafka import DEAD_LETTERS, EVENTS, INVOCATIONS
said = []
for topic in (EVENTS, INVOCATIONS, RESULTS, DEAD_LETTERS, RUN_EVENTS):
    with Feed(broker, topic) as feed:
        said += [entry.value.decode() for entry in feed.until_now()]
print(json.dumps(said))
"""

RECORDS = """
from pathlib import Path
from xdc_testbed.clients.openwhisk import OpenWhisk

here = Path("/etc/xdc-testbed")
with OpenWhisk("https://desy-functions.xdc.test:3233", (here / "openwhisk.auth").read_text(), here / "ca.pem") as whisk:
    for record in whisk.activations():
        print(record.name, record.result, record.logs, dict(record.annotations))
"""

TOKEN = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{20,}")

RESULTS_OF = """
paths = sys.argv[1:]
def found():
    return [each for each in told(RESULTS, Result) if each.subject in paths]
until(60, lambda: {each.subject for each in found()} >= set(paths))
print(json.dumps(sorted(each.subject for each in found())))
"""


@pytest.fixture
def healed(testbed: Xdc) -> Iterator[Xdc]:
    """The testbed, with every fault undone afterwards."""
    yield testbed
    testbed("fault", "clear")
    wait(lambda: testbed("status", ok=False).code == 0, "every service is active again", seconds=60)


def wait(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait for something that can be observed."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"


@pytest.fixture(scope="module")
def demonstrated(testbed: Xdc, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What the demonstration says at its end, and the folder of its report."""
    folder = tmp_path_factory.mktemp("demonstration")
    said: dict[str, Any] = testbed("demo", "--preset", "tiny", "--out", str(folder), "--output", "json").json
    return said, folder


def test_every_raw_file_is_corrected_and_copied_or_fails_with_a_name(
    testbed: Xdc, demonstrated: tuple[dict[str, Any], Path]
) -> None:
    """The demonstration judges itself: counts, EXtra-data, pixels against truth, bytes everywhere."""
    result, folder = demonstrated
    assert result["ok"], result["problems"]
    story = json.loads((folder / "story.json").read_text())
    outcomes = [file["outcome"] for file in story["files"]]
    assert outcomes.count("corrected") == len(outcomes) - 1
    page = Path(result["report"]).read_text()
    assert "input is truncated" in page
    letters = testbed("events", "dead", "list", "--output", "json").json
    assert ["input is truncated" in letter["reason"] for letter in letters] == [True]


def test_the_runs_of_the_demonstration_are_complete_when_their_manifest_is_there(testbed: Xdc) -> None:
    """Uploaded to the storage, told by its events, read by the router from the storage."""
    said = _on_client(testbed, MANIFEST)
    (event,) = said["events"]
    assert (event["by"], event["revision"], event["files"]) == ("manifest", 1, said["files"])
    assert event["modules"]


def test_a_file_that_no_source_has_told_is_found_and_acted_on_once(healed: Xdc) -> None:
    unseen, seen = "/data/bench/unseen", "/data/bench/seen"
    healed("fault", "stop", "desy-storage", "event-source", "event-source-sse")
    _on_client(healed, WRITE, unseen)
    healed.on("desy-storage", "systemctl", "reload", "event-reconcile")
    assert _on_client(healed, RESULTS_OF, unseen) == [unseen]
    healed("fault", "clear")
    _on_client(healed, WRITE, seen)
    assert _on_client(healed, RESULTS_OF, seen, unseen) == [seen, unseen]


def _on_client(testbed: Xdc, program: str, *arguments: str) -> Any:
    """Run a program on the client node; what it prints, parsed."""
    said = testbed.on("desy-client", PYTHON, "-c", CLIENT + program, *arguments)
    return json.loads(said.out) if said.out.strip() else None


def secrets_of(testbed: Xdc) -> list[str]:
    """Every password, key and client secret that the testbed was made with."""

    def words(tree: dict[str, Any]) -> Iterator[str]:
        for value in tree.values():
            yield from (
                words(value) if isinstance(value, dict) else str(value).rpartition(":")[2].split()
            )  # of user:key the key

    (file,) = testbed.state_dir.glob("*/secrets.yml")
    return sorted({word for word in words(yaml.safe_load(file.read_text())) if len(word) >= 8})


def test_no_secret_and_no_token_is_in_a_journal_a_record_or_the_report(
    testbed: Xdc, demonstrated: tuple[dict[str, Any], Path]
) -> None:
    """A token is known by its shape: two parts of JSON in base64, and the signature."""
    told = {file: (demonstrated[1] / file).read_text() for file in ("report.html", "story.json", "run.json")}
    for node in testbed("status", "--output", "json").json["nodes"]:
        journal = ("journalctl", "-b", "--no-pager", "-o", "cat")
        told[f"journal of {node['name']}"] = testbed.on(node["name"], *journal).out
    told["topics"] = "\n".join(_on_client(testbed, TOPICS))
    told["activation records"] = testbed.on("desy-functions", PYTHON, "-c", RECORDS).out
    assert "routing by" in told["journal of desy-stream"]
    assert "/_/xdc/calibrate" in told["topics"]
    assert "xdc/calibrate" in told["activation records"]
    secrets = [(where, secret) for where, text in told.items() for secret in secrets_of(testbed) if secret in text]
    tokens = [(where, said[0][:40]) for where, text in told.items() if (said := TOKEN.search(text)) is not None]
    assert (secrets, tokens) == ([], [])


def test_interoperability_suite_has_no_bad_result(testbed: Xdc, tmp_path: Path) -> None:
    said = testbed("test", "interop", "--out", str(tmp_path / "first"), "--output", "json", timeout=900, ok=False)
    summary = said.json
    assert said.code == 0, summary
    assert summary["total"] > 500
    assert {path.name for path in (tmp_path / "first").iterdir()} >= {"records.jsonl", "junit.xml", "report.html"}


@pytest.mark.parametrize(
    ("node", "unit"),
    [
        ("desy-stream", "event-router"),
        ("desy-stream", "event-dispatcher"),
        ("desy-stream", "kafka"),
        ("desy-functions", "openwhisk"),
        ("desy-storage", "event-source"),
        ("desy-storage", "event-source-sse"),
    ],
)
def test_kill_9_in_a_burst_of_500_files_loses_none_and_repeats_none(testbed: Xdc, node: str, unit: str) -> None:
    before = _written(testbed)
    probe = testbed.start("events", "probe", "--burst", "--count", "500", "--deadline", "120", "--output", "json")
    wait(lambda: _written(testbed) > before + 60, "the burst is on", seconds=60)
    testbed.on(node, "systemctl", "kill", "-s", "KILL", unit)
    out, err = probe.communicate(timeout=240)
    summary = json.loads(out.splitlines()[-1])
    assert {key: summary[key] for key in ("count", "ok", "failed", "missing", "repeated")} == {
        "count": 500,
        "ok": 500,
        "failed": 0,
        "missing": 0,
        "repeated": 0,
    }, err
    wait(lambda: testbed("status", ok=False).code == 0, f"{unit} is active again", seconds=30)


def _written(testbed: Xdc) -> int:
    """How many files the storage holds."""
    said = testbed.on("desy-storage", "sh", "-c", "ls /srv/dcache/pools/*/data 2>/dev/null | wc -l")
    return int(said.out.strip())


def test_every_fault_of_the_short_soak_leaves_each_file_with_one_end(healed: Xdc, tmp_path: Path) -> None:
    """Kills, delay, partition, a full disk, a wrong clock: files in = results + dead letters, nothing twice."""
    said = healed(
        "test", "soak", "--plan", "soak-short", "--out", str(tmp_path), "--output", "json", ok=False, timeout=3000
    )
    lines = {line["span"]["name"]: line for line in said.json["lines"]}
    assert {name: line["problems"] for name, line in lines.items() if not line["green"]} == {}
    assert said.code == 0, said.err
    assert len(lines) == 10
    assert sum(line["files_in"] for line in lines.values()) == sum(
        line["results"] + line["dead_letters"] for line in lines.values()
    )
    ahead = lines["issuer 5 minutes ahead"]["reasons"]
    assert any("not valid before" in reason for reason in ahead)
    assert {path.name for path in tmp_path.iterdir()} >= {"lines.jsonl", "junit.xml", "report.html", "facts.jsonl"}
    assert healed("fault", "list", "--output", "json").json == []


def test_a_partition_between_sites_is_felt_listed_and_undone(healed: Xdc) -> None:
    probe = ("bash", "-c", "timeout 3 bash -c 'exec 3<>/dev/tcp/remote-storage.xdc.test/8443'")
    assert healed.on("desy-client", *probe).code == 0
    healed("fault", "partition", "desy", "remote")
    assert healed.on("desy-client", *probe, ok=False).code != 0
    assert {fault["fault"]["kind"] for fault in healed("fault", "list", "--output", "json").json} == {"partition"}
    healed("fault", "clear")
    assert healed("fault", "list", "--output", "json").json == []
    assert healed.on("desy-client", *probe).code == 0


def test_a_delay_between_sites_is_measured_and_undone(healed: Xdc) -> None:
    ping = ("ping", "-U", "-c", "5", "-i", "0.2", "-q", "remote-storage.xdc.test")
    healed("fault", "delay", "desy", "remote", "--ms", "40")
    slow = _round_trip(healed.on("desy-client", *ping).out)
    healed("fault", "clear")
    quick = _round_trip(healed.on("desy-client", *ping).out)
    assert slow - quick >= 35


def _round_trip(text: str) -> float:
    """The average in ms from ping's last line: rtt min/avg/max/mdev = a/b/c/d ms."""
    return float(text.rsplit("=", 1)[1].split("/")[1])


def test_a_full_disk_at_the_destination_loses_nothing_and_leaves_nothing_half_written(
    healed: Xdc, tmp_path: Path
) -> None:
    """Copies wait or fail by name while the disk is full; dead letters given another try afterwards succeed."""
    healed("fault", "disk-full", "remote-storage", "/srv/xrootd/data", "--leave-kib", "64")
    healed("events", "probe", "--count", "3")  # desy itself is not hurt
    healed("fault", "clear")
    result = healed("demo", "--preset", "tiny", "--out", str(tmp_path), "--output", "json").json
    assert result["ok"], result["problems"]


def test_a_stopped_controller_delays_files_but_loses_none(healed: Xdc) -> None:
    healed("fault", "stop", "desy-functions", "openwhisk")
    before = _written(healed)
    probe = healed.start("events", "probe", "--burst", "--count", "20", "--deadline", "90", "--output", "json")
    wait(lambda: _written(healed) >= before + 20, "files have arrived while the controller is down", seconds=30)
    healed("fault", "clear")
    out, err = probe.communicate(timeout=150)
    assert json.loads(out.splitlines()[-1])["ok"] == 20, err


def test_a_failed_service_makes_up_fail_with_host_and_task_and_a_bundle(testbed: Xdc) -> None:
    """A role that fails half way: the broker's port is taken by somebody else."""
    testbed.on(
        "desy-stream", "sh", "-c", "systemctl stop kafka && systemd-run --unit port-thief python3 -m http.server 9093"
    )
    try:
        said = testbed("up", "--converge", ok=False, timeout=300)
        assert said.code == 1
        assert "desy-stream" in said.errors[0]
        assert "bundle" in said.err
    finally:
        testbed.on("desy-stream", "systemctl", "stop", "port-thief")
        testbed.on("desy-stream", "systemctl", "reset-failed", ok=False)
    testbed("up", "--converge", timeout=300)
    assert testbed("status").code == 0


def test_readme_names_only_verbs_that_exist(testbed: Xdc) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    commands = [
        line.split(".venv/bin/xdc-testbed ")[1].split("#")[0].split()
        for line in readme.splitlines()
        if line.startswith("$ .venv/bin/xdc-testbed ")
    ]
    assert len(commands) > 8
    for words in commands:
        verb = words[0]
        done = subprocess.run(
            [str(testbed.program), verb, "--help"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, verb
