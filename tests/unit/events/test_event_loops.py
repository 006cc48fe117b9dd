"""Rules that would set themselves off are refused when they are loaded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.globs import glob_to_regex, meet
from xdc_testbed.events.rules import parse


def rule(name: str, match: str, action: str) -> str:
    return f'[[rule]]\nname = "{name}"\nmatch = {{ {match} }}\n[[rule.action]]\n{action}\n'


WRITTEN = 'types = ["written"]'
LOOPS = {
    "declared output": (
        rule("own", f'{WRITTEN}, paths = ["/data/**"]', 'name = "/_/my/tool"\nwrites = ["/data/out/*.h5"]'),
        "own -> own",
    ),
    "two rules": (
        rule("there", f'{WRITTEN}, paths = ["/data/a/*"]', 'name = "/_/my/tool"\nwrites = ["/data/b/*"]')
        + rule("back", f'{WRITTEN}, paths = ["/data/b/**"]', 'name = "/_/my/tool"\nwrites = ["/data/a/x"]'),
        "there -> back -> there",
    ),
    "calibrate": (
        rule("all", f'{WRITTEN}, paths = ["/data/**/*.h5"]', 'name = "/_/xdc/calibrate"'),
        "all -> all",
    ),
    "calibrate elsewhere": (
        rule(
            "raw",
            f'{WRITTEN}, paths = ["/data/raw/**"]',
            'name = "/_/xdc/calibrate"\nparameters = {proc = "/data/raw/out"}',
        ),
        "raw -> raw",
    ),
    "transfer to any": (
        rule(
            "ship",
            f'{WRITTEN}, paths = ["/data/**"]',
            'name = "/_/xdc/transfer"\nparameters = {destination = "remote"}',
        ),
        "ship -> ship",
    ),
    "there and back": (
        rule(
            "there",
            f'{WRITTEN}, endpoints = ["a"], paths = ["/data/**"]',
            'name = "/_/xdc/transfer"\nparameters = {destination = "b"}',
        )
        + rule(
            "back",
            f'{WRITTEN}, endpoints = ["b"], paths = ["/data/x*"]',
            'name = "/_/xdc/transfer"\nparameters = {destination = "a"}',
        ),
        "there -> back -> there",
    ),
    "catalogue of the catalogue": (
        rule("record", f'{WRITTEN}, paths = ["/data/**"]', 'name = "/_/xdc/catalogue"'),
        "record -> record",
    ),
    "reading what was read": (
        rule(
            "again",
            'types = ["read"], paths = ["/data/proc/**"]',
            'name = "/_/xdc/transfer"\nparameters = {destination = "b"}',
        ),
        "again -> again",
    ),
    "quality of service": (
        rule("tape", 'types = ["qos-changed"], paths = ["/data/raw/**"]', 'name = "/_/xdc/qos"'),
        "tape -> tape",
    ),
    "a run that grows": (
        '[[run]]\nname = "raw"\npaths = ["/data/raw/{run}/*.h5"]\nexpect = { count = 2 }\n'
        + rule(
            "merge",
            'types = ["run-complete"], paths = ["/data/raw/*"]',
            'name = "/_/my/merge"\nwrites = ["/data/raw/*/all.h5"]',
        ),
        "merge -> run raw -> merge",
    ),
}


@pytest.mark.parametrize(("text", "cycle"), LOOPS.values(), ids=LOOPS)
def test_a_loop_is_refused_in_one_line_that_names_it(text: str, cycle: str) -> None:
    with pytest.raises(WrongUsage, match=re.escape(f"for ever: {cycle}")) as caught:
        parse(text)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        rule("raw", f'{WRITTEN}, paths = ["/data/raw/**"]', 'name = "/_/xdc/calibrate"')
        + rule(
            "ship",
            f'{WRITTEN}, endpoints = ["a"], paths = ["/data/proc/**"]',
            'name = "/_/xdc/transfer"\nparameters = {destination = "b"}',
        )
        + rule("record", f'{WRITTEN}, endpoints = ["b"], paths = ["/data/proc/**"]', 'name = "/_/xdc/catalogue"')
        + rule("tape", f'{WRITTEN}, paths = ["/data/catalogue/**"]', 'name = "/_/xdc/qos"'),
        rule(
            "tool",
            f'{WRITTEN}, endpoints = ["a"], paths = ["/data/**"]',
            'name = "/_/my/tool"\nwrites = ["b:/data/**"]',
        ),
        rule("bench", f'{WRITTEN}, paths = ["/data/**"]', 'name = "/_/xdc/noop"'),
    ],
    ids=["the whole way", "another endpoint", "nothing written"],
)
def test_rules_that_lead_onwards_are_taken(text: str) -> None:
    assert parse(text).rule


def test_an_output_that_is_no_path_is_refused() -> None:
    with pytest.raises(WrongUsage, match=r"rule\[0\]\.action\[0\]\.writes"):
        parse(rule("own", f'{WRITTEN}, paths = ["/data/**"]', 'name = "/_/my/tool"\nwrites = ["data"]'))


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("/a/**/x.h5", "/a/x.h5", True),
        ("/a/**/x.h5", "/a/b/c/x.h5", True),
        ("/a/**/x.h5", "/ax.h5", False),
        ("/a/*", "/a/b/c", False),
        ("/a/*", "/*/b", True),
        ("/a/*.h5", "/a/*.txt", False),
        ("/a/?", "/a/bc", False),
        ("/a/**", "/**/b", True),
        ("/data/raw/**/RAW-*.h5", "/data/proc/**/CORR-*", False),
        ("/data/**/*.h5", "/data/proc/**/CORR-*", True),
    ],
)
def test_patterns_meet_where_a_path_fits_both(one: str, other: str, together: bool) -> None:
    assert meet(one, other) is meet(other, one) is together


GLOBS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?"]), max_size=6).map("".join)


@given(GLOBS, GLOBS, st.text("ab/", max_size=8))
def test_a_path_that_fits_both_patterns_is_never_overlooked(one: str, other: str, path: str) -> None:
    if re.fullmatch(glob_to_regex(one), path) and re.fullmatch(glob_to_regex(other), path):
        assert meet(one, other)


@given(GLOBS, st.text("ab/", max_size=8))
def test_a_pattern_meets_a_path_as_its_regular_expression_does(glob: str, path: str) -> None:
    assert meet(glob, path) is bool(re.fullmatch(glob_to_regex(glob), path))
