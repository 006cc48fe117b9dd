"""The suite as a program against real XRootD servers and a real cache."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import date
from xml.etree import ElementTree

from interop_sites import Run, ask

from xdc_testbed.endpoints import Endpoint, dump
from xdc_testbed.interop import deviations
from xdc_testbed.interop.matrix import plan
from xdc_testbed.interop.record import read
from xdc_testbed.interop.registry import all_cases


def test_everything_over_https_is_right_or_a_known_deviation(https_run: Run):
    assert https_run.bad == []
    assert https_run.status == 0


def test_everything_over_root_is_right_or_a_known_deviation(root_run: Run):
    assert root_run.bad == []
    assert root_run.status == 0


def test_every_planned_question_has_a_record(https_run: Run, endpoints: list[Endpoint]):
    only_https = [one.model_copy(update={"urls": {"https": one.urls["https"]}}) for one in endpoints]
    planned = {(cell.case.id, cell.source.id, cell.destination_id) for cell in plan(all_cases(), only_https)}
    answered = {
        (r["case_id"], r["source"]["endpoint"], r["destination"]["endpoint"] if r["destination"] else "")
        for r in https_run.records
    }
    assert planned <= answered


def test_every_ordered_pair_was_copied_with_token_and_certificate(https_run: Run):
    copied = {
        (r["source"]["endpoint"], r["destination"]["endpoint"], r["direction"], r["credential"])
        for r in https_run.records
        if r["case_id"] == "copy.https" and r["outcome"] == "pass"
    }
    sites, kinds = ("desy-storage", "remote-storage"), ("token", "x509")
    both = {(a, b, way, kind) for a in sites for b in sites if a != b for way in ("pull", "push") for kind in kinds}
    assert copied == both | {("remote-cache", site, "pull", kind) for site in sites for kind in kinds}


def test_every_known_deviation_shows_on_this_version(https_run: Run, root_run: Run):
    shown = {r["deviation"] for run in (https_run, root_run) for r in run.records}
    here = {"xrootd", "xcache", "*"}  # the products of this suite's endpoints
    always = {
        entry.id
        for entry in deviations.load()
        if not entry.sometimes and here & set(entry.product) and here & set(entry.partner)
    }
    assert always <= shown


def test_the_namespaces_are_as_before(https_run: Run):
    assert https_run.outcomes("namespace.unchanged") == {"pass"}


def test_progress_is_plan_then_records_then_end(https_run: Run):
    events = [line["event"] for line in https_run.lines]
    assert (events[0], events[-1]) == ("plan", "end")
    assert set(events[1:-1]) == {"record"}
    assert https_run.lines[-1]["total"] == len(https_run.records)
    assert https_run.lines[-1]["ok"] is True


def test_reports_agree_with_the_progress(https_run: Run):
    files = https_run.lines[-1]["files"]
    assert set(files) == {"records.jsonl", "junit.xml", "matrix.txt", "report.html"}
    assert len(list(read(https_run.out / "records.jsonl"))) == len(https_run.records)
    root = ElementTree.parse(https_run.out / "junit.xml").getroot()  # noqa: S314 - written by the suite
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == (str(len(https_run.records)), "0", "0")
    assert "contract tests" in (https_run.out / "report.html").read_text()


def test_no_credential_is_in_reports_or_progress(https_run: Run, root_run: Run):
    for run in (https_run, root_run):
        for text in (run.said, *(path.read_text() for path in run.out.iterdir())):
            assert "eyJ" not in text  # how every JWT begins
            assert "interop-secret" not in text
            assert "MDA" not in text  # how every macaroon begins


def test_an_expired_deviation_makes_the_run_fail(tmp_path, endpoints: list[Endpoint]):
    known = tmp_path / "deviations.toml"
    known.write_text(
        "[[deviation]]\nid = 'old'\ncase = 'transfer.new-file-status'\nproduct = 'xrootd'\nshows = 'not 201'\n"
        f"reason = 'was known until yesterday'\nlink = 'https://x.test'\nexpires = {date(2020, 1, 1)}\n"
    )
    run = ask(endpoints[:1], tmp_path / "out", "--case", "transfer.new-file-status", "--deviations", str(known))
    assert run.status == 1
    assert "expired on 2020-01-01" in run.bad[0]


def test_a_deviation_that_does_not_show_makes_the_run_fail(tmp_path, endpoints: list[Endpoint]):
    known = tmp_path / "deviations.toml"
    known.write_text(
        "[[deviation]]\nid = 'gone'\ncase = 'namespace.list'\nproduct = 'xrootd'\nshows = 'lists'\n"
        "reason = 'this was repaired long ago'\nlink = 'https://x.test'\nexpires = 2999-01-01\n"
    )
    run = ask(endpoints[:1], tmp_path / "out", "--case", "namespace.list", "--deviations", str(known))
    assert run.status == 1
    assert run.outcomes("namespace.list") == {"unexpected-pass"}


def test_a_run_that_is_ended_removes_what_it_has_made(tmp_path, endpoints: list[Endpoint]):
    path = tmp_path / "endpoints.json"
    path.write_text(dump(endpoints[:2]))
    before = paths(ask(endpoints[:2], tmp_path / "before", "--case", "namespace.missing"))
    arguments = [sys.executable, "-m", "xdc_testbed.interop", "--json-progress", "--endpoints", str(path)]
    with subprocess.Popen([*arguments, "--case", "copy.https"], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        first = [json.loads(program.stdout.readline())["event"] for _ in range(3)]
        program.send_signal(signal.SIGTERM)
        last = json.loads(program.stdout.read().splitlines()[-1])
        assert program.wait(60) == 130
    assert (first, last["event"]) == (["plan", "record", "record"], "error")
    assert paths(ask(endpoints[:2], tmp_path / "out", "--case", "namespace.missing")) == before


def paths(run: Run) -> dict[str, int]:
    """How many paths each storage had in the suite's folders when this run began."""
    unchanged = [record for record in run.records if record["case_id"] == "namespace.unchanged"]
    return {record["source"]["endpoint"]: record["evidence"]["paths"] for record in unchanged}


def test_a_case_that_does_not_exist_is_wrong_usage(tmp_path, endpoints: list[Endpoint]):
    run = ask(endpoints[:1], tmp_path / "out", "--case", "nosuch.*")
    assert run.status == 2
    assert run.lines[-1]["event"] == "error"
    assert "copy.*" in run.lines[-1]["remedy"]
