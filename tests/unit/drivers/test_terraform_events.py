"""Recorded runs of Terraform with the OpenStack provider: what the kit concludes from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdc_testbed.drivers.terraform_events import Diagnostic, Outcome, read, spoken

CAPTURES = Path(__file__).parent / "captures"


def outcome(name: str) -> Outcome:
    """The outcome of a recorded run."""
    return read((CAPTURES / f"{name}.jsonl").read_text().splitlines())


def causes(name: str) -> dict[str | None, str]:
    """What went wrong, by resource."""
    return {error.address: error.cause for error in outcome(name).errors}


def test_an_apply_that_ended_well_has_nothing_on_its_way() -> None:
    found = outcome("apply-ok")
    assert (found.engine, found.version) == ("terraform", "1.11.4")
    assert (len(found.planned), len(found.completed)) == (31, 31)
    assert (found.finished, found.in_flight, found.errors) == (True, [], [])


def test_a_plan_without_change_is_judged_by_its_summary_not_by_drift() -> None:
    found = outcome("plan-nochange-with-drift")
    assert (found.drift, found.changes) == (18, 0)


def test_quota_of_instances_is_told_in_novas_own_words_and_names_the_server_in_error() -> None:
    errors = outcome("apply-quota-instances").errors
    said = {error.cause for error in errors if error.failed_server is None}
    assert said == {"Quota exceeded for instances: Requested 1, but already used 4 of 3 instances"}
    assert [e.failed_server for e in errors if e.failed_server] == ["8bd3e387-87be-4e4b-ad2b-77e7fc95ad7b"]


def test_quota_of_addresses_and_volumes_is_told_by_resource() -> None:
    assert causes("apply-quota-fip-volume") == {
        'openstack_networking_floatingip_v2.node["node6"]': "Quota exceeded for resources: ['floatingip'].",
        'openstack_blockstorage_volume_v3.data["node3"]': (
            "VolumeLimitExceeded: Maximum number of volumes allowed (3) exceeded for quota 'volumes'."
        ),
    }


def test_a_server_without_a_host_is_known_by_its_id_only() -> None:
    (error,) = outcome("apply-no-valid-host").errors
    assert error.failed_server == "002f7ec8-3baa-49b3-ae7d-aa6de809a322"


def test_resume_after_a_failure_replaces_the_tainted_server() -> None:
    found = outcome("apply-resume-after-quota")
    assert [p.name for p in found.planned if p.action == "replace"] == ["node3"]
    assert found.summaries["apply"] == {"add": 5, "change": 0, "import": 0, "remove": 1}
    assert found.in_flight == []


def test_after_kill_9_what_was_on_its_way_is_known_and_the_run_is_not_finished() -> None:
    found = outcome("apply-kill9")
    assert not found.finished
    assert [spoken(address) for address in found.in_flight] == [
        *(("server", f"node{number}") for number in range(1, 7)),
        ("router interface", "0"),
    ]


def test_a_cancelled_apply_says_that_the_cloud_may_have_done_it_all_the_same() -> None:
    errors = outcome("apply-sigint").errors
    assert len(errors) == 7
    assert all(error.cancelled for error in errors)
    assert {e.cause for e in errors} == {"the request was cancelled; the cloud may have carried it out all the same"}


@pytest.mark.parametrize("name", ["apply-after-kill9-without-sweep", "destroy-after-kill9-hangs-10min"])
def test_things_that_are_in_no_state_are_recognised(name: str) -> None:
    assert any(error.orphans for error in outcome(name).errors)


def test_a_failure_of_quota_is_not_taken_for_an_orphan() -> None:
    assert not any(error.orphans for error in outcome("apply-quota-instances").errors)


def test_an_unfinished_last_line_and_noise_are_passed_over() -> None:
    lines = (CAPTURES / "apply-ok.jsonl").read_text().splitlines()
    found = read(["panic: runtime error", *lines[:-1], lines[-1][:40], "[]", "null"])
    assert len(found.completed) == 31


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ('module.nodes.openstack_compute_instance_v2.this["stream"]', ("server", "stream")),
        ("openstack_networking_network_v2.lan", ("network", "lan")),
        (
            'module.security.openstack_networking_secgroup_rule_v2.in["all/tcp/22-22/testbed"]',
            ("security group rule", "all/tcp/22-22/testbed"),
        ),
        ("terraform_data.file", ("terraform data", "file")),
        ("module.nodes", ("resource", "module.nodes")),
    ],
)
def test_an_address_is_spoken_in_words(address: str, words: tuple[str, str]) -> None:
    assert spoken(address) == words


def test_a_body_that_was_cut_still_gives_its_message() -> None:
    cut = 'Error: Expected [201], but got 409 instead: {"NeutronError": {"type": "X", "message": "No more addr'
    assert Diagnostic("error", cut).cause == "No more addr"
