from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interop_examples import DESY, REMOTE, SITES, STORAGE, XCACHE, a_case, endpoint, nothing

from xdc_testbed.errors import WrongUsage
from xdc_testbed.interop import registry
from xdc_testbed.interop.matrix import plan
from xdc_testbed.interop.registry import Scope


def where(cells):
    return [(cell.source.id, cell.destination_id) for cell in cells]


def test_every_ordered_pair_is_asked_and_a_cache_is_only_a_source():
    case = a_case(scope=Scope.PAIR, needs=frozenset({"get"}), destination_needs=frozenset({"get", "put"}))
    assert where(plan([case], SITES)) == [
        ("desy-storage", "remote-storage"),
        ("remote-storage", "desy-storage"),
        ("remote-cache", "desy-storage"),
        ("remote-cache", "remote-storage"),
    ]


def test_a_cache_is_no_destination_even_of_a_case_that_needs_nothing_of_it():
    cells = plan([a_case(scope=Scope.PAIR)], SITES)
    assert "remote-cache" not in {cell.destination_id for cell in cells}


def test_an_endpoint_without_the_capability_is_left_out():
    assert where(plan([a_case(needs=frozenset({"put"}))], SITES)) == [("desy-storage", ""), ("remote-storage", "")]


def test_a_cache_is_known_by_its_origin():
    assert where(plan([a_case(needs=frozenset({"cache"}))], SITES)) == [("remote-cache", "")]


def test_a_service_that_is_no_storage_is_never_asked():
    broker = endpoint("desy-stream", (), product="kafka")
    assert plan([a_case(needs=frozenset({"get"}))], [broker]) == []


def test_an_endpoint_without_the_protocol_is_left_out():
    only_https = endpoint("plain", urls={"https": "https://plain.test"})
    cells = plan([a_case(protocols=("https", "root"), needs=frozenset({"get"}))], [only_https])
    assert [cell.protocol for cell in cells] == ["https"]


def test_a_push_needs_an_active_source_and_a_pull_an_active_destination():
    case = a_case(scope=Scope.PAIR, needs=frozenset({"get"}), directions=("pull", "push"))
    cells = plan([case], [XCACHE, REMOTE])
    assert [(cell.source.id, cell.direction) for cell in cells] == [("remote-cache", "pull")]


def test_a_certificate_is_needed_only_where_it_is_shown():
    tokens_only = endpoint("tokens-only", tuple(word for word in STORAGE if word != "x509"))
    case = a_case(scope=Scope.PAIR, credentials=("x509",), directions=("pull", "push"))
    cells = plan([case], [DESY, tokens_only])
    assert {(cell.source.id, cell.direction) for cell in cells} == {("tokens-only", "pull"), ("desy-storage", "push")}


def test_a_certificate_over_root_is_asked_with_one_size_only():
    case = a_case(protocols=("https", "root"), credentials=("token", "x509"), sizes=(0, 1 << 20, 1 << 24))
    cells = [cell for cell in plan([case], [DESY]) if cell.credential == "x509"]
    assert [(cell.protocol, cell.size) for cell in cells if cell.protocol == "root"] == [("root", 1 << 20)]
    assert len(cells) == 4


def test_wrong_credentials_are_tried_everywhere():
    tokens_only = endpoint("tokens-only", tuple(word for word in STORAGE if word != "x509"))
    assert len(plan([a_case(credentials=("anonymous", "stranger"))], [tokens_only])) == 2


def test_without_a_secret_no_token_case_is_planned():
    bare = endpoint("bare", credentials=DESY.credentials.model_copy(update={"client_secret_file": None}))
    assert plan([a_case(needs=frozenset({"get"}))], [bare]) == []


sizes = st.lists(st.integers(0, 1 << 30), min_size=1, max_size=3, unique=True)
subsets = st.lists(st.sampled_from([DESY, REMOTE, XCACHE]), unique_by=lambda one: one.id)


@settings(deadline=None)
@given(endpoints=subsets, sizes=sizes, credentials=st.sets(st.sampled_from(["token", "x509", "anonymous"])))
def test_every_cell_of_a_plan_is_unique_and_possible(endpoints, sizes, credentials):
    case = a_case(
        scope=Scope.PAIR,
        needs=frozenset({"get"}),
        credentials=tuple(sorted(credentials)),
        directions=("pull", "push"),
        sizes=tuple(sizes),
        variants=("a", "b"),
    )
    cells = plan([case], endpoints)
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        assert cell.destination is not None
        assert cell.source.id != cell.destination.id
        active = cell.source if cell.direction == "push" else cell.destination
        assert "tpc" in active.capabilities


def test_the_kits_own_cases_give_a_plan_without_doubles():
    cells = plan(registry.all_cases(), SITES)
    names = [cell.name for cell in cells]
    assert len(names) == len(set(names))
    assert {cell.case.subject for cell in cells} == {
        "cache",
        "client",
        "copy",
        "copy-root",
        "denial",
        "integrity",
        "namespace",
        "transfer",
    }


def test_every_case_of_the_kit_can_be_asked_on_the_demo_testbed():
    asked = {cell.case.id for cell in plan(registry.all_cases(), SITES)}
    assert asked == {case.id for case in registry.all_cases()}


def test_every_case_explains_itself_in_a_sentence():
    for case in registry.all_cases():
        assert case.explanation.endswith("."), case.id


def test_cases_are_chosen_by_glob():
    assert {case.subject for case in registry.matching(["copy.*"])} == {"copy"}


def test_a_glob_without_a_case_is_wrong_usage_and_names_what_there_is():
    with pytest.raises(WrongUsage) as caught:
        registry.matching(["copi.*"])
    assert "copy.*" in (caught.value.remedy or "")


def test_two_cases_with_one_id_are_refused():
    registry.all_cases()
    with pytest.raises(WrongUsage):
        registry.case("copy.https", "again")(nothing)
