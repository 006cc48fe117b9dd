"""Addresses of nodes: a block for each site, the same for the same description."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.drivers.base import NodeRequest
from xdc_testbed.drivers.containers import SITE_BLOCK, addresses
from xdc_testbed.errors import WrongUsage

SUBNET = ipaddress.IPv4Network("10.89.77.0/24")


def requests(*sites: str) -> tuple[NodeRequest, ...]:
    """One node for each word, at the site of that name."""
    return tuple(NodeRequest(f"n{number}", site, (), 1024, 2.0) for number, site in enumerate(sites))


def test_each_site_has_a_block_and_the_first_block_is_the_networks_own() -> None:
    given_out = addresses(SUBNET, requests("desy", "remote", "desy"))
    assert [str(address) for address in given_out.values()] == ["10.89.77.33", "10.89.77.65", "10.89.77.34"]


def test_a_node_at_a_known_site_moves_no_other() -> None:
    before = addresses(SUBNET, requests("desy", "remote"))
    after = addresses(SUBNET, requests("desy", "remote", "desy", "remote"))
    assert {name: after[name] for name in before} == before


def test_seven_sites_fit_and_eight_are_told_to_be_too_many() -> None:
    assert len(addresses(SUBNET, requests(*"abcdefg"))) == 7
    with pytest.raises(WrongUsage, match=r"8 sites do not fit into 10\.89\.77\.0/24") as caught:
        addresses(SUBNET, requests(*"abcdefgh"))
    assert caught.value.remedy == "at most 7 sites"


def test_a_site_holds_31_nodes_and_one_more_is_told_to_be_too_many() -> None:
    full = ["desy"] * (SITE_BLOCK - 1)
    assert len(addresses(SUBNET, requests(*full))) == 31
    with pytest.raises(WrongUsage, match="site 'desy' has more than 31 nodes"):
        addresses(SUBNET, requests(*full, "desy"))


@given(st.lists(st.sampled_from("abcdefg"), max_size=31))
def test_no_two_nodes_share_an_address_and_sites_never_mix(sites: list[str]) -> None:
    nodes = requests(*sites)
    given_out = addresses(SUBNET, nodes)
    blocks = {node.name: int(given_out[node.name]) // SITE_BLOCK for node in nodes}
    assert len(set(given_out.values())) == len(nodes)
    assert all(address in SUBNET for address in given_out.values())
    for one in nodes:
        for other in nodes:
            assert (blocks[one.name] == blocks[other.name]) == (one.site == other.site)


def test_nodes_that_are_there_keep_their_addresses_when_one_before_them_comes_or_goes() -> None:
    before = addresses(SUBNET, requests("desy", "desy", "remote"))
    first, second, other = before.values()
    came = (NodeRequest("new", "desy", (), 1024, 2.0), *requests("desy", "desy", "remote"))
    after = addresses(SUBNET, came, before)
    assert [after[name] for name in ("n0", "n1", "n2")] == [first, second, other]
    assert str(after["new"]) == "10.89.77.35"
    gone = requests("desy", "desy", "remote")[1:]
    assert addresses(SUBNET, gone, before) == {"n1": second, "n2": other}
