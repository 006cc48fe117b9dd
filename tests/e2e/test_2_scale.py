"""Function nodes come and go while actions are running, and every activation is accounted for."""

from __future__ import annotations

from tests.e2e.burst import Burst
from tests.e2e.conftest import Xdc


def test_function_nodes_come_and_go_under_load_and_no_activation_is_lost(testbed: Xdc) -> None:
    with Burst(testbed, "desy-functions") as burst:
        testbed("scale", "faas=1", timeout=300)
        assert burst.invokers() == {"invoker0": "up", "faas-1": "up"}
        again = testbed("up", "--output", "json").json
        assert again["skipped"] == ["site", "verify"]
        assert "faas-1" in again["changed"]
        burst.wait_for_work_on("faas-1")
        testbed("scale", "faas=0", timeout=300)
        assert burst.invokers() == {"invoker0": "up"}
    burst.assert_none_was_lost("desy-functions", "faas-1")
    assert len(testbed("status", "--output", "json").json["nodes"]) == 6


def test_a_number_that_is_none_and_a_kind_that_is_not_there_are_told(testbed: Xdc) -> None:
    said = testbed("scale", "fas=1", ok=False)
    assert (said.code, said.errors[0]) == (
        2,
        "error: nothing called 'fas' can be scaled in testbed 'demo'; did you mean 'faas'?",
    )
