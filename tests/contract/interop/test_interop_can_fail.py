"""The suite can fail: a storage that is down, and one that does everything wrong, are found out."""

from __future__ import annotations

import pytest
from interop_sites import BrokenStorage, Run, ask
from storage_rig import HOST, Authority, folder, free_port, running

from xdc_testbed.endpoints import Credentials, Endpoint

_CAPABILITIES = ("get", "put", "delete", "range", "checksum", "token")


def endpoint(https: str, held: Credentials) -> Endpoint:
    return Endpoint(
        id="broken",
        site="nowhere",
        product="broken-storage",
        version="0",
        kind="emulator",
        urls={"https": https},
        credentials=held,
        capabilities=_CAPABILITIES,
    )


@pytest.fixture(scope="module")
def broken_run(tmp_path_factory: pytest.TempPathFactory, authority: Authority, held: Credentials) -> Run:
    with folder("interop-broken") as home, running(BrokenStorage(home, authority)) as server:
        return ask([endpoint(server.https, held)], tmp_path_factory.mktemp("broken"))


@pytest.mark.parametrize(
    "case_id",
    [
        "denial.read",
        "denial.write",
        "denial.delete",
        "integrity.adler32",
        "integrity.after-replace",
        "transfer.overwrite",
        "transfer.range",
    ],
)
def test_a_storage_that_does_everything_wrong_fails(broken_run: Run, case_id: str):
    assert broken_run.outcomes(case_id) == {"fail"}


def test_wrong_bytes_are_found_and_the_right_size_does_not_help(broken_run: Run):
    reasons = [r["reason"] for r in broken_run.records if r["case_id"] == "transfer.put-get" and r["size"]]
    assert reasons
    assert all("first at byte 0" in reason for reason in reasons)


def test_a_bad_result_is_the_exit_status_and_in_every_report(broken_run: Run):
    assert broken_run.status == 1
    assert broken_run.lines[-1]["ok"] is False
    assert "<failure" in (broken_run.out / "junit.xml").read_text()
    assert "What is wrong" in (broken_run.out / "report.html").read_text()
    assert "✗" in (broken_run.out / "matrix.txt").read_text()


def test_the_report_says_that_an_emulator_answered(broken_run: Run):
    assert "emulator" in (broken_run.out / "matrix.txt").read_text()


def test_a_storage_that_is_down_fails_every_case_and_stops_none(tmp_path, held: Credentials):
    run = ask([endpoint(f"https://{HOST}:{free_port()}", held)], tmp_path / "out")
    assert run.status == 1
    assert {record["outcome"] for record in run.records} == {"fail"}
    assert len(run.records) == run.lines[0]["total"] + 1
